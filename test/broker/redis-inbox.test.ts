// What an inbox costs Redis is bounded, whatever stands in the logs: counted by Redis itself, with the same done to it in one run.
import t, { type Test } from 'tap'
import { MAX_MARKS, MAX_OLD_DISMISSED, TooManyMarks } from '../../src/broker/inbox.ts'
import { callsOf, startRedis } from '../fixtures/redis.ts'
import { enter, identityOf, idsOf, listOf, now, readerOf, refusal, request, send } from './contract.ts'
import { type RedisNode, startRedisNode, up } from './nodes.ts'

// Its own: Redis counts the commands of everybody.
const redis = await startRedis(t, { own: true })
const reader = readerOf('1')
let count = 0

interface Inbox extends RedisNode { readonly prefix: string }

async function start (t: Test): Promise<Inbox> {
  const prefix = `${redis.prefix}:${++count}`
  const node = startRedisNode(t, redis, {}, prefix)
  await up(node)
  await now(node, '1')
  return { ...node, prefix }
}

/** In batches, so that neither a test nor a line waits for one after the other. Returns the ids, oldest first. */
async function flood ({ broker }: Inbox, count: number, data: unknown, rest = {}): Promise<number[]> {
  const ids: number[] = []
  while (ids.length < count) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => broker.publish(request('user:1', data, rest))))
    ids.push(...answers.map(({ id }) => id!))
  }
  return ids.sort((one, other) => one - other)
}

/** What a look at the position takes of Redis, the least of some: its counters do not tell how many bytes a function reads. */
async function microsOf (node: Inbox): Promise<number> {
  let least = Infinity
  for (let i = 0; i < 5; i++) {
    await redis.cli('CONFIG', 'RESETSTAT')
    await redis.cli('FCALL', 'tidings_position', 1, node.prefix, '1', '', 0, -1)
    least = Math.min(least, Number(/cmdstat_fcall:calls=1,usec=(\d+)/.exec(String(await redis.cli('INFO', 'commandstats')))?.[1] ?? Infinity))
  }
  return least
}

t.test('counts, beside 600 large ones that are only replayed, do not read them', async (t) => {
  const node = await start(t)
  const [id] = await flood(node, 50, 1)
  await flood(node, 600, 'x'.repeat(60_000), { keep: 'replay' })
  const known = await microsOf(node)
  t.match(await node.broker.position(reader), { unseen: 50, unread: 50 })
  // Without the notes of what may not count, all is read as it stands, and the answer is the same.
  await redis.cli('DEL', `${node.prefix}:keys:user:1`)
  const read = await microsOf(node)
  t.match(await node.broker.position(reader), { unseen: 50, unread: 50 })
  t.ok(known * 3 < read, `${known} µs with the notes, ${read} without`)
  t.match(await node.broker.moveCursor(reader, 'read', id!), { unread: 49 })
})

t.test('counts, of 200 large ones that are unread, do not read them, and are right whatever becomes of the log', async (t) => {
  const node = await start(t)
  const ids = await flood(node, 200, 'x'.repeat(60_000))
  const known = await microsOf(node)
  t.match(await node.broker.position(reader), { unseen: 100, unread: 100 })
  t.match(await node.broker.moveCursor(reader, 'read', ids[149]!), { unseen: 50, unread: 50 })
  await node.broker.mark(reader, ids[199]!, 'dismissed')
  await node.broker.mark(reader, ids[198]!, 'read')
  await node.broker.mark(reader, ids[0]!, 'unread')
  await node.broker.retract({ to: 'user:1', what: { id: ids[197]! } })
  await flood(node, 50, 'x'.repeat(60_000), { keep: 'replay' })
  await flood(node, 50, 'x'.repeat(60_000), { key: 'one' })
  t.match(await node.broker.position(reader), { unseen: 48, unread: 49 })
  const page = await node.broker.list({ reader, limit: 20, unreadOnly: true })
  t.match(page, { notifications: { length: 20 }, unseen: 48, unread: 49 })
  t.ok(page.notifications.every(({ json }) => json.length > 60_000), 'a list has the data')
  await redis.cli('DEL', `${node.prefix}:keys:user:1`)
  t.match(await node.broker.position(reader), { unseen: 48, unread: 49 }, 'the same without the notes')
  const other = await start(t)
  await flood(other, 200, 'x'.repeat(60_000))
  await redis.cli('DEL', `${other.prefix}:keys:user:1`)
  const read = await microsOf(other)
  t.ok(known * 3 < read, `${known} µs with the notes, ${read} without`)
  await flood(other, 50, 'x'.repeat(60_000))
  await redis.cli('DEL', `${other.prefix}:log:user:1`)
  t.match(await other.broker.position(reader), { unseen: 0, unread: 0 }, 'notes of a log that is gone count nothing')
})

t.test('notes of what may not count, when it goes, go along', async (t) => {
  const node = await start(t)
  const notes = async (): Promise<number> => Number(await redis.cli('ZCARD', `${node.prefix}:keys:user:1`))
  for (let i = 0; i < 20; i++) await node.broker.publish(request('user:1', i, { keep: 'replay', key: 'price' }))
  t.equal(await notes(), 2, 'the key, and the note of the one that has it')
  const { id } = await node.broker.publish(request('user:1', 1, { ttlSeconds: 60 }))
  t.equal(await notes(), 4, 'one for counts, and its end')
  await node.broker.retract({ to: 'user:1', what: { id: id! } })
  await node.broker.retract({ to: 'user:1', what: { key: 'price' } })
  t.equal(await notes(), 0)
  await flood(node, 1150, 1, { keep: 'replay' })
  t.ok(await notes() < 1100, 'what was trimmed takes its note along')
  await flood(node, 1150, 1, { keep: 'replay', ttlSeconds: 3600 })
  const both = await notes()
  t.ok(both >= 2000 && both <= 2200, `${both}: and its end`)
  for (let i = 0; i < 20; i++) await node.broker.publish(request('user:1', i, { ttlSeconds: 60, key: 'price' }))
  t.ok(await notes() - both <= 5, 'as does what was replaced')
  t.ok(Number(await redis.cli('PTTL', `${node.prefix}:keys:user:1`)) > 0)
})

t.test('counts, above 400 large ones that are marked, do not read them', async (t) => {
  const node = await start(t)
  const ids = await flood(node, 400, 'x'.repeat(8000))
  // Nor is it the notes that help here.
  await redis.cli('DEL', `${node.prefix}:keys:user:1`)
  const plain = await microsOf(node)
  for (let i = 0; i < ids.length; i += 10) await Promise.all(ids.slice(i, i + 10).map((id, j) => node.broker.mark(reader, id, (['read', 'dismissed'] as const)[j % 2]!)))
  const marked = await microsOf(node)
  t.match(await node.broker.position(reader), { unseen: 0, unread: 0 })
  t.ok(marked < 2 * plain, `${marked} µs to pass over 400 that are marked, ${plain} to count 100 that are not`)
})

t.test('marks, of what was taken back, are let go of as they are met', async (t) => {
  const node = await start(t)
  const ids = await flood(node, MAX_MARKS, 1)
  await node.broker.moveCursor(reader, 'read', ids.at(-1)!)
  for (let i = 0; i < 200; i += 50) await Promise.all(ids.slice(i, i + 50).map((id) => node.broker.mark(reader, id, 'unread')))
  const fields = async (): Promise<number> => Number(await redis.cli('HLEN', `${node.prefix}:inbox:1`))
  t.equal(await fields(), 202)
  for (const id of ids.slice(0, 150)) await node.broker.retract({ to: 'user:1', what: { id } })
  t.match(await node.broker.position(reader), { unread: 50 })
  t.equal(await fields(), 52)
})

t.test('what was dismissed and passed, up to ten thousand, is remembered beside the marks, and what has left the logs makes room', async (t) => {
  const node = await start(t)
  const ids = await flood(node, MAX_MARKS + 50, 1)
  await node.broker.moveCursor(reader, 'read', ids.at(-1)!)
  const dismiss = async (from: number, to: number): Promise<void> => {
    for (let i = from; i < to; i += 20) await Promise.all(ids.slice(i, i + 20).map((id) => node.broker.mark(reader, id, 'dismissed')))
  }
  await dismiss(0, MAX_MARKS)
  /** As the library packs numbers: so many below an id. */
  const remember = async (below: number): Promise<void> => {
    const list = Buffer.alloc(5 + 9 * MAX_OLD_DISMISSED)
    list.writeUInt8(0xDD)
    list.writeUInt32BE(MAX_OLD_DISMISSED, 1)
    for (let i = 0; i < MAX_OLD_DISMISSED; i++) {
      list.writeUInt8(0xCF, 5 + 9 * i)
      list.writeBigUInt64BE(BigInt(below - MAX_OLD_DISMISSED + i), 6 + 9 * i)
    }
    await redis.cli('EVAL', 'return redis.call("HSET", KEYS[1], "old", (ARGV[1]:gsub("..", function (hex) return string.char(tonumber(hex, 16)) end)))', 1, `${node.prefix}:inbox:1`, list.toString('hex'))
  }
  await remember(ids[0]! + MAX_OLD_DISMISSED + 1)
  t.type(await refusal(node.broker.mark(reader, ids[MAX_MARKS]!, 'dismissed')), TooManyMarks, 'all of them may stand there still')
  await remember(ids[0]!)
  await dismiss(MAX_MARKS, MAX_MARKS + 20)
  t.ok(await redis.cli('HLEN', `${node.prefix}:inbox:1`) as number < 30, 'they have made room')
  t.same(idsOf((await listOf(node)).notifications), ids.slice(MAX_MARKS + 20).reverse())
})

t.test('what is asked of an inbox, or said of it, is one call each', async (t) => {
  const node = await start(t)
  const { broker } = node
  const ids = await flood(node, 100, 1)
  const acts: Record<string, (id: number) => Promise<unknown>> = {
    list: async () => await listOf(node),
    position: async () => await broker.position(reader),
    seen: async (id) => await broker.moveCursor(reader, 'seen', id),
    read: async (id) => await broker.moveCursor(reader, 'read', id),
    'one unread again': async (id) => await broker.mark(reader, id, 'unread'),
    'one read': async (id) => await broker.mark(reader, id, 'read'),
    'one dismissed': async (id) => await broker.mark(reader, id, 'dismissed'),
    retract: async (id) => await broker.retract({ to: 'user:1', what: { id } })
  }
  for (const [name, act] of Object.entries(acts)) {
    const [before, begunMs] = [await callsOf(redis, 'fcall'), performance.now()]
    // One after the other, since calls of one moment may be one.
    for (const id of ids) await act(id)
    const calls = await callsOf(redis, 'fcall') - before
    // A node calls by itself, too: a few times a second.
    t.ok(calls >= 100 && calls < 150 + 10 * (performance.now() - begunMs) / 1000, `${name}: ${calls} calls for 100`)
  }
})

t.test('a group, of however many members, costs one entry to publish to and one call to retract from', async (t) => {
  const node = await start(t)
  const members = Array.from({ length: 400 }, (_, i) => `m${i}`)
  await Promise.all(members.map(async (userId) => { await node.broker.join(userId, 'a') }))
  const keys = async (): Promise<string[]> => (await redis.cli('KEYS', `${node.prefix}:*`) as string[]).sort()
  const before = new Set(await keys())
  await redis.cli('CONFIG', 'RESETSTAT')
  const id = await send(node, 'group:a', 'x', { key: 'k' })
  t.equal(await callsOf(redis, 'xadd'), 1)
  t.same((await keys()).filter((key) => !before.has(key)).map((key) => key.slice(node.prefix.length)), [':keys:group:a', ':log:group:a'])
  for (const userId of members.slice(0, 3)) t.same(idsOf((await listOf(node, userId)).notifications), [id])
  const after = new Set(await keys())
  await redis.cli('CONFIG', 'RESETSTAT')
  t.equal(await node.broker.retract({ to: 'group:a', what: { key: 'k' } }), true)
  t.equal(await callsOf(redis, 'xdel'), 1)
  t.same((await keys()).filter((key) => !after.has(key)).map((key) => key.slice(node.prefix.length)), [':gone:group:a'])
  for (const userId of members.slice(0, 3)) t.same((await listOf(node, userId)).notifications, [])
})

t.test('who never opens the inbox, however much comes, has one field more in the hash of their groups, and nothing else', async (t) => {
  const node = await start(t)
  for (let i = 0; i < 3; i++) {
    await node.broker.visit(identityOf('quiet', 1000 + i))
    await enter(node.broker, 'quiet', { groups: ['a', 'b'], issuedAtSeconds: 1000 + i })
    for (const to of ['user:quiet', 'group:a', 'all']) await send(node, to, i, { key: `k${i}`, ttlSeconds: 60 })
  }
  t.same((await redis.cli('HKEYS', `${node.prefix}:groups:quiet`) as string[]).sort(), ['', 'a', 'b'])
  const theirs = (await redis.cli('KEYS', `${node.prefix}:*quiet*`) as string[]).map((key) => key.slice(node.prefix.length)).sort()
  t.same(theirs, [':groups:quiet', ':keys:user:quiet', ':log:user:quiet'])
})
