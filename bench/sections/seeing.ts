// Seeing: what receipts and traces cost, a notification: time of the node and of Redis, and what the node's heap is
// given.
import { seeingRows } from '../rows/seeing.ts'
import { deliveryFaults, type DeliveryResult } from './delivery.ts'
import { measureFanout } from './fanout.ts'
import { type Section, strangers } from './section.ts'

export const seeing: Section<DeliveryResult> = {
  name: 'seeing',
  // Few streams: what is done once for a notification would not be seen beside 5,000 deliveries of it.
  takes: { streams: [100, 20], seconds: [5, 0.3], rounds: 3, client: true, profile: true },
  title: ({ streams, seconds }) => `Seeing: receipts and traces; one message to ${streams} streams, again and again, ${seconds} s`,
  rows: ({ services }) => seeingRows(services),
  notInSmoke: ['seeing-off', 'seeing-sampled'],
  run: measureFanout,
  base: 'seeing-off',
  columns: [
    { head: 'node µs/notification', value: ({ microsPerDelivery, streams }) => microsPerDelivery * streams, digits: 1, isCost: true },
    { head: 'µs/delivery', value: ({ microsPerDelivery }) => microsPerDelivery, digits: 2, isCost: true },
    { head: 'heap B/notification', value: ({ bytesPerMessage }) => bytesPerMessage, digits: 0, isCost: true },
    { head: 'redis µs/notification', value: ({ others, streams }) => (others['redis'] ?? NaN) * streams, digits: 1, isCost: true },
    { head: 'p99 ms', value: ({ p99Ms }) => p99Ms, digits: 1, isCost: true },
    { head: 'lost', value: ({ lost }) => lost, digits: 0 },
    strangers
  ],
  faults: deliveryFaults
}
