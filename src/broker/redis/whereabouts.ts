// Who is master of a slot: of a single Redis always the same; of the others, sentinel.ts and cluster.ts.
import type { Redis } from 'ioredis'
import type { RedisAddress } from '../../redis-url.ts'
import { ClusterMasters } from './cluster.ts'
import type { Entry } from './connection.ts'
import { NOT_CONNECTED } from './diagnosis.ts'
import { SentinelMaster } from './sentinel.ts'

export interface Whereabouts {
  /** Undefined: not known. */
  masterOf: (slot: number) => RedisAddress | undefined
  masters: () => readonly RedisAddress[]
  /** Asks. Whether the answer is another one than before. Never rejects. */
  look: () => Promise<boolean>
  /** Asked once a second: whether it is time to look, of itself, or since something is wrong. */
  isDue: (isTroubled: boolean) => boolean
  /** Why a master is not known. */
  readonly fault: string
}

class SingleMaster implements Whereabouts {
  readonly fault = NOT_CONNECTED
  readonly #address: RedisAddress

  constructor (address: RedisAddress) {
    this.#address = address
  }

  masterOf (): RedisAddress { return this.#address }
  masters (): readonly RedisAddress[] { return [this.#address] }
  look (): Promise<boolean> { return Promise.resolve(false) }
  isDue (): boolean { return false }
}

/** `connected`: the connections for commands that stand. */
export function whereaboutsOf (entry: Entry, connected: () => readonly Redis[]): Whereabouts {
  const { kind, addresses } = entry.place
  if (kind === 'sentinel') return new SentinelMaster(entry)
  return kind === 'cluster' ? new ClusterMasters(entry, connected) : new SingleMaster(addresses[0]!)
}
