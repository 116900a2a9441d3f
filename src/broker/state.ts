// How a broker is: what readiness, metrics and people ask.

export interface BrokerState {
  /** Both ways work: publishing and hearing. */
  readonly up: boolean
  /** For a person: what is wrong and since when. */
  readonly detail: string
  readonly channels: number
  /** For how long in all, since the start, nothing was heard from the other nodes. */
  readonly deafSeconds: number
  /** For a person, a sentence each: what works now and will not be relied upon (eviction, clocks, memory). */
  readonly warnings: readonly string[]
  /** How far this node's clock is ahead of the broker's, in seconds. */
  readonly clockDifferenceSeconds: number
  /** Where users are divided among several: how each is. `up` is true while any is. */
  readonly partitions?: ReadonlyArray<{ readonly up: boolean, readonly detail: string }>
  /** What it found can never be used with these settings; `detail` says why. */
  readonly isRefused?: boolean
}
