// What a broker has to tell of itself beyond the port: numbers under its own names, read when somebody looks.

/** A number; or one for each value of a label, all of them there before anything happens. */
export type Reading = number | Readonly<Record<string, number>>

interface PlainMeter {
  readonly kind: 'gauge' | 'counter'
  readonly name: string
  /** A sentence without its full stop. */
  readonly help: string
  readonly label?: string
  readonly read: () => Reading
}

interface SpreadMeter {
  readonly kind: 'histogram'
  readonly name: string
  readonly help: string
  readonly spread: Spread
}

export type Meter = PlainMeter | SpreadMeter

/** How values are spread: how many were at most each of some bounds. To add one costs a few comparisons. */
export class Spread {
  readonly bounds: readonly number[]
  /** Of each bound those that are above the one before, and at last those above all. */
  readonly #counts: number[]
  #sum = 0

  /** `bounds` grow. */
  constructor (bounds: readonly number[]) {
    this.bounds = bounds
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  /** Returns of which bound it is now one, by its index. */
  add (value: number): number {
    let at = 0
    while (at < this.bounds.length && value > this.bounds[at]!) at++
    this.#counts[at]!++
    this.#sum += value
    return at
  }

  get sum (): number { return this.#sum }

  /** How many were at most each bound; the last number is all. */
  totals (): number[] {
    let total = 0
    return this.#counts.map((count) => {
      total += count
      return total
    })
  }
}
