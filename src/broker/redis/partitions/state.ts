// The state of all partitions as one: up while any is heard, since a partition that is away affects only its own users.
import type { Meter } from '../../meters.ts'
import type { BrokerState } from '../../state.ts'
import type { Links } from '../links.ts'
import { metersOf as metersOfAll } from '../meters.ts'
import type { RedisBroker } from '../redis.ts'

export function stateOf (partitions: readonly BrokerState[], { fault, isRefused }: { readonly fault: string, readonly isRefused: boolean }): BrokerState {
  const most = (value: (state: BrokerState) => number): number => Math.max(...partitions.map(value))
  const away = partitions.map(({ up, detail }, i) => up ? '' : `partition ${i}: ${detail}`).filter((text) => text !== '')
  const isAllAway = away.length === partitions.length
  const details = new Set(partitions.map(({ detail }) => detail))
  return {
    up: fault === '' && away.length < partitions.length,
    // If all are away for one reason, that reason is shown instead of what follows from it.
    detail: isRefused || (fault !== '' && !isAllAway) ? fault : isAllAway && details.size === 1 ? [...details][0]! : away.join('; ') || 'connected',
    channels: partitions.reduce((sum, { channels }) => sum + channels, 0),
    deafSeconds: most(({ deafSeconds }) => deafSeconds),
    warnings: [...new Set(partitions.flatMap(({ warnings }) => warnings))],
    clockDifferenceSeconds: partitions.map((state) => state.clockDifferenceSeconds).sort((a, b) => Math.abs(b) - Math.abs(a))[0]!,
    partitions: partitions.map(({ up, detail }) => ({ up, detail })),
    isRefused
  }
}

/** The metrics of a single Redis, and those by partition. */
export function metersOf (links: Links, partitions: readonly RedisBroker[], outboxes: { readonly owed: readonly number[] }): Meter[] {
  const measured = partitions.map(({ measured }) => measured)
  return [
    ...metersOfAll(links, measured),
    byPartition('tidings_partition_round_trip_seconds', 'Duration of the last round trip to the Redis of each partition', () => measured.map(({ commands }) => commands.roundTripSeconds)),
    byPartition('tidings_partition_owed', 'Notifications of each partition that have not reached all others yet', () => outboxes.owed)
  ]
}

function byPartition (name: string, help: string, read: () => readonly number[]): Meter {
  return { kind: 'gauge', name, help, label: 'partition', read: () => Object.fromEntries(read().entries()) }
}
