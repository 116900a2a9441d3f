// What goes wrong with a real Redis, and that the broker on it comes back: a server of this file's own, to be flushed, paused and stopped.
import t, { type Test } from 'tap'
import { MAX_GROUPS, TooManyGroups, Uncertain, Unavailable } from '../../src/broker/broker.ts'
import { library, LIBRARY_VERSION } from '../../src/broker/redis/library.ts'
import { startRedis } from '../fixtures/redis.ts'
import { entriesOf, isGrowing, now, readPages, refusal, request, send } from './contract.ts'
import { becomes, type RedisNode, startRedisNode, up } from './nodes.ts'

const ofVersion = (version: number): string => library().replace(/local VERSION = \d+/, `local VERSION = ${version}`)
const ownVersion = LIBRARY_VERSION

const redis = await startRedis(t, { own: true })
let count = 0

async function start (t: Test, options = {}): Promise<RedisNode & { prefix: string }> {
  const prefix = `${redis.prefix}:${++count}`
  const node = startRedisNode(t, redis, options, prefix)
  await up(node)
  return { ...node, prefix }
}

const lines = ({ ear }: RedisNode, ...wanted: string[]): Promise<unknown> =>
  ear.until(() => ear.lines.length >= wanted.length ? true : undefined, wanted.join(', '))

t.test('functions, of an older version, are replaced, and of a newer one kept', async (t) => {
  const version = (): Promise<unknown> => redis.cli('FCALL_RO', 'tidings_version', 0)
  await redis.cli('FUNCTION', 'LOAD', 'REPLACE', ofVersion(ownVersion - 1))
  t.equal(await version(), ownVersion - 1)
  await start(t)
  t.equal(await version(), ownVersion)
  await redis.cli('FUNCTION', 'LOAD', 'REPLACE', ofVersion(ownVersion + 1))
  const node = await start(t)
  t.equal(await version(), ownVersion + 1)
  await send(node, 'all')
  t.equal(await version(), ownVersion + 1, 'also after it was used')
  await redis.cli('FUNCTION', 'LOAD', 'REPLACE', library())
})

t.test('functions, of an older version, loaded by a node of it after a flush, are replaced while nodes run', async (t) => {
  await start(t)
  await redis.cli('FUNCTION', 'LOAD', 'REPLACE', ofVersion(ownVersion - 1))
  await t.resolves(becomes(async () => await redis.cli('FCALL_RO', 'tidings_version', 0) === ownVersion, 'the newer library', 5000))
})

t.test('data, of which a crash has lost the newest, is told to be missing to everyone from before, and to nobody after', async (t) => {
  const crashing = await startRedis(t, { own: true, args: ['--dbfilename', 'kept.rdb'] })
  const [node, other] = [startRedisNode(t, crashing, {}, crashing.prefix), startRedisNode(t, crashing, {}, crashing.prefix)]
  await Promise.all([up(node), up(other)])
  await send(node, 'user:1')
  const cursor = await now(other)
  await crashing.cli('SAVE')
  const crash = async (): Promise<void> => {
    await crashing.kill()
    await becomes(() => !node.broker.state().up && !other.broker.state().up, 'both to notice')
    await crashing.start()
    await Promise.all([up(node), up(other)])
  }
  await crash()
  t.notOk((await readPages(node, { cursor }))[0]!.gap, 'nothing was lost that time')
  const lost = await send(node, 'user:1')
  await crash()
  t.ok((await readPages(other, { cursor }))[0]!.gap, 'also where the node that knew of it is another one')
  t.ok((await readPages(node, { cursor }))[0]!.gap)
  const after = await send(node, 'user:1')
  t.ok(after > lost)
  t.same(entriesOf(await readPages(node, { cursor: after - 1 })).length, 1)
  await t.resolves(becomes(async () => {
    const cursor = await now(node)
    return (await readPages(node, { cursor }))[0]!.gap === false
  }, 'whoever comes later to be told of nothing', 10_000))
})

t.test('data, of which a crash has lost what a node had only heard, is told to be missing', async (t) => {
  const crashing = await startRedis(t, { own: true, args: ['--dbfilename', 'heard.rdb'] })
  const node = startRedisNode(t, crashing, {}, crashing.prefix)
  await up(node)
  await node.broker.subscribe(['user:1'])
  const cursor = await now(node)
  await crashing.cli('SAVE')
  await crashing.cli('FCALL', 'tidings_publish', 1, crashing.prefix, 'user:1', 'message', '{}')
  await node.ear.count(1)
  await crashing.kill()
  await becomes(() => !node.broker.state().up, 'the node to notice')
  await crashing.start()
  await up(node)
  t.ok((await readPages(node, { cursor }))[0]!.gap)
})

t.test('data, lost at an old master that a node had gone on writing to, is told to those who were at the new one before, too', async (t) => {
  const node = await start(t)
  const runId = /run_id:(\w+)/.exec(String(await redis.cli('INFO', 'server')))![1]!
  const answeredElsewhere = await now(node) + 1
  await redis.cli('FCALL', 'tidings_configure', 1, node.prefix, 0, 1000, 1000, 86_400, 65_536, runId, answeredElsewhere, 0, 0, 0)
  const newer = await send(node, 'user:1')
  t.ok(newer > answeredElsewhere)
  t.equal((await readPages(node, { cursor: newer }))[0]!.gap, true, 'a position behind the beginning of the history, by nobody who was told')
})

t.test('functions, flushed while nodes run, are there again at the next call', async (t) => {
  const node = await start(t)
  const { broker } = node
  await broker.subscribe(['all'])
  await broker.replaceGroups('1', Array.from({ length: MAX_GROUPS }, (_, i) => `g${i}`))
  const first = await send(node, 'all')
  for (const call of [
    () => send(node, 'all'),
    () => broker.groups('1'),
    () => now(node),
    () => Promise.all(Array.from({ length: 10 }, () => send(node, 'all')))
  ]) {
    await redis.cli('FUNCTION', 'FLUSH', 'SYNC')
    t.ok(await call())
  }
  await redis.cli('FUNCTION', 'FLUSH', 'SYNC')
  t.type(await refusal(broker.join('1', 'one more')), TooManyGroups, 'and a refusal is still the right one')
  t.equal(entriesOf(await readPages(node, { cursor: first - 1 })).length, 12, 'each call was made once')
  await node.ear.count(12)
  t.same(node.ear.lines, [], 'and nobody was cut off')
  await becomes(() => node.said.filter((line) => line.includes('loaded anew')).length === 5, 'the log to say it each time')
})

t.test('data, flushed while nodes run, is lost and said to be, and ids go on growing', async (t) => {
  const node = await start(t, { maxDataBytes: 1000 })
  await node.broker.subscribe(['user:1'])
  await node.broker.join('1', 'a')
  const before = [await now(node), await send(node, 'user:1'), await send(node, 'user:1')]
  const fcall = (): Promise<unknown> => redis.cli('FCALL', 'tidings_publish', 1, node.prefix, 'user:1', 'message', JSON.stringify('x'.repeat(2000)))
  await t.rejects(fcall(), /TIDINGS_DATA_TOO_LARGE/)
  await redis.cli('FLUSHALL')
  const after = [await send(node, 'user:1'), await send(node, 'user:1'), await now(node)]
  t.ok(isGrowing([...before, ...after]))
  for (const cursor of before) t.match(await readPages(node, { cursor }), [{ gap: true, entries: { length: 2 }, inbox: { unread: 2 } }])
  t.match(await readPages(node, { cursor: after[0]! }), [{ gap: false, entries: { length: 1 } }], 'what is new is whole')
  t.same([...await node.broker.groups('1')], [], 'groups are lost with the rest')
  await node.ear.count(4)
  t.same(node.ear.lines, [])
  await t.resolves(becomes(() => fcall().then(() => false, () => true), 'the limits of the nodes', 5000), 'the limits of the nodes come back')
})

t.test('Redis, not there at the start, is waited for, said to be away, and used when it comes', async (t) => {
  const late = await startRedis(t, { started: false })
  const node = startRedisNode(t, late)
  const { broker } = node
  await becomes(() => node.said.length > 0, 'a word about Redis')
  t.match(node.said, [/^Redis: .*; trying again until it answers$/])
  t.match(broker.state(), { up: false, detail: String })
  const visitor = { userId: '1', issuedAtSeconds: 0, expiresAtSeconds: 0 }
  const calls = [broker.publish(request('all')), broker.subscribe(['all']), broker.groups('1'), broker.join('1', 'a'), now(node), broker.visit(visitor), broker.presence('1')]
  for (const error of await Promise.all(calls.map(refusal))) t.type(error, Unavailable)
  broker.unsubscribe(['all'])
  await late.start()
  await up(node)
  await broker.subscribe(['all'])
  const id = await send(node, 'all')
  await node.ear.id(id)
  t.same(node.ear.lines, [], 'nothing was interrupted: nothing had begun')
  t.match(node.said.at(-1), /^Redis: connected/)
  t.equal(node.said.filter((text) => /trying again/.test(text)).length, 1, 'said once, not at every attempt')
})

t.test('Redis, never there, does not keep a broker from closing', async (t) => {
  const never = await startRedis(t, { started: false })
  const { broker } = startRedisNode(t, never)
  await broker.close()
  t.equal(broker.state().up, false)
  t.type(await refusal(broker.publish(request('all'))), Unavailable)
})

t.test('Redis, that does not answer in time, leaves a publish uncertain, and the same key makes it exactly once', async (t) => {
  const node = await start(t)
  const { broker, ear } = node
  await broker.subscribe(['user:1'])
  const cursor = await now(node)
  await redis.cli('CLIENT', 'PAUSE', 60_000, 'WRITE')
  const publish = (): ReturnType<typeof broker.publish> => broker.publish(request('user:1', 'once', { idempotencyKey: 'k' }))
  t.type(await refusal(publish()), Uncertain)
  await redis.cli('CLIENT', 'UNPAUSE')
  await becomes(() => publish().then(() => true, () => false), 'Redis to answer again')
  await up(node)
  t.equal((await publish()).replayed, true)
  t.same(entriesOf(await readPages(node, { cursor })).map(({ json }) => json), ['"once"'])
  const fence = await send(node, 'user:1', 'fence')
  await becomes(() => ear.notifications.some(({ id }) => id === fence), 'the fence')
  t.ok(ear.notifications.filter(({ json }) => json === '"once"').length <= 1)
})

t.test('Redis, without memory, refuses a publish and nothing is stored', async (t) => {
  const node = await start(t)
  const cursor = await now(node)
  await redis.cli('CONFIG', 'SET', 'maxmemory', 1)
  t.type(await refusal(node.broker.publish(request(['user:1', 'all']))), Unavailable)
  await redis.cli('CONFIG', 'SET', 'maxmemory', 0)
  t.same(entriesOf(await readPages(node, { cursor })), [])
})

t.test('subscriber, its connection killed, says so and, restored, hears on all channels again', async (t) => {
  const [a, b] = [await start(t), startRedisNode(t, redis, {}, `${redis.prefix}:${count}`)]
  await up(b)
  const { broker, ear } = a
  const channels = Array.from({ length: 1200 }, (_, i) => `user:${i}`)
  await broker.subscribe([...channels, 'all', 'group:gone'])
  const cursor = await send(b, 'all', 'before')
  await ear.id(cursor)
  await redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await lines(a, 'interrupted')
  t.equal(broker.state().up, false)
  t.type(await refusal(broker.subscribe(['user:new'])), Unavailable)
  broker.unsubscribe(['group:gone'])
  const missed = await send(b, 'all', 'while deaf')
  await lines(a, 'interrupted', 'restored')
  await up(a)
  const answer = await b.broker.publish(request([...channels.slice(0, 998), 'group:gone', 'all']))
  t.same(answer.notifications.filter(({ receivers }) => receivers !== 1).map(({ to }) => to), ['group:gone'])
  await ear.id(answer.id!)
  t.same(ear.lines, ['interrupted', 'restored'])
  t.same(new Set(ear.notifications.map(({ id }) => id)), new Set([cursor, answer.id]))
  t.equal(entriesOf(await readPages(a, { cursor }))[0]!.id, missed, 'what was missed stands in the log')
  await broker.subscribe(['user:new'])
  await ear.id(await send(b, 'user:new'))
})

t.test('command connection, killed, is built anew and the streams notice nothing', async (t) => {
  const node = await start(t)
  await node.broker.subscribe(['all'])
  await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal')
  await becomes(async () => {
    const error = await refusal(send(node, 'all'))
    t.ok(error === undefined || error instanceof Unavailable || error instanceof Uncertain)
    return error === undefined
  }, 'a publish')
  await node.ear.count(1)
  t.same(node.ear.lines, [])
})

t.test('Redis, stopped and started empty, is set up again, and old cursors are told of a gap', async (t) => {
  const node = await start(t)
  const { broker, ear } = node
  await broker.subscribe(['user:1', 'all'])
  const before = [await now(node), await send(node, 'user:1')]
  await ear.count(1)
  await redis.stop()
  await lines(node, 'interrupted')
  t.type(await refusal(broker.publish(request('user:1'))), Unavailable)
  await redis.start()
  await lines(node, 'interrupted', 'restored')
  await up(node)
  const after = [await send(node, 'user:1'), await send(node, 'all')]
  t.ok(isGrowing([...before, ...after]))
  await ear.count(3)
  t.match(await readPages(node, { cursor: before[1]! }), [{ gap: true, entries: { length: 2 } }])
})

t.test('Redis, its clock two hours ahead for a while and then its data lost, gives ids above all that were given', async (t) => {
  const node = await start(t)
  const ahead = String(await now(node) + 7_200_000_000)
  await redis.cli('HSET', `${node.prefix}:config`, 'clock_seen', ahead)
  await redis.cli('SET', `${node.prefix}:clock`, ahead)
  const before = await send(node, 'user:1')
  t.ok(before > Number(ahead))
  await redis.stop()
  await lines(node, 'interrupted')
  await redis.start()
  await up(node)
  const after = [await send(node, 'user:1'), await send(node, 'user:1')]
  t.ok(isGrowing([before, ...after]))
  t.match(await readPages(node, { cursor: before }), [{ gap: true }])
  t.match(await readPages(node, { cursor: after[0]! }), [{ gap: false, entries: { length: 1 } }])
})

t.test('Redis, evicting for a moment and told not to since, is found out: old cursors are told of a gap, and users whose groups went', async (t) => {
  const evicting = await startRedis(t, { own: true, args: ['--maxmemory-policy', 'volatile-lru'] })
  const node = startRedisNode(t, evicting, {}, evicting.prefix)
  await up(node)
  const cursor = await now(node)
  await Promise.all(Array.from({ length: 500 }, (_, i) => send(node, `user:${i}`, 'x'.repeat(1000))))
  const used = Number(/used_memory:(\d+)/.exec(String(await evicting.cli('INFO', 'memory')))![1])
  await evicting.cli('CONFIG', 'SET', 'maxmemory', used - 200_000)
  await evicting.cli('CONFIG', 'SET', 'maxmemory', 0)
  await evicting.cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
  t.match(String(await evicting.cli('INFO', 'stats')), /evicted_keys:[1-9]/)
  await t.resolves(becomes(async () => (await readPages(node, { cursor }))[0]!.gap, 'the eviction to be found out', 5000))
  const after = await now(node, '1')
  t.notOk((await readPages(node, { cursor: after }))[0]!.gap)
  // What was evicted is noticed later than it went.
  await evicting.cli('DEL', `${evicting.prefix}:groups:1`)
  t.ok((await readPages(node, { cursor: after }))[0]!.gap, 'this user has been here, and is not known')
})
