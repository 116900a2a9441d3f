// Counting a rate limit over all nodes without asking the broker at every request.
import type { Broker } from '../broker/broker.ts'

/** With as many nodes as this, all their leases together never exceed what is left of the limit. */
const NODES = 20
/** How old a node's picture of the others may get. */
const MAX_AGE_MS = 1000

interface Account {
  /** Hits of all nodes when the broker was asked last. */
  count: number
  endsAtMs: number
  askedAtMs: number
  /** Hits of this node that the broker has not been told of. */
  untold: number
  /** How many those may become before it must be. */
  lease: number
  /** The question under way. */
  asking: Promise<void> | undefined
}

/**
 * A node may let through a twentieth of what is left before it tells the broker. Far from the limit that spares most questions;
 * close to it the lease is nothing, and every hit is counted where all nodes count.
 */
export class Leases {
  readonly #broker: Broker
  readonly #accounts = new Map<string, Account>()

  constructor (broker: Broker) {
    this.#broker = broker
  }

  /** Counts one hit. Throws what the broker throws. */
  async hit (home: string, key: string, max: number, windowMs: number): Promise<{ count: number, restMs: number }> {
    const nowMs = Date.now()
    let account = this.#accounts.get(key)
    if (account === undefined || account.endsAtMs <= nowMs) {
      this.#forgetOld(nowMs)
      account = { count: 0, endsAtMs: nowMs + windowMs, askedAtMs: 0, untold: 0, lease: 0, asking: undefined }
      this.#accounts.set(key, account)
    }
    account.untold++
    const isLeased = account.untold <= account.lease && nowMs - account.askedAtMs < MAX_AGE_MS
    if (!isLeased) await this.#ask(home, key, account, max, windowMs)
    return { count: account.count + account.untold, restMs: Math.max(0, account.endsAtMs - Date.now()) }
  }

  // Whoever comes while a question is under way is counted with the next one.
  async #ask (home: string, key: string, account: Account, max: number, windowMs: number): Promise<void> {
    while (account.asking !== undefined) await account.asking
    if (account.untold === 0) return // told with somebody else's
    const told = account.untold
    account.asking = this.#broker.hit(home, key, windowMs, told).then(({ count, restMs }) => {
      account.count = count
      account.untold -= told
      account.askedAtMs = Date.now()
      account.endsAtMs = account.askedAtMs + restMs
      account.lease = Math.floor(Math.max(0, max - count) / NODES)
    }).finally(() => { account.asking = undefined })
    await account.asking
  }

  #forgetOld (nowMs: number): void {
    for (const [key, { endsAtMs, asking }] of this.#accounts) if (endsAtMs <= nowMs && asking === undefined) this.#accounts.delete(key)
  }
}
