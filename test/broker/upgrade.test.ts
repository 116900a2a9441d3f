// From 0.1.0 (library version 5) on: its data is read right, and its nodes go on beside new ones on the same Redis.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { entriesOf, identityOf, idsOf, listOf, now, readPages, refusal, request, send } from './contract.ts'
import type { Heard } from './ear.ts'
import { startRedisNode, up } from './nodes.ts'
import { Revoked } from '../../src/broker/broker.ts'

const old = readFileSync(new URL('../fixtures/functions-v5.lua', import.meta.url), 'utf8')

t.test('data of 0.1.0, read by the new library: logs, groups, answers, logouts, sessions', async (t) => {
  const redis = await startRedis(t, { own: true })
  const { prefix } = redis
  const fcall = async (name: string, ...args: Array<string | number>): Promise<any> => await redis.cli('FCALL', name, 1, prefix, ...args)
  await redis.cli('FUNCTION', 'LOAD', old)
  await fcall('tidings_setup', 100, 86_400, 65_536, 'run', 0, 1)
  await fcall('tidings_join', 'ann', 'room')
  await fcall('tidings_join', 'ann', 'gone')
  await fcall('tidings_leave', 'ann', 'gone')
  const [start] = await fcall('tidings_publish', 'user:ann', 'message', '0')
  const ids: number[] = []
  for (let i = 0; i < 5; i++) ids.push(Number((await fcall('tidings_publish', 'user:ann', 'message', `{"i":\n${i}}`))[0]))
  for (let i = 0; i < 400; i++) await fcall('tidings_publish', 'group:room', 'message', '1')
  const [[, [, first]]] = [await fcall('tidings_publish_requests', 'key', 'ann', 1, 'message', '"once"', 1, 'user:bob').then(([one]: any) => [one[0], [one[1], one[2]]])]
  await fcall('tidings_logout', 'eve')
  const [, , fence] = await fcall('tidings_claim', 'ann', 'tag', '')

  const node = startRedisNode(t, redis, { historyLength: 100, groupHistoryLength: 100 })
  await up(node)
  const { broker } = node
  t.same([...(await broker.groups('ann')).keys()], ['room'])
  const [page] = await readPages(node, { userId: 'ann', cursor: Number(start), maxBytes: 1e6 })
  t.equal(page!.gap, true, 'the group\'s log was trimmed, by the old library')
  t.match(await readPages(node, { userId: 'bob', cursor: Number(start) }), [{ gap: false, entries: { length: 1 } }], 'and this one was not')
  t.same(entriesOf([page!]).filter(({ id }) => ids.includes(id)).map(({ json }) => json), ids.map((_, i) => `{"i": ${i}}`), 'on one line')
  const mine = await listOf(node, 'ann')
  t.equal(mine.complete, false)
  t.same(idsOf(mine.notifications).length, 100)
  t.match(await broker.publish(request('user:bob', 'again', { idempotencyKey: 'key' })), { replayed: true, id: Number(first), notifications: [{ to: 'user:bob', receivers: 0 }] })
  t.equal((await broker.visit(identityOf('eve', 1000))).verdict, 'revoked')
  t.equal((await broker.visit({ ...identityOf('ann', 1000), sessionCursor: Number(fence) - 1 })).verdict, 'replaced')
  t.match(await broker.takeSession('ann', 'other', Number(fence) + 1, Number(fence) + 1), { fence: Number(fence) })
  // A claim names what the old library has joined without a word of why; from now on it is the claim's.
  const claim = async (groups: string[], iat: number): Promise<string[]> =>
    [...(await broker.resume({ user: identityOf('ann', iat), groups, admittedAt: Number.MAX_SAFE_INTEGER, cursor: 'fresh', maxBytes: 1 })).membership.keys()]
  t.same(await claim(['room'], 2e9), ['room'])
  t.same(await claim([], 2e9 + 1), [])
})

t.test('nodes of 0.1.0, beside new ones, go on with their calls', async (t) => {
  const redis = await startRedis(t, { own: true })
  const { prefix } = redis
  const node = startRedisNode(t, redis)
  await up(node)
  await node.broker.subscribe(['user:ann', 'all'])
  const fcall = async (name: string, ...args: Array<string | number>): Promise<any> => await redis.cli('FCALL', name, 1, prefix, ...args)
  const before = await send(node, 'user:zoe')
  const isUnnoted = async (id: number): Promise<boolean> => (await node.broker.trail.evidence('zoe', id)).isUnnoted
  t.notOk(await isUnnoted(before), 'all nodes keep receipts')
  const [version, born] = await fcall('tidings_setup', 1000, 86_400, 65_536, 'run', 0, 1)
  t.ok(version > 5, 'an old node leaves the library alone')
  t.match(born, /^\d{16}$/)
  t.match(await fcall('tidings_visit', 60_000, 'ann', 2e9, '', 1, 'connect:ann'), [['admitted', 1]])
  const cursor = await now(node, 'ann')
  const [[replayed, to, id, receivers]] = await fcall('tidings_publish_requests', 'k', 'ann', 2e9, 'message', '{"n":1.10}', 2, 'user:ann', 'all')
  t.match([replayed, to, receivers], [0, 'user:ann', 1])
  await node.ear.id(Number(id))
  t.match(await fcall('tidings_publish_requests', 'k', 'ann', 2e9, 'message', '2', 1, 'all'), [[1, 'user:ann', id, 1, 'all', id, 1]])
  const [flat, [position, gap, more, unread, membership, places]] = await fcall('tidings_resume', 131_072, 1_048_576, 'ann', 2e9, cursor, 1, 'room')
  t.same([flat.slice(1), gap, more, unread, membership[0], places], [['message', '{"n":1.10}'], 0, 0, 1, 'room', [0]])
  t.ok(Number(position) > Number(id))
  // Of an empty claim an old node does not say whether there is one: it takes nothing.
  t.equal((await fcall('tidings_resume', 131_072, 1_048_576, 'ann', 2e9 + 5, '', 0))[1][4][0], 'room')
  t.same((await fcall('tidings_claim', 'ann', 't', ''))[0], 1)
  t.same(await fcall('tidings_verify', 'ann', 'other', 1), ['other'])
  t.match(await fcall('tidings_hit', 'x', 1000, 2), [2, Number])
  t.match(await fcall('tidings_logout', 'ann'), /^\d{16}$/)
  t.type(await refusal(node.broker.position({ userId: 'ann', token: identityOf('ann', 1e9) })), Revoked)
  await node.ear.until(() => node.ear.controls.some(({ control }) => control === 'logout') || undefined, 'the logout')
  const cli = await redis.cli('XRANGE', `${prefix}:log:all`, '-', '+') as any[]
  t.equal(cli.length, 1)
  t.ok(await send(node, 'all') > Number(id))
  // They call it each second, so it is known that they are there: what they write, and whom they filled, nobody notes.
  await fcall('tidings_setup', 1000, 86_400, 65_536, 'run', 0, 0)
  for (const one of [before, Number(id), await send(node, 'user:zoe')]) t.ok(await isUnnoted(one))
})

t.test('what an older library sent, while a service goes on publishing, is filled in before anything of the newer one is heard', async (t) => {
  const redis = await startRedis(t, { own: true })
  const node = startRedisNode(t, redis)
  await up(node)
  await node.broker.subscribe(['user:1'])
  const { ear } = node
  let isOver = false
  const publishing = (async () => {
    while (!isOver) await redis.cli('FCALL', 'tidings_publish', 1, redis.prefix, 'user:1', 'message', '1')
  })()
  await ear.until(() => ear.notifications[0], 'the first')
  await redis.cli('FUNCTION', 'LOAD', 'REPLACE', old)
  const dropped = await ear.until(() => ear.drops[0], 'one that was dropped')
  const after = (): Heard[] => ear.heard.slice(ear.heard.indexOf(dropped))
  await ear.until(() => after().find((one) => 'to' in one), 'one of the newer library')
  isOver = true
  await publishing
  t.match(after().find((one) => !('dropped' in one)), { line: 'interrupted' })
})
