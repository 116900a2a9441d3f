// Chance that can be had again: the same seed, the same schedule.

export class Random {
  #state: number

  constructor (seed: number) {
    this.#state = seed >>> 0
  }

  /** At least 0, below 1 (mulberry32). */
  next (): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A number between the two. */
  between (low: number, high: number): number {
    return low + (high - low) * this.next()
  }

  /** A whole number below `count`. */
  below (count: number): number {
    return Math.floor(this.next() * count)
  }

  pick<T> (list: readonly T[]): T {
    return list[this.below(list.length)]!
  }

  shuffled<T> (list: readonly T[]): T[] {
    const rest = [...list]
    return list.map(() => rest.splice(this.below(rest.length), 1)[0]!)
  }

  /** Another stream of chance, so that who asks more often changes nobody else's. */
  fork (): Random {
    return new Random(this.below(4_294_967_296))
  }
}
