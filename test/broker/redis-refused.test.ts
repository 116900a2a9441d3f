// A Redis that refuses what a node must do, or does not hear it: it passes messages on all the same, and may vanish
// meanwhile.
import t from 'tap'
import { Line } from '../../chaos/line.ts'
import { startRedis } from '../fixtures/redis.ts'
import { becomes, startRedisNode, up } from './nodes.ts'

for (const [what, breaks, mends, fault] of [
  ['is full', [['CONFIG', 'SET', 'maxmemory', 1]], [['CONFIG', 'SET', 'maxmemory', 0]], /Redis is full/],
  ['refuses the functions', [['RENAME', 'config', 'apart'], ['LPUSH', 'config', 'x']], [['RENAME', 'apart', 'config']], /^a key under REDIS_PREFIX is not of the kind/]
] as const) {
  t.test(`a Redis that ${what}: what others publish by PUBLISH arrives, and no connection is replaced`, async (t) => {
    const redis = await startRedis(t, { own: true })
    const named = (words: ReadonlyArray<string | number>): Array<string | number> => words.map((word) => word === 'config' || word === 'apart' ? `${redis.prefix}:${word}` : word)
    const node = startRedisNode(t, redis)
    await up(node)
    await node.broker.subscribe(['user:1'])
    const stat = async (section: string, pattern: RegExp): Promise<number> => Number((await redis.cli('INFO', section) as string).match(pattern)?.[1])
    const connections = async (): Promise<number> => await stat('stats', /total_connections_received:(\d+)/)
    const canaries = async (): Promise<number> => await stat('commandstats', /cmdstat_publish:calls=(\d+)/)
    for (const words of breaks) await redis.cli(...named(words))
    await becomes(() => fault.test(node.broker.state().detail), 'the fault')
    const [before, heard] = [await connections(), await canaries()]
    // More than the seconds for which a silent connection is left in peace.
    await becomes(async () => await canaries() >= heard + 6, 'six canaries')
    await redis.cli('PUBLISH', `${redis.prefix}:user:1`, '{"data":"live"}')
    await node.ear.count(1)
    t.equal(await connections(), before)
    t.strictSame(node.ear.lines, [], 'its streams are not held')
    t.equal(node.broker.state().up, false)
    for (const words of mends) await redis.cli(...named(words))
    await up(node)
  })
}

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

t.test('a Redis that is heard and no longer hears: a subscription that it does not answer is given up, and made on another connection', async (t) => {
  const redis = await startRedis(t, { own: true })
  const line = new Line(redis.port)
  await line.listen()
  t.teardown(() => { line.close() })
  const node = startRedisNode(t, { url: `redis://127.0.0.1:${line.port}`, prefix: redis.prefix })
  await up(node)
  await node.broker.subscribe(['user:1'])
  line.loseQuestions()
  // The commands have a new connection at once. So the canary is published, and heard.
  await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal')
  await becomes(() => /the command connection closed/.test(node.said.join()), 'the command connection to be missed')
  await up(node)
  const isHeard = async (channel: string): Promise<boolean> => await node.broker.subscribe([channel]).then(() => true, () => false)
  t.equal(await isHeard('user:2'), false)
  await up(node)
  t.equal(await isHeard('user:3'), true)
  for (const user of [1, 3]) await redis.cli('PUBLISH', `${redis.prefix}:user:${user}`, '{"data":"live"}')
  await node.ear.count(2)
  t.match(node.said.join('\n'), /no new subscription was answered for \d seconds/)
})
