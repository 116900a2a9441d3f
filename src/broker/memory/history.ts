// What a user's logs hold after a cursor, oldest first, and whether something is missing there.
import { ALL, type Notification } from '../../notification.ts'
import { SECOND } from './clock.ts'
import type { Entry, Log } from './log.ts'
import type { Logs } from './logs.ts'
import type { Member } from './membership.ts'
import { merge } from './merge.ts'

/** Entries that a page may have. */
const MAX_PAGE = 1024

/** Entries that are looked at for a page: copies of what is in it already, and what is not shown. */
const MAX_LOOKED_AT = 4096

export interface HistoryParts {
  readonly logs: Logs
  /** The id at which the history begins. */
  readonly born: number
  readonly historySeconds: number
}

export interface PageQuery {
  readonly userId: string
  readonly member: Member | undefined
  readonly isDismissed: (id: number) => boolean
  readonly position: number
  readonly cursor: number
  readonly maxBytes: number
}

export interface Page {
  readonly position: number
  readonly gap: boolean
  readonly more: boolean
  readonly entries: readonly Notification[]
}

/** A part of a log that was addressed to the user: after < id ≤ upTo. */
interface Piece {
  readonly log: Log
  readonly after: number
  readonly upTo: number
}

export function readPage ({ logs, born, historySeconds }: HistoryParts, query: PageQuery): Page {
  const { userId, member, isDismissed, position, cursor, maxBytes } = query
  if (cursor > position) return { position, gap: true, more: false, entries: [] }
  const isShown = ({ id, expiresAt }: Entry): boolean => expiresAt > position && !isDismissed(id)

  const { owed, lost } = piecesOf(logs, userId, member, cursor)
  const gap = cursor < born || cursor < position - historySeconds * SECOND || cursor < (member?.forgottenTo ?? 0) ||
    [...owed, ...lost].some(({ log, after }) => after < log.trimmedTo) ||
    // What was addressed to the user then is not theirs to read any more.
    lost.some(({ log, after, upTo }) => hasAny(log.between(after, upTo), isShown))

  const entries: Notification[] = []
  let bytes = 0
  let lookedAt = 0
  // All up to here is in the page.
  let last = cursor
  const end = (): Page => ({ position: last, gap, more: true, entries })
  for (const entry of merge(owed.map(({ log, after, upTo }) => log.between(after, upTo)))) {
    const { id, event, json } = entry
    // Whoever is in a thousand groups may be owed a thousand copies of each: they fill no page, and take the node.
    if (++lookedAt > MAX_LOOKED_AT && last > cursor) return end()
    if (id === last) continue
    if (isShown(entry)) {
      bytes += Buffer.byteLength(json)
      if (entries.length > 0 && (bytes > maxBytes || entries.length >= MAX_PAGE)) return end()
      // A copy: a frame that is made of one lives as long as it does, and the log's live long.
      entries.push({ id, event, json })
    }
    last = id
  }
  return { position, gap, more: false, entries }
}

function hasAny (entries: Iterable<Entry>, isShown: (entry: Entry) => boolean): boolean {
  for (const entry of entries) if (isShown(entry)) return true
  return false
}

/** What the user is owed after a cursor, and what they would be, had they not left. */
function piecesOf (logs: Logs, userId: string, member: Member | undefined, cursor: number): { owed: Piece[], lost: Piece[] } {
  const owed: Piece[] = []
  const lost: Piece[] = []
  const add = (pieces: Piece[], log: Log | undefined, from: number, upTo = Infinity): void => {
    if (log !== undefined && upTo > cursor) pieces.push({ log, after: Math.max(cursor, from), upTo })
  }
  add(owed, logs.user(userId), 0)
  add(owed, logs.get(ALL), 0)
  for (const [group, { joinedAt, spans }] of member?.marks ?? []) {
    const log = logs.group(group)
    if (joinedAt !== undefined) add(owed, log, joinedAt)
    for (const { from, to } of spans) add(joinedAt === undefined ? lost : owed, log, from, to)
  }
  return { owed, lost }
}
