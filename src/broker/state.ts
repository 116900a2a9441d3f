// The state of a broker, for /readyz, metrics and people.

export interface BrokerState {
  /** Both publishing and receiving work. */
  readonly up: boolean
  /** For people: what is wrong and since when. */
  readonly detail: string
  readonly channels: number
  /** For how long in total, since the start, nothing was heard from other nodes. */
  readonly deafSeconds: number
  /** For people, a sentence each: what works now but cannot be relied upon (eviction, clocks, memory). */
  readonly warnings: readonly string[]
  /** How many seconds this node's clock is ahead of the broker's. */
  readonly clockDifferenceSeconds: number
  /** Each partition, if there are several. `up` of the whole is true while any partition is. */
  readonly partitions?: ReadonlyArray<{ readonly up: boolean, readonly detail: string }>
  /** True if it can never be used with these settings; `detail` says why. */
  readonly isRefused?: boolean
}
