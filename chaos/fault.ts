// What a fault is.
import type { Publishers } from './publishers.ts'
import type { Random } from './random.ts'
import type { Topology } from './topology.ts'
import type { World } from './world.ts'

export interface Stage {
  readonly world: World
  readonly publishers: Publishers
  readonly random: Random
  /** The sum of a counter over the nodes. */
  readonly metric: (name: string, label?: string) => Promise<number>
  /** To be called by a fault that sees itself that it was noticed. */
  readonly noticed: () => void
}

export interface Fault {
  readonly name: string
  /** One line for --help. */
  readonly what: string
  /** Where it can be made. Default: everywhere. */
  readonly topologies?: readonly Topology[]
  /** By what the service shows that it has noticed: a node that is not ready, or streams that end. */
  readonly shows: 'readiness' | 'streams' | 'itself' | 'nothing'
  /** Seconds that must be left for it. */
  readonly seconds?: number
  /** Why it cannot be made here, with what to do about it. */
  readonly absent?: () => string | undefined
  /** May come on top of another one. */
  readonly isMild?: boolean
  /** It is nothing where there is one alone. */
  readonly needsPartitions?: boolean
  /** Resolves at the cure. */
  readonly make: (stage: Stage) => Promise<void>
}
