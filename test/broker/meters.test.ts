// What the adapter on Redis tells of itself: how long commands take, what waits for Redis, and which partition is to blame.
import t from 'tap'
import { Spread } from '../../src/broker/meters.ts'
import { startRedis } from '../fixtures/redis.ts'
import { send } from './contract.ts'
import { becomes, readMeter, startPartitionedNode, startRedisNode, up } from './nodes.ts'

t.test('Spread, values at and between its bounds, counts each in all bounds that are not below it', async (t) => {
  const spread = new Spread([1, 2, 5])
  for (const value of [0, 1, 1.5, 5, 7]) spread.add(value)
  t.same(spread.totals(), [2, 3, 4, 5])
  t.equal(spread.sum, 14.5)
})

t.test('calls, while Redis answers nothing, wait and are counted; what is asked meanwhile is gathered', async (t) => {
  const redis = await startRedis(t, { own: true })
  const node = startRedisNode(t, redis)
  await up(node)
  t.ok(Number(readMeter(node.broker, 'tidings_redis_round_trip_seconds')) > 0)
  const before = Number(readMeter(node.broker, 'tidings_redis_call_seconds'))
  await send(node, 'user:1')
  t.ok(Number(readMeter(node.broker, 'tidings_redis_call_seconds')) > before)
  await becomes(() => readMeter(node.broker, 'tidings_redis_calls_waiting') === 0, 'everything answered')
  redis.pause()
  const published = [send(node, 'user:1')]
  await becomes(() => Number(readMeter(node.broker, 'tidings_redis_calls_waiting')) > 0, 'a call that waits')
  published.push(send(node, 'user:1'), send(node, 'user:2'))
  t.match(readMeter(node.broker, 'tidings_redis_gathered'), { publishes: 2, resumes: 0, visits: 0 })
  redis.resume()
  await Promise.all(published)
  t.match(readMeter(node.broker, 'tidings_redis_gathered'), { publishes: 0 })
})

t.test('partitions: each has its round trip, and owes nothing once its notification is everywhere', async (t) => {
  const redis = await startRedis(t)
  const node = startPartitionedNode(t, redis, 2)
  await up(node)
  await send(node, 'all')
  await becomes(() => Object.values(readMeter(node.broker, 'tidings_partition_owed')).every((owed) => owed === 0), 'nothing owed')
  t.ok(Object.values(readMeter(node.broker, 'tidings_partition_round_trip_seconds')).every((seconds) => seconds > 0 && seconds < 60))
  t.same(Object.keys(readMeter(node.broker, 'tidings_partition_round_trip_seconds')), ['0', '1'])
})
