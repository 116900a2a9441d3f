// What a node does for each copy of a message before any stream of it: hears it, reads it, and makes the bytes that go
// to its streams.
import { createServer } from 'node:net'
import { PartitionedBroker } from '../../src/broker/redis/partitions/partitions.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import { notificationFrame } from '../../src/hub/frame.ts'
import { usersIn } from '../harness/partitions.ts'
import { sayListening } from './listening.ts'

const { REDIS_URL: url, PARTITIONS, CHANNELS } = process.env as Record<string, string>
const partitions = Number(PARTITIONS)
const options = {
  url: url!, prefix: 'tidings', nodeName: 'hearer', historyLength: 1000, groupHistoryLength: 1000, historySeconds: 86_400, maxDataBytes: 16_384, log: { info () {}, warn: console.error }
}
const broker = partitions === 1 ? new RedisBroker(options) : new PartitionedBroker({ ...options, partitions })
broker.start({
  notification: (_channel, notification) => { notificationFrame(notification) },
  control: () => {},
  interrupted: () => {},
  restored: () => {},
  dropped: () => {}
})
while (!broker.state().up) await new Promise((resolve) => { setTimeout(resolve, 10) })
await broker.subscribe(usersIn(partitions).flatMap((user) => CHANNELS!.split(',').map((address) => broker.channelOf(user, address))))
const server = createServer().listen(0, '127.0.0.1', () => { sayListening(server) })
