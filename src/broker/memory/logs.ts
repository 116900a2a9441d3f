// The logs of all addresses. A log is removed when its newest entry is older than the history.
import { type Address, type Keep, type Notification, userAddress, groupAddress } from '../../notification.ts'
import type { HistoryLimits } from '../broker.ts'
import { SECOND } from './clock.ts'
import { type Entry, Log } from './log.ts'

export interface Appended extends Notification {
  readonly keep: Keep
  readonly key: string | undefined
  readonly ttlSeconds: number | undefined
}

export class Logs {
  readonly #limits: HistoryLimits
  readonly #now: () => number
  readonly #logs = new Map<Address, Log>()

  constructor (limits: HistoryLimits, now: () => number) {
    this.#limits = limits
    this.#now = now
  }

  get (address: Address): Log | undefined {
    const log = this.#logs.get(address)
    return log !== undefined && !this.#isOver(log) ? log : undefined
  }

  /** The log of a user. */
  user (userId: string): Log | undefined { return this.get(userAddress(userId)) }
  /** The log of a group. */
  group (group: string): Log | undefined { return this.get(groupAddress(group)) }

  #isOver (log: Log): boolean {
    return log.last + this.#limits.historySeconds * SECOND <= this.#now()
  }

  append (address: Address, { id, event, json, keep, key, ttlSeconds }: Appended): void {
    const { historyLength, groupHistoryLength } = this.#limits
    let log = this.get(address)
    if (log === undefined) this.#logs.set(address, log = new Log())
    // Without a ttl the age of the history limits it.
    const expiresAt = ttlSeconds === undefined ? Infinity : id + ttlSeconds * SECOND
    log.append({ id, event, json, keep, key, expiresAt }, address.startsWith('user:') ? historyLength : groupHistoryLength)
  }

  /** Takes an entry back. Undefined if there is no such entry any more. */
  retract (address: Address, what: { readonly id: number } | { readonly key: string }): Entry | undefined {
    const log = this.get(address)
    const entry = 'id' in what ? log?.get(what.id) : log?.withKey(what.key)
    const now = this.#now()
    if (entry === undefined || entry.expiresAt <= now || entry.id <= now - this.#limits.historySeconds * SECOND) return undefined
    log!.retract(entry, now)
    return entry
  }

  sweep (): void {
    for (const [address, log] of this.#logs) if (this.#isOver(log)) this.#logs.delete(address)
  }
}
