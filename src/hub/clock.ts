// The clocks: a monotonic one for durations, the wall clock for dates, and that of the broker for dates beside ids.

export interface Clock {
  /** Monotonic milliseconds since an arbitrary moment, for durations and deadlines. */
  readonly nowMs: () => number
  /** Milliseconds since 1970. The clock may be set forward and back. */
  readonly wallMs: () => number
}

export const systemClock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }

/**
 * Milliseconds since 1970 by the broker's clock, which ids come from, so that dates of several nodes can be compared
 * with an id's and with each other. How far this node is ahead is looked up once a second: it changes slowly.
 */
export function brokerClock (state: () => { readonly clockDifferenceSeconds: number }, { nowMs, wallMs } = systemClock): () => number {
  let originMs = 0
  let lookedAtMs = -Infinity
  return () => {
    const ms = nowMs()
    if (ms - lookedAtMs > 1000) {
      originMs = wallMs() - ms - state().clockDifferenceSeconds * 1000
      lookedAtMs = ms
    }
    return Math.round(originMs + ms)
  }
}
