// The embedded inbox: each user's two cursors and marks, and the list and the counts that follow from them.
import { type Address, ALL, groupAddress, MAX_UNREAD, type Notification, userAddress } from '../../notification.ts'
import {
  FuturePosition, type InboxCounts, type InboxItem, type InboxMark, type InboxPage, type ListQuery, MAX_MARKS, MAX_OLD_DISMISSED, NoNotification, TooManyMarks
} from '../inbox.ts'
import { SECOND } from './clock.ts'
import type { Entry, Log } from './log.ts'
import type { Logs } from './logs.ts'
import type { Member } from './membership.ts'

interface State {
  seen: number
  read: number
  readonly marks: Map<number, InboxMark>
  /** The id at which the state is forgotten, because everything that it concerns is older than the history. */
  expiresAt: number
}

/** A log that the user may list. Ids up to `after` are not listed, and ids up to `known` count as seen and read. */
interface Source {
  readonly to: Address
  readonly log: Log
  readonly after: number
  readonly known: number
}

/** The inbox of one user at one moment. */
interface View {
  readonly userId: string
  readonly state: Readonly<State>
  readonly position: number
  /** In the order in which an address is chosen if a notification came by several. */
  readonly sources: readonly Source[]
}

type Change = { readonly id: string, readonly isRead: boolean } | { readonly id: string, readonly dismissed: true }

export interface InboxParts {
  readonly nextId: () => number
  readonly logs: Logs
  readonly memberOf: (userId: string) => Member | undefined
  readonly historySeconds: number
  readonly tell: (userId: string, notification: Notification) => void
}

export class MemoryInbox {
  readonly #parts: InboxParts
  readonly #states = new Map<string, State>()

  constructor (parts: InboxParts) {
    this.#parts = parts
  }

  #stateOf (userId: string, now: number): State {
    const state = this.#states.get(userId)
    return state !== undefined && state.expiresAt > now ? state : { seen: 0, read: 0, marks: new Map(), expiresAt: 0 }
  }

  #view (userId: string, position = this.#parts.nextId()): View {
    const { logs, memberOf, historySeconds } = this.#parts
    const member = memberOf(userId)
    const since = position - historySeconds * SECOND
    const sources: Source[] = []
    const add = (to: Address, log: Log | undefined, after: number, known: number): void => {
      if (log !== undefined) sources.push({ to, log, after: Math.max(after, since), known })
    }
    add(userAddress(userId), logs.user(userId), 0, 0)
    const groups = [...member?.marks ?? []].flatMap(([group, { joinedAt }]) => joinedAt === undefined ? [] : [{ group, joinedAt, bytes: Buffer.from(group) }])
    // By bytes, as every adapter: by UTF-16, some names would come before others that follow them in UTF-8.
    groups.sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    for (const { group, joinedAt } of groups) add(groupAddress(group), logs.group(group), joinedAt, 0)
    // What was published to `all` before the user's first visit counts as seen and read.
    add(ALL, logs.get(ALL), 0, member?.firstVisit ?? Infinity)
    return { userId, state: this.#stateOf(userId, position), position, sources }
  }

  isDismissed (userId: string, now: number): (id: number) => boolean {
    const { marks } = this.#stateOf(userId, now)
    return (id) => marks.get(id) === 'dismissed'
  }

  /** The two cursors, and the mark of one notification. */
  cursors (userId: string, id: number, now: number): { readonly seen: number, readonly read: number, readonly mark: InboxMark | undefined } {
    const { seen, read, marks } = this.#stateOf(userId, now)
    return { seen, read, mark: marks.get(id) }
  }

  counts (userId: string, position: number): InboxCounts {
    return countsOf(this.#view(userId, position))
  }

  list (userId: string, { before = Infinity, limit, unreadOnly }: Pick<ListQuery, 'before' | 'limit' | 'unreadOnly'>): InboxPage {
    const view = this.#view(userId)
    const items = new Map<number, InboxItem>()
    for (const source of view.sources) {
      let count = 0
      for (const entry of source.log.backwards(source.after, before)) {
        const isRead = !isUnread(view, source, entry.id)
        if (!isListed(view, entry) || (unreadOnly && isRead)) continue
        const { id, event, json, key } = entry
        if (!items.has(id)) items.set(id, { id, event, json, to: source.to, key, isRead })
        if (++count > limit) break // its older entries cannot be on this page
      }
    }
    const newest = [...items.values()].sort((a, b) => b.id - a.id)
    const notifications = newest.slice(0, limit)
    return {
      position: view.position,
      ...countsOf(view),
      notifications,
      next: newest.length > limit ? notifications.at(-1)?.id : undefined,
      complete: view.sources.every(({ log, after }) => log.trimmedTo <= after)
    }
  }

  /** Throws FuturePosition. */
  move (userId: string, cursor: 'seen' | 'read', upTo: number): InboxCounts {
    const { state, position } = this.#view(userId)
    if (upTo > position) throw new FuturePosition('This position lies in the future; use an id or a position that this service gave out')
    const seen = Math.max(state.seen, upTo)
    const read = cursor === 'read' ? Math.max(state.read, upTo) : state.read
    if (seen === state.seen && read === state.read) return this.counts(userId, position)
    const marks = new Map([...state.marks].filter(([id, as]) => as === 'dismissed' || id > read || (as === 'unread' && read === state.read)))
    return this.#save(userId, { ...state, seen, read, marks })
  }

  /** Throws NoNotification, TooManyMarks. */
  mark (userId: string, id: number, as: InboxMark): InboxCounts {
    const view = this.#view(userId)
    const { state } = view
    if (as === 'dismissed' && state.marks.get(id) === as) return countsOf(view)
    const source = sourceOf(view, id)
    if (source === undefined) throw new NoNotification('There is no such notification in this inbox; it may have been taken back, or have left the history')
    if (as !== 'dismissed' && isUnread(view, source, id) === (as === 'unread')) return countsOf(view)
    const marks = new Map(state.marks)
    marks.delete(id)
    // No mark is needed if the cursor already says so.
    const isSaid = as !== 'dismissed' && isUnread({ ...view, state: { ...state, marks } }, source, id) === (as === 'unread')
    if (!isSaid) {
      if (isFull(state, marks)) this.#compact(view, marks)
      if (isFull(state, marks)) throw new TooManyMarks(`A user may have at most ${MAX_MARKS} notifications marked one by one; move the read cursor past some of them`)
      marks.set(id, as)
    }
    const change: Change = as === 'dismissed' ? { id: String(id), dismissed: true } : { id: String(id), isRead: as === 'read' }
    return this.#save(userId, { ...state, marks }, change)
  }

  /** Removes marks whose notification is no longer in the logs, or has expired. */
  #compact ({ userId, position, sources }: View, marks: Map<number, InboxMark>): void {
    // A left group may be joined again, and what was dismissed there must not come back.
    const left = [...this.#parts.memberOf(userId)?.marks ?? []].flatMap(([group, { spans }]) => spans.length === 0 ? [] : [this.#parts.logs.group(group)])
    const has = (log: Log | undefined, id: number): boolean => (log?.get(id)?.expiresAt ?? 0) > position
    const hasEntry = (id: number): boolean => sources.some(({ log, after }) => id > after && has(log, id)) || left.some((log) => has(log, id))
    for (const id of marks.keys()) if (!hasEntry(id)) marks.delete(id)
  }

  #save (userId: string, state: State, change?: Change): InboxCounts {
    const { nextId, historySeconds, tell } = this.#parts
    const asOf = nextId()
    this.#states.set(userId, { ...state, expiresAt: asOf + historySeconds * SECOND })
    const counts = this.counts(userId, asOf)
    const data = { ...counts, seen: String(counts.seen), read: String(counts.read), ...change !== undefined && { changed: [change] } }
    tell(userId, { id: 0, event: 'read', json: JSON.stringify(data), asOf })
    return counts
  }

  sweep (now: number): void {
    for (const [userId, { expiresAt }] of this.#states) if (expiresAt <= now) this.#states.delete(userId)
  }
}

function isFull ({ read }: Readonly<State>, marks: ReadonlyMap<number, InboxMark>): boolean {
  if (marks.size < MAX_MARKS) return false
  let old = 0
  for (const [id, as] of marks) if (as === 'dismissed' && id <= read) old++
  return marks.size - Math.min(old, MAX_OLD_DISMISSED) >= MAX_MARKS
}

function isListed ({ state: { marks }, position }: View, { id, keep, expiresAt }: Entry): boolean {
  return keep === 'inbox' && expiresAt > position && marks.get(id) !== 'dismissed'
}

function isUnread ({ state: { marks, read } }: View, { known }: Source, id: number): boolean {
  const mark = marks.get(id)
  return mark === 'unread' || (mark !== 'read' && id > Math.max(read, known))
}

/** The log by which a notification is in the inbox. */
function sourceOf (view: View, id: number): Source | undefined {
  return view.sources.find(({ log, after }) => {
    const entry = id > after ? log.get(id) : undefined
    return entry !== undefined && isListed(view, entry)
  })
}

function countsOf (view: View): InboxCounts {
  const { state: { seen, read, marks } } = view
  const unseen = newer(view, seen)
  const unread = newer(view, read)
  for (const [id, as] of marks) if (as === 'unread' && sourceOf(view, id) !== undefined) unread.add(id)
  return { seen, read, unseen: Math.min(unseen.size, MAX_UNREAD), unread: Math.min(unread.size, MAX_UNREAD) }
}

/** Ids that are listed, above a cursor and not marked as read. Stops at MAX_UNREAD. */
function newer (view: View, cursor: number): Set<number> {
  const ids = new Set<number>()
  for (const { log, after, known } of view.sources) {
    for (const entry of log.backwards(Math.max(after, cursor, known))) {
      if (!isListed(view, entry) || view.state.marks.get(entry.id) === 'read') continue
      if (ids.size >= MAX_UNREAD) return ids
      ids.add(entry.id)
    }
  }
  return ids
}
