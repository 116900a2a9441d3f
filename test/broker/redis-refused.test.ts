// A Redis that refuses what a node must do: it passes messages on all the same, and may vanish meanwhile.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Line } from '../../chaos/line.ts'
import { startRedis } from '../fixtures/redis.ts'
import { becomes, startRedisNode, up } from './nodes.ts'

t.test('a Redis that is full: what others publish by PUBLISH arrives, and no connection is replaced', async (t) => {
  const redis = await startRedis(t, { own: true })
  const node = startRedisNode(t, redis)
  await up(node)
  await node.broker.subscribe(['user:1'])
  const connections = async (): Promise<number> => Number((await redis.cli('INFO', 'stats') as string).match(/total_connections_received:(\d+)/)![1])
  const before = await connections()
  await redis.cli('CONFIG', 'SET', 'maxmemory', 1)
  await becomes(() => /Redis is full/.test(node.broker.state().detail), 'the fault')
  // Longer than a silent connection is left in peace.
  await sleep(7000)
  await redis.cli('PUBLISH', `${redis.prefix}:user:1`, '{"data":"live"}')
  await node.ear.count(1)
  t.equal(await connections(), before)
  t.strictSame(node.ear.lines, [], 'its streams are not held')
  t.equal(node.broker.state().up, false)
  await redis.cli('CONFIG', 'SET', 'maxmemory', 0)
  await up(node)
})

t.test('a Redis that refuses commands, and is gone without a word: another connection is opened', async (t) => {
  const redis = await startRedis(t, { own: true })
  const line = new Line(redis.port)
  await line.listen()
  t.teardown(() => { line.close() })
  const node = startRedisNode(t, { url: `redis://127.0.0.1:${line.port}`, prefix: redis.prefix })
  await up(node)
  await redis.cli('RENAME', `${redis.prefix}:config`, `${redis.prefix}:apart`)
  await redis.cli('LPUSH', `${redis.prefix}:config`, 'x')
  await becomes(() => /^a key under REDIS_PREFIX is not of the kind/.test(node.broker.state().detail), 'the fault')
  line.loseAll()
  await redis.cli('RENAME', `${redis.prefix}:apart`, `${redis.prefix}:config`)
  await up(node)
})

t.test('a Redis that refuses the channels, and is gone without a word: another connection is opened', async (t) => {
  const redis = await startRedis(t, { own: true })
  const line = new Line(redis.port)
  await line.listen()
  t.teardown(() => { line.close() })
  await redis.cli('ACL', 'SETUSER', 'deaf', 'on', '>pass', '~*', '+@all', 'resetchannels')
  const node = startRedisNode(t, { url: `redis://deaf:pass@127.0.0.1:${line.port}`, prefix: redis.prefix })
  await becomes(() => /may not use the channels/.test(node.broker.state().detail), 'the fault')
  line.loseAll()
  await redis.cli('ACL', 'SETUSER', 'deaf', 'allchannels')
  await up(node)
})
