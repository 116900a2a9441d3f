// The two clocks: a monotonic one for durations, the wall clock for dates.

export interface Clock {
  /** Monotonic milliseconds since an arbitrary moment, for durations and deadlines. */
  readonly nowMs: () => number
  /** Milliseconds since 1970. The clock may be set forward and back. */
  readonly wallMs: () => number
}

export const systemClock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }
