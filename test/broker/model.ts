// What a user should have, as plainly as it can be said: everything that was ever published is kept, and each question goes through all of it.
import type { HistoryLimits, PublishRequest } from '../../src/broker/broker.ts'
import type { InboxCounts, InboxMark } from '../../src/broker/inbox.ts'
import { type Address, ALL, groupAddress, type Keep, MAX_UNREAD, userAddress } from '../../src/notification.ts'
import { Members, SECOND, type User } from './model-members.ts'

/** A log is cut when it has so many more than it keeps. */
const TRIM_STEP = 100

/** A notification at one of its addresses. */
interface Copy {
  readonly id: number
  readonly to: Address
  readonly json: string
  readonly keep: Keep
  readonly key: string | undefined
  readonly until: number
  state: 'here' | 'replaced' | 'retracted' | 'trimmed' | 'expired'
}

export interface ModelItem { readonly id: number, readonly to: Address, readonly key: string | undefined, readonly json: string, readonly isRead: boolean }
export interface Replay {
  readonly gap: boolean
  /** What a device that comes back must get; of what is older than the history it may get some. */
  readonly ids: readonly number[]
  readonly older: ReadonlySet<number>
}

export interface ModelOptions extends Pick<HistoryLimits, 'historyLength' | 'groupHistoryLength' | 'historySeconds'> {
  /** Whether by the clock of ids, which a test turns, a log is gone and a user's cursors are forgotten after the history. */
  readonly forgets: boolean
}

/** Times (`at`) are positions: each lies between the ids of what happened before and after. */
export class Model extends Members {
  readonly #options: ModelOptions
  readonly #copies: Copy[] = []

  constructor (options: ModelOptions) {
    super()
    this.#options = options
  }

  #userAt (userId: string, at: number): User {
    const user = this.user(userId)
    if (this.#options.forgets && user.changedAt <= at - this.#options.historySeconds * SECOND) {
      user.seen = 0
      user.read = 0
      user.marks.clear()
    }
    return user
  }

  // — what happens —

  publish (id: number, { to, json, keep, key, ttlSeconds = Infinity }: PublishRequest): void {
    const { historyLength, groupHistoryLength, historySeconds, forgets } = this.#options
    for (const address of new Set(to)) {
      const log = this.#copies.filter((copy) => copy.to === address && copy.state === 'here')
      // A log ends with the newest that was ever in it, also if that was taken back.
      const ever = this.#copies.filter((copy) => copy.to === address && copy.state !== 'expired')
      if (forgets && ever.every((copy) => copy.id <= id - historySeconds * SECOND)) for (const copy of log.splice(0)) copy.state = 'expired'
      for (const copy of log) if (key !== undefined && copy.key === key) copy.state = 'replaced'
      const copy: Copy = { id, to: address, json, keep, key, until: ttlSeconds <= historySeconds ? id + ttlSeconds * SECOND : Infinity, state: 'here' }
      this.#copies.push(copy)
      const length = address.startsWith('user:') ? historyLength : groupHistoryLength
      const left = [...log.filter(({ state }) => state === 'here'), copy]
      if (left.length >= length + TRIM_STEP) for (const copy of left.slice(0, -length)) copy.state = 'trimmed'
    }
  }

  retract (to: Address, what: { readonly id: number } | { readonly key: string }, at: number): { id: number, key: string | undefined } | undefined {
    const found = this.#copies.find((copy) => copy.to === to && this.#isThere(copy, at) && ('id' in what ? copy.id === what.id : copy.key === what.key))
    if (found !== undefined) found.state = 'retracted'
    return found
  }

  visit (userId: string, at: number): void {
    this.user(userId).firstVisit ??= at
  }

  /** Whether anything changed. */
  move (userId: string, cursor: 'seen' | 'read', upTo: number, at: number): boolean {
    const user = this.#userAt(userId, at)
    const { seen, read } = user
    user.seen = Math.max(seen, upTo)
    if (cursor === 'read' && upTo > read) {
      user.read = upTo
      for (const [id, as] of user.marks) if (as === 'unread' && id <= upTo) user.marks.delete(id)
    }
    const isChange = user.seen !== seen || user.read !== read
    if (isChange) user.changedAt = at
    return isChange
  }

  /** Whether anything changed; undefined: it is not in this user's inbox. */
  mark (userId: string, id: number, as: InboxMark, at: number): boolean | undefined {
    const user = this.#userAt(userId, at)
    const { marks } = user
    if (as === 'dismissed' && marks.get(id) === as) return false
    const item = this.inbox(userId, at).find((item) => item.id === id)
    if (item === undefined) return undefined
    if (as !== 'dismissed' && item.isRead === (as === 'read')) return false
    marks.set(id, as)
    user.changedAt = at
    return true
  }

  // — what is asked —

  /** In a log, neither outlived nor older than the history. */
  #isThere ({ id, until, state }: Copy, at: number): boolean {
    return state === 'here' && until > at && id > at - this.#options.historySeconds * SECOND
  }

  /** Newest first. */
  inbox (userId: string, at: number): ModelItem[] {
    const user = this.#userAt(userId, at)
    const sources: Array<[to: Address, from: number]> = [
      [userAddress(userId), 0],
      ...this.groups(userId).map((group): [Address, number] => [groupAddress(group), this.current(user, group)!.from]),
      [ALL, 0]
    ]
    const items = new Map<number, ModelItem>()
    for (const [to, from] of sources) {
      for (const copy of this.#copies) {
        const { id, key, json, keep } = copy
        if (copy.to !== to || id <= from || keep !== 'inbox' || !this.#isThere(copy, at) || items.has(id) || user.marks.get(id) === 'dismissed') continue
        const mark = user.marks.get(id)
        items.set(id, { id, to, key, json, isRead: mark === undefined ? id <= Math.max(user.read, this.#known(user, to)) : mark === 'read' })
      }
    }
    return [...items.values()].sort((a, b) => b.id - a.id)
  }

  /** What went to all before the first visit is no news. */
  #known ({ firstVisit = Infinity }: User, to: Address): number {
    return to === ALL ? firstVisit : 0
  }

  counts (userId: string, at: number): InboxCounts {
    const user = this.#userAt(userId, at)
    const items = this.inbox(userId, at)
    const unseen = items.filter(({ id, to }) => id > Math.max(user.seen, this.#known(user, to)) && user.marks.get(id) !== 'read')
    const unread = items.filter(({ isRead }) => !isRead)
    return { seen: user.seen, read: user.read, unseen: Math.min(unseen.length, MAX_UNREAD), unread: Math.min(unread.length, MAX_UNREAD) }
  }

  #trimmedTo (to: Address): number {
    return Math.max(0, ...this.#copies.filter((copy) => copy.to === to && copy.state === 'trimmed').map(({ id }) => id))
  }

  isComplete (userId: string, at: number): boolean {
    const user = this.user(userId)
    const since = at - this.#options.historySeconds * SECOND
    return this.#trimmedTo(userAddress(userId)) <= since && this.#trimmedTo(ALL) <= since &&
      this.groups(userId).every((group) => this.#trimmedTo(groupAddress(group)) <= Math.max(since, this.current(user, group)!.from))
  }

  /** What is owed to a device that knows everything up to a cursor. */
  replay (userId: string, cursor: number, at: number): Replay {
    const user = this.#userAt(userId, at)
    if (cursor > at) return { gap: true, ids: [], older: new Set() }
    const since = at - this.#options.historySeconds * SECOND
    const isOwed = ({ id, until, state }: Copy): boolean => id > cursor && state === 'here' && until > at && user.marks.get(id) !== 'dismissed'
    const owed = new Set<number>()
    const older = new Set<number>()
    const lost: number[] = []
    let gap = cursor < since || cursor < user.forgottenTo
    const look = (to: Address, from: number, upTo: number, isTheirs: boolean): void => {
      if (upTo <= cursor) return
      gap ||= this.#trimmedTo(to) > Math.max(cursor, from)
      for (const copy of this.#copies) {
        if (copy.to !== to || copy.id <= from || copy.id > upTo || !isOwed(copy)) continue
        if (!isTheirs) lost.push(copy.id)
        else if (copy.id > since) owed.add(copy.id)
        else older.add(copy.id)
      }
    }
    look(userAddress(userId), 0, Infinity, true)
    look(ALL, 0, Infinity, true)
    for (const [group, stays] of user.stays) {
      const isMember = stays.at(-1)!.to === undefined
      for (const { from, to = Infinity } of stays) look(groupAddress(group), from, to, isMember)
    }
    gap ||= lost.some((id) => !owed.has(id) && !older.has(id))
    return { gap, ids: [...owed].sort((a, b) => a - b), older }
  }
}
