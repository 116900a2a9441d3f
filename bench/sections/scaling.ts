// Scaling: fan-out and burst again, with the streams spread over one, two, three nodes, beside as many bare loops.
import { spreadFloors } from '../rows/floor.ts'
import { onRedis, tidings } from '../rows/tidings.ts'
import { measureBurst } from './burst.ts'
import { deliveryColumns, deliveryFaults, type DeliveryResult } from './delivery.ts'
import { measureFanout } from './fanout.ts'
import type { Section } from './section.ts'

const nodes = [onRedis(1), onRedis(2), onRedis(3)] as const

export const scaling: Section<DeliveryResult> = {
  name: 'scaling',
  isLong: true,
  takes: { streams: [5000, 150], seconds: [5, 0.3], rounds: 3, client: true, profile: true },
  title: ({ streams, seconds }) => `Scaling: fan-out to ${streams} streams spread over one, two, three nodes (or bare loops), ${seconds} s`,
  rows: ({ services }) => [...spreadFloors, ...tidings(services, ...nodes)],
  run: measureFanout,
  columns: deliveryColumns,
  base: 'tidings-redis-1',
  faults: deliveryFaults
}

export const scalingBurst: Section<DeliveryResult> = {
  name: 'scaling-burst',
  partOf: 'scaling',
  isLong: true,
  takes: { streams: [2000, 100], seconds: [5, 0.3], rate: [1000, 1000], rounds: 3, client: true, profile: true },
  title: ({ streams, seconds, rate }) => `Scaling: ${rate} messages a second to ${streams} streams spread over one, two, three nodes, ${seconds} s`,
  rows: ({ services }) => tidings(services, ...nodes),
  run: measureBurst,
  columns: deliveryColumns,
  base: 'tidings-redis-1',
  faults: deliveryFaults
}
