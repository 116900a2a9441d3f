// Counting a rate limit over all nodes without asking the broker at every request.
import type { Store } from '../broker/broker.ts'

/** With as many nodes as this, all their leases together never exceed what is left of the limit. */
const NODES = 20
/** How old a node's picture of the others may get. */
const MAX_AGE_MS = 1000
/** How often the accounts of windows that are over are looked for: each user has one, and all of them are looked at. */
const FORGET_EVERY_MS = 5000

interface Account {
  /** Hits of all nodes, as the broker said when it was told last. */
  count: number
  /** Hits of this node, and how many of them the broker had been told of then. */
  hits: number
  told: number
  /** How many may be untold before the broker must be asked. */
  lease: number
  endsAtMs: number
  askedAtMs: number
  /** The question under way. */
  asking: Promise<void> | undefined
}

/**
 * A node may let through a twentieth of what is left before it tells the broker. Far from the limit that spares most
 * questions; close to it the lease is nothing, and every hit is counted where all nodes count.
 */
export class Leases {
  readonly #store: Pick<Store, 'hit'>
  readonly #accounts = new Map<string, Account>()
  #forgotAtMs = -Infinity

  constructor (store: Pick<Store, 'hit'>) {
    this.#store = store
  }

  /** Counts one hit, or as many as `weight`. `count` includes them. Throws what the store throws. */
  async hit (home: string, key: string, max: number, windowMs: number, weight = 1): Promise<{ count: number, restMs: number }> {
    const nowMs = performance.now()
    let account = this.#accounts.get(key)
    if (account === undefined || account.endsAtMs <= nowMs) {
      this.#forgetOld(nowMs)
      account = { count: 0, hits: 0, told: 0, lease: 0, endsAtMs: nowMs + windowMs, askedAtMs: -Infinity, asking: undefined }
      this.#accounts.set(key, account)
    }
    const ordinal = account.hits += weight
    const isLeased = ordinal - account.told <= account.lease && nowMs - account.askedAtMs < MAX_AGE_MS
    // A hit that comes while a question is under way is told with the next one.
    while (!isLeased && account.told < ordinal) await (account.asking ??= this.#ask(home, key, account, max, windowMs))
    // Hits of this node that were told together have the order in which they came; none counts for one before it.
    return { count: account.count + ordinal - account.told, restMs: Math.max(0, account.endsAtMs - performance.now()) }
  }

  async #ask (home: string, key: string, account: Account, max: number, windowMs: number): Promise<void> {
    const upTo = account.hits
    try {
      const { count, restMs } = await this.#store.hit(home, key, windowMs, upTo - account.told)
      account.count = count
      account.told = upTo
      account.askedAtMs = performance.now()
      account.endsAtMs = account.askedAtMs + restMs
      account.lease = Math.floor(Math.max(0, max - count) / NODES)
    } finally {
      account.asking = undefined
    }
  }

  #forgetOld (nowMs: number): void {
    if (nowMs - this.#forgotAtMs < FORGET_EVERY_MS) return
    this.#forgotAtMs = nowMs
    for (const [key, { endsAtMs, asking }] of this.#accounts) if (endsAtMs <= nowMs && asking === undefined) this.#accounts.delete(key)
  }
}
