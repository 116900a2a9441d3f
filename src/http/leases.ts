// Counts a rate limit over all nodes without asking the broker at every request.
import type { Store } from '../broker/broker.ts'

/** Up to this many nodes, all leases together never exceed what is left of the limit. */
const NODES = 20
/** How long a node may go on with the count that the broker answered last. */
const MAX_AGE_MS = 1000
/** How often accounts of past windows are removed. There is one for each user, and all are looked at. */
const FORGET_EVERY_MS = 5000

interface Account {
  /** Hits of all nodes, as the broker last answered. */
  count: number
  /** Hits of this node, and how many of them the broker had been told of by then. */
  hits: number
  reported: number
  /** How many hits of this node may pass before the broker must be told. */
  lease: number
  endsAtMs: number
  askedAtMs: number
  /** The call of the broker that is under way. */
  asking: Promise<void> | undefined
}

/**
 * A node may let through a twentieth of what is left before it tells the broker. Far from the limit that saves most
 * calls. Close to the limit the lease is 0, and the broker counts every hit.
 */
export class Leases {
  readonly #store: Pick<Store, 'hit'>
  readonly #accounts = new Map<string, Account>()
  #forgotAtMs = -Infinity

  constructor (store: Pick<Store, 'hit'>) {
    this.#store = store
  }

  /** Counts one hit, or `weight` hits. `count` includes them. Rejects with what the store rejects with. */
  async hit (home: string, key: string, max: number, windowMs: number, weight = 1): Promise<{ count: number, restMs: number }> {
    const nowMs = performance.now()
    let account = this.#accounts.get(key)
    if (account === undefined || account.endsAtMs <= nowMs) {
      this.#forgetOld(nowMs)
      account = { count: 0, hits: 0, reported: 0, lease: 0, endsAtMs: nowMs + windowMs, askedAtMs: -Infinity, asking: undefined }
      this.#accounts.set(key, account)
    }
    const ordinal = account.hits += weight
    const isLeased = ordinal - account.reported <= account.lease && nowMs - account.askedAtMs < MAX_AGE_MS
    // A hit that comes while a call is under way is told with the next call.
    while (!isLeased && account.reported < ordinal) await (account.asking ??= this.#ask(home, key, account, max, windowMs))
    // Hits that were told together are numbered in the order in which they came, so none counts for an earlier one.
    return { count: account.count + ordinal - account.reported, restMs: Math.max(0, account.endsAtMs - performance.now()) }
  }

  async #ask (home: string, key: string, account: Account, max: number, windowMs: number): Promise<void> {
    const upTo = account.hits
    try {
      const { count, restMs } = await this.#store.hit(home, key, windowMs, upTo - account.reported)
      account.count = count
      account.reported = upTo
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
    for (const [key, { endsAtMs }] of this.#accounts) if (endsAtMs <= nowMs) this.#accounts.delete(key)
  }
}
