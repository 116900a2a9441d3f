// The two clocks: durations by one that never steps, dates by the wall's.

export interface Clock {
  /** Milliseconds since some moment. What lasts, ages or is due is measured with it. */
  readonly nowMs: () => number
  /** Milliseconds since 1970. It may be set, ahead and back. */
  readonly wallMs: () => number
}

export const systemClock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }
