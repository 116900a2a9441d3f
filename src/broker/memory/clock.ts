// The clock of ids: microseconds that only grow.

export const SECOND = 1_000_000

export class IdClock {
  readonly #nowMs: () => number
  #last = 0

  /** `nowMs`: milliseconds since 1970, which may jump. */
  constructor (nowMs: () => number) {
    this.#nowMs = nowMs
  }

  /** Takes the next id: the time, or one more than the last id if the time stood still or was set back. */
  next (): number {
    this.#last = Math.max(Math.floor(this.#nowMs() * 1000), this.#last + 1)
    return this.#last
  }

  /** The current time in the order of ids, without taking an id. */
  get now (): number {
    return Math.max(Math.floor(this.#nowMs() * 1000), this.#last)
  }
}
