// Reads what a user is owed after a cursor, oldest first, and whether something is missing.
import { ALL, type Notification } from '../../notification.ts'
import { SECOND } from './clock.ts'
import type { Entry, Log } from './log.ts'
import type { Logs } from './logs.ts'
import type { Member } from './membership.ts'
import { merge } from './merge.ts'

/** The most entries of a page. */
const MAX_PAGE = 1024

/** The most entries that are read for a page, including copies of the same notification and hidden ones. */
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

/** A part of a log that is meant for the user: after < id ≤ upTo. */
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
    // What was published to a group that the user has left must not be read any more, unless it also came another way.
    lost.some(({ log, after, upTo }) => hasAny(log.between(after, upTo), (entry) => isShown(entry) && !isIn(owed, entry.id)))

  const entries: Notification[] = []
  let bytes = 0
  let lookedAt = 0
  // Everything up to here is in the page.
  let last = cursor
  const end = (): Page => ({ position: last, gap, more: true, entries })
  for (const entry of merge(owed.map(({ log, after, upTo }) => log.between(after, upTo)))) {
    const { id, event, json } = entry
    // A user in a thousand groups may be owed a thousand copies of each notification. They do not fill the page, but
    // reading them all would block the node.
    if (++lookedAt > MAX_LOOKED_AT) return end()
    if (id === last) continue
    if (isShown(entry)) {
      bytes += Buffer.byteLength(json)
      if (entries.length > 0 && (bytes > maxBytes || entries.length >= MAX_PAGE)) return end()
      // A copy, because frames are cached for as long as their notification lives, and the log's entries live long.
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

function isIn (pieces: readonly Piece[], id: number): boolean {
  return pieces.some(({ log, after, upTo }) => id > after && id <= upTo && log.get(id) !== undefined)
}

/** The parts of logs that the user is owed after a cursor, and those of groups that the user has left. */
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
