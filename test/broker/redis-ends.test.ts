// Every key in Redis has an end: what users leave behind goes, whatever they did, and how far away it is, is known.
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { findTicket, issueTicket, spend } from '../../src/http/ticket-store.ts'
import { startRedis, type Redis } from '../fixtures/redis.ts'
import { limits, type Node, readerOf, request, send } from './contract.ts'
import { becomes, startPartitionedNode, startRedisNode, up } from './nodes.ts'

const TOKEN_SECONDS = 2000
const HISTORY_SECONDS = 1000
const DAY = 86_400

/** Seconds after which each kind of key is gone at the latest; `never`: one for the whole installation. */
const ENDS: Readonly<Record<string, number | 'never'>> = {
  clock: 'never',
  born: 'never',
  config: 'never',
  log: HISTORY_SECONDS,
  trim: HISTORY_SECONDS,
  keys: HISTORY_SECONDS,
  gone: HISTORY_SECONDS,
  trail: HISTORY_SECONDS,
  reads: HISTORY_SECONDS,
  receipts: HISTORY_SECONDS,
  written: HISTORY_SECONDS,
  overlong: DAY,
  // A group that was left is remembered so long at least.
  groups: DAY,
  inbox: HISTORY_SECONDS,
  idem: DAY,
  'idem-fcall': DAY,
  revoked: 30 * DAY,
  session: DAY,
  kept: 90_000,
  hits: TOKEN_SECONDS + 30,
  // Where there are several partitions.
  partitions: 'never',
  outbox: HISTORY_SECONDS,
  sent: 'never',
  taken: 'never',
  copied: 'never',
  was: HISTORY_SECONDS,
  late: HISTORY_SECONDS,
  courier: 3,
  // A group that the routes joined somebody to; with nobody left it ends.
  members: 30 * DAY + HISTORY_SECONDS + 2 * DAY
}

/** All that a user can do, and what is done to them. */
async function live ({ broker }: Node, userId: string, second: number): Promise<void> {
  const user = { userId, issuedAtSeconds: second, expiresAtSeconds: second + TOKEN_SECONDS }
  const token = { ...user, groups: ['g', 'h'] }
  const reader = { userId, token }
  const { admittedAt } = await broker.visit({ ...user, sessionCursor: 'fresh', counters: [`connect:${userId}`, 'address:192.0.2.1'] })
  await broker.resume({ user, groups: token.groups, admittedAt, cursor: 'fresh', maxBytes: 1000 })
  const ticket = await issueTicket(broker, { ...token, scopes: [] })
  await spend(broker, (await findTicket(broker, ticket))!)
  await issueTicket(broker, { ...token, scopes: [] })
  await broker.takeSession(userId, 'tag', 'fresh', admittedAt)
  await broker.hit(userId, `publish:${userId}`, 60_000)
  const { id } = await broker.publish(request([`user:${userId}`, 'group:g', 'all'], 1, { key: 'k', ttlSeconds: 60, idempotencyKey: `once ${userId}` }))
  await broker.publish(request(`user:${userId}`, 2, { key: 'k' }))
  await broker.publish(request('group:g', 3, { keep: 'replay' }))
  await broker.retract({ to: 'group:g', what: { id: id! } })
  await broker.mark(reader, (await broker.publish(request('all', 4))).id!, 'dismissed').catch(() => {})
  await broker.moveCursor(reader, 'read', admittedAt)
  broker.trail.note(userId, 'end node 1 2 3')
  broker.trail.note(userId, 'read node 1 2 3')
  broker.trail.wrote('node', broker.channelOf(userId, 'all'), id!, { atMs: 0, streams: 1 })
  await broker.trail.flush()
  await broker.list({ reader: readerOf(userId, { groups: ['h'], issuedAtSeconds: second + 1 }), limit: 10, unreadOnly: false })
  await broker.leave(userId, 'h')
  await broker.join(userId, 'by the routes')
  await broker.leave(userId, 'by the routes')
  await broker.logout(userId)
}

async function keysOf (redis: Redis): Promise<Array<{ key: string, kind: string, seconds: number }>> {
  const keys = await redis.cli('KEYS', '*') as string[]
  return await Promise.all(keys.map(async (key) => ({
    key,
    kind: /^[^:]+(?::\{\d+\})?:([^:]+)/.exec(key)?.[1] ?? key,
    seconds: Number(await redis.cli('TTL', key))
  })))
}

/** What docs/questions.md deletes of a user and what it keeps, and counters, which end within the minute. */
function assertDeletable (t: Test, keys: Array<{ key: string, kind: string }>, user: string): void {
  const page = readFileSync(new URL('../../docs/questions.md', import.meta.url), 'utf8')
  const [, ofAddress = '', ofUser = ''] = /UNLINK tidings:\{([\w,]+)\}:user:42 tidings:\{([\w,]+)\}:42\n/.exec(page) ?? []
  const known = new Set([...ofAddress.split(',').map((kind) => `${kind}:user:${user}`), ...[...ofUser.split(','), 'groups', 'revoked'].map((kind) => `${kind}:${user}`)])
  const found = keys.filter(({ key, kind }) => kind !== 'hits' && new RegExp(`:${user}$`).test(key)).map(({ key }) => key.replace(/^[^:]+(?::\{\d+\})?:/, ''))
  t.ok(found.length >= 8, found.join())
  t.same(found.filter((key) => !known.has(key)), [], 'docs/questions.md names every key of a user')
}

async function assertEnds (t: Test, redis: Redis): Promise<void> {
  for (const { key, kind, seconds } of await keysOf(redis)) {
    const most = ENDS[kind]
    if (most === 'never') t.equal(seconds, -1, key)
    // -2: it has just ended.
    else t.ok(most !== undefined && seconds !== -1 && seconds <= most + 2, `${key}: ${seconds} s, at most ${most}`)
  }
}

for (const partitions of [undefined, 4]) {
  const name = partitions === undefined ? 'one Redis' : `${partitions} partitions`
  t.test(`keys, on ${name}: all that users leave behind has an end, and none but what they all share stays`, async (t) => {
    const redis = await startRedis(t, { own: true })
    const options = { historySeconds: HISTORY_SECONDS, historyLength: 1, groupHistoryLength: 1 }
    const node = partitions === undefined ? startRedisNode(t, redis, options) : startPartitionedNode(t, redis, partitions, options)
    await up(node)
    const second = Math.floor(Date.now() / 1000)
    for (const user of ['1', '2', '3', '4', '5']) await live(node, user, second)
    // Enough for a log to be trimmed, by a service, too.
    for (let i = 0; i < 120; i++) await node.broker.publish(request('all', i))
    await assertEnds(t, redis)
    assertDeletable(t, await keysOf(redis), '5') // no partition's number
    const kinds = new Set((await keysOf(redis)).map(({ kind }) => kind))
    for (const kind of ['log', 'trim', 'keys', 'gone', 'trail', 'reads', 'receipts', 'written', 'groups', 'inbox', 'idem', 'revoked', 'session', 'kept', 'hits']) t.ok(kinds.has(kind), kind)
  })
}

for (const partitions of [undefined, 4]) {
  t.test(`the answer to an Idempotency-Key, of a publish to 1,000 long addresses (partitions: ${partitions ?? 1}), is kept in 12 KB`, async (t) => {
    const redis = await startRedis(t, { own: true })
    const node = partitions === undefined ? startRedisNode(t, redis) : startPartitionedNode(t, redis, partitions)
    await up(node)
    const to = Array.from({ length: 1000 }, (_, i) => `user:${'😀'.repeat(120)}${i}` as const)
    await node.broker.publish(request(to, 1, { idempotencyKey: 'k' }))
    const kept = (await keysOf(redis)).filter(({ kind }) => kind === 'idem')
    t.equal(kept.length, 1)
    const bytes = Number(await redis.cli('STRLEN', kept[0]!.key))
    t.ok(bytes > 1000 && bytes < 12_288, `${bytes} bytes`)
  })
}

t.test('a counter, when the time was set back by an hour, lasts its window and no hour', async (t) => {
  const redis = await startRedis(t)
  const node = startRedisNode(t, redis, limits)
  await up(node)
  const { broker } = node
  await broker.hit('1', 'k', 60_000)
  // Redis keeps the end of a key as a date.
  await redis.cli('PEXPIRE', `${redis.prefix}:hits:k`, 3_600_000)
  t.match(await broker.hit('1', 'k', 60_000), { count: 2, restMs: 60_000 })
  await redis.cli('PEXPIRE', `${redis.prefix}:hits:k`, 3_600_000)
  await broker.visit({ userId: '1', issuedAtSeconds: 1, expiresAtSeconds: 2, counters: ['k'] })
  t.ok(Number(await redis.cli('PTTL', `${redis.prefix}:hits:k`)) <= 60_000)
  await redis.cli('PERSIST', `${redis.prefix}:hits:k`)
  t.match(await broker.hit('1', 'k', 60_000), { restMs: 60_000 }, 'and one that lost its end has one again')
})

t.test('the record of a user, when the time was set back by half an hour, lasts by the ids, which were not', async (t) => {
  const redis = await startRedis(t)
  const node = startRedisNode(t, redis, { historySeconds: 60 })
  await up(node)
  const second = Math.floor(Date.now() / 1000)
  await redis.cli('SET', `${redis.prefix}:clock`, (second + 1800) * 1_000_000)
  const user = { userId: '1', issuedAtSeconds: second, expiresAtSeconds: second + 10 }
  await node.broker.resume({ user, groups: ['a'], admittedAt: Number.MAX_SAFE_INTEGER, cursor: 'fresh', maxBytes: 1 })
  t.ok(Number(await redis.cli('EXPIRETIME', `${redis.prefix}:groups:1`)) > second + 1800 + 60)
})

t.test('what is known of removed notifications lasts a history after the newest of them, also when one is found later that expired before', async (t) => {
  const redis = await startRedis(t)
  const node = startRedisNode(t, redis, { historySeconds: HISTORY_SECONDS })
  await up(node)
  const { broker } = node
  const { position } = await broker.position({ userId: '1' })
  await send(node, 'user:1', 'short', { ttlSeconds: 1 })
  const replaced = await send(node, 'user:1', 'old', { key: 'k' })
  await redis.cli('INCRBY', `${redis.prefix}:clock`, 500_000_000)
  const last = await send(node, 'user:1', 'new', { key: 'k' })
  const user = { userId: '1', issuedAtSeconds: 1e10, expiresAtSeconds: 1e10 }
  await broker.resume({ user, groups: undefined, admittedAt: last, cursor: position, maxBytes: 1000 })
  t.equal(await redis.cli('ZCARD', `${redis.prefix}:gone:user:1`), 2, 'the expired one was found')
  t.match(await broker.trail.evidence('1', replaced), { places: [{ state: 'replaced' }] })
  t.ok(Number(await redis.cli('EXPIRETIME', `${redis.prefix}:gone:user:1`)) >= Math.floor(last / 1e6) + HISTORY_SECONDS)
})

t.test('receipts, of nodes that note more than are kept, push the oldest out: 64 MB at most', async (t) => {
  const redis = await startRedis(t)
  const node = startRedisNode(t, redis, limits)
  await up(node)
  const batches = (first: number): Array<string | number> => Array.from({ length: 250 }, (_, i) => [first + i, ';0 1 1']).flat()
  for (let i = 0; i < 80; i++) await redis.cli('FCALL', 'tidings_record', 1, redis.prefix, 'busy', '', 250, ...batches(1 + 250 * i))
  const kept = Number(await redis.cli('XLEN', `${redis.prefix}:receipts`))
  t.ok(kept >= 16_384 && kept < 16_384 + 250, `${kept} of 20,000 batches, each of 4 KB at most`)
})

t.test('what partitions owe each other, when the time of a courier that died was set back, is copied by another', async (t) => {
  const redis = await startRedis(t)
  const node = startPartitionedNode(t, redis, 4)
  await up(node)
  const home = `${redis.prefix}:{${node.broker.homeOf('all')}}`
  await redis.cli('SET', `${home}:courier`, 'somebody who died', 'PX', 3_600_000)
  await redis.cli('FCALL', 'tidings_publish', 1, home, 'all', 'message', '1')
  await becomes(async () => await redis.cli('EXISTS', `${home}:outbox`) === 0, 'the outbox to be empty')
})

t.test('what partitions owe each other, from before the time was set back by ten minutes, is copied within seconds', async (t) => {
  const redis = await startRedis(t)
  const node = startPartitionedNode(t, redis, 4)
  await up(node)
  const home = `${redis.prefix}:{${node.broker.homeOf('all')}}`
  await redis.cli('INCRBY', `${home}:clock`, 600_000_000)
  // A node committed it and died, so nothing is copied until another one finds it left.
  await redis.cli('FCALL', 'tidings_commit', 1, home, 1, '', '', 0, 'message', '1', 'inbox', '', '', '', 1, 'all', 1, 0, 0)
  t.equal(await redis.cli('EXISTS', `${home}:outbox`), 1)
  await becomes(async () => await redis.cli('EXISTS', `${home}:outbox`) === 0, 'the outbox to be empty', 8000)
})

t.test('notes and receipts, more than wait in a node until they go out, are lost: 20,000 at most', async (t) => {
  const node = startRedisNode(t, await startRedis(t))
  await up(node)
  const { trail } = node.broker
  const [kept, lost] = [await send(node, 'user:1'), await send(node, 'user:1')] as [number, number]
  const receipt = { atMs: Math.round(kept / 1000) + 5, streams: 1 }
  // In one turn, so that none goes out meanwhile.
  for (let i = 1; i < 20_000; i++) trail.note('1', `open ${i}`)
  trail.wrote('n', 'user:1', kept, receipt)
  trail.wrote('n', 'user:1', lost, receipt)
  trail.note('1', 'open too many')
  await trail.flush()
  t.match(await trail.evidence('1', kept), { receipts: [{ node: 'n', streams: 1 }], trail: { 0: 'open 19999' } })
  const other = await trail.evidence('1', lost)
  t.same([other.receipts, [...other.written]], [[], [['n', lost]]], 'that it was written is known')
})
