// Metrics that an adapter adds to those of the port, read at each scrape.

/** A number, or one for each value of a label. All label values are there from the start. */
export type Reading = number | Readonly<Record<string, number>>

interface PlainMeter {
  readonly kind: 'gauge' | 'counter'
  readonly name: string
  /** One sentence, without a full stop. */
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

/** A histogram: how many values were at most each of some bounds. Adding one costs a few comparisons. */
export class Spread {
  readonly bounds: readonly number[]
  /** For each bound the values above the previous bound, and at the end those above all bounds. */
  readonly #counts: number[]
  #sum = 0

  /** `bounds`: ascending. */
  constructor (bounds: readonly number[]) {
    this.bounds = bounds
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  /** Counts a value. Returns the index of its bucket. */
  add (value: number): number {
    let at = 0
    while (at < this.bounds.length && value > this.bounds[at]!) at++
    this.#counts[at]!++
    this.#sum += value
    return at
  }

  get sum (): number { return this.#sum }

  /** How many values were at most each bound, and at the end how many there were. */
  totals (): number[] {
    let total = 0
    return this.#counts.map((count) => {
      total += count
      return total
    })
  }
}
