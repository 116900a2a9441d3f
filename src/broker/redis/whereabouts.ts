// Finds the master of a slot: here for a single Redis, in sentinel.ts and cluster.ts for the others.
import type { Redis } from 'ioredis'
import type { RedisAddress } from '../../redis-url.ts'
import { ClusterMasters } from './cluster.ts'
import type { Entry } from './connection.ts'
import { NOT_CONNECTED } from './diagnosis.ts'
import { SentinelMaster } from './sentinel.ts'

export interface Whereabouts {
  /** Undefined if it is not known. */
  masterOf: (slot: number) => RedisAddress | undefined
  masters: () => readonly RedisAddress[]
  /** Looks it up. Resolves with true if the answer has changed. Never rejects. */
  look: () => Promise<boolean>
  /** Called once a second: true if a lookup is due, by time or because of trouble. */
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

/** `connected`: the command connections that work now. */
export function whereaboutsOf (entry: Entry, connected: () => readonly Redis[]): Whereabouts {
  const { kind, addresses } = entry.place
  if (kind === 'sentinel') return new SentinelMaster(entry)
  return kind === 'cluster' ? new ClusterMasters(entry, connected) : new SingleMaster(addresses[0]!)
}
