// Many streams that open in the same moment: few calls, each log read once for all of them, and nobody suffers for another.
import t from 'tap'
import { type HistoryPage, MAX_GROUPS, Revoked, Uncertain } from '../../src/broker/broker.ts'
import type { Address } from '../../src/notification.ts'
import { callsOf, startRedis } from '../fixtures/redis.ts'
import { enter, entriesOf, noClaim, now, readPages, refusal, listOf, request, send, visitorOf } from './contract.ts'
import { becomes, type RedisNode, startRedisNode, up } from './nodes.ts'

const redis = await startRedis(t, { own: true })
let count = 0

async function start (t: Parameters<typeof startRedisNode>[0]): Promise<RedisNode> {
  const node = startRedisNode(t, redis, {}, `${redis.prefix}:${++count}`)
  await up(node)
  return node
}

const users = (count: number): string[] => Array.from({ length: count }, (_, i) => `u${i}`)
const resume = ({ broker }: RedisNode, userId: string, cursor: number | 'fresh', groups: readonly string[] = []): Promise<HistoryPage> =>
  broker.resume({ ...visitorOf(userId, { ...noClaim, groups }), cursor, maxBytes: 131_072 })

t.test('resumes, of fifty users of a group in one moment, are one call that reads the group once', async (t) => {
  const node = await start(t)
  const names = users(50)
  for (const name of names) await node.broker.join(name, 'room')
  const cursor = await now(node)
  const ids: number[] = []
  for (let i = 0; i < 20; i++) ids.push(await send(node, ['group:room', 'all'][i % 2] as Address, { i }))
  const own = await send(node, 'user:u7', 'mine')
  const before = { fcalls: await callsOf(redis, 'fcall'), xranges: await callsOf(redis, 'xrange') }
  const pages = await Promise.all(names.map((name) => resume(node, name, cursor)))
  const after = { fcalls: await callsOf(redis, 'fcall'), xranges: await callsOf(redis, 'xrange') }
  for (const [i, page] of pages.entries()) {
    t.same(page.entries.map(({ id }) => id), i === 7 ? [...ids, own] : ids)
    t.match(page, { gap: false, more: false })
    t.same([...page.membership.keys()], ['room'])
  }
  t.ok(pages.every(({ entries }) => entries[3] === pages[0]!.entries[3]), 'the same objects, to be encoded once')
  t.ok(after.fcalls - before.fcalls <= 3, `${after.fcalls - before.fcalls} calls, with those of the canary`)
  // One for each user's own log, and a few for the two that they share.
  t.ok(after.xranges - before.xranges < 50 + 20, `${after.xranges - before.xranges} reads`)
})

t.test('resumes, from different positions in the same logs, bring each what is theirs, also past the first page', async (t) => {
  const node = await start(t)
  const names = users(64)
  const cursor = await now(node)
  const ids: number[] = []
  for (let i = 0; i < 300; i++) ids.push(await send(node, 'all', 'x'.repeat(i % 7 * 100)))
  // Out of order: what was read for one may begin after the cursor of the next.
  const cursors = names.map((_, i) => i % 5 === 0 ? cursor : ids[(i * 37) % 300]!)
  const read = await Promise.all(names.map((userId, i) => readPages(node, { userId, cursor: cursors[i]!, maxBytes: 20_000 })))
  for (const [i, pages] of read.entries()) t.same(entriesOf(pages).map(({ id }) => id), ids.filter((id) => id > cursors[i]!))
})

t.test('resumes, with far more to bring than a reply may hold, are all answered', async (t) => {
  const node = await start(t)
  const names = users(40)
  const cursor = await now(node)
  await Promise.all(names.flatMap((name) => [1, 2].map(() => send(node, `user:${name}`, 'x'.repeat(60_000)))))
  const before = await callsOf(redis, 'fcall')
  const pages = await Promise.all(names.map((name) => resume(node, name, cursor)))
  t.ok(pages.every(({ entries, more, inbox: { unread } }) => entries.length === 2 && !more && unread === 2))
  t.ok(await callsOf(redis, 'fcall') - before >= 4, 'not with one call: others want to be served too')
})

t.test('resumes, of users in many groups, do not keep Redis from others with one call', async (t) => {
  const node = await start(t)
  const groups = Array.from({ length: MAX_GROUPS }, (_, i) => `g${i}`)
  const names = users(20)
  for (const name of names) await node.broker.replaceGroups(name, groups)
  const before = await callsOf(redis, 'fcall')
  const pages = await Promise.all(names.map((name) => resume(node, name, 'fresh')))
  t.ok(pages.every(({ membership }) => membership.size === MAX_GROUPS))
  t.ok(await callsOf(redis, 'fcall') - before >= 4)
})

t.test('resume, of a user in a thousand groups, does not make the pages of others small', async (t) => {
  const node = await start(t)
  await node.broker.replaceGroups('u0', Array.from({ length: MAX_GROUPS }, (_, i) => `g${i}`))
  const cursor = await now(node)
  const ids: number[] = []
  for (let i = 0; i < 100; i++) ids.push(await send(node, 'all', 'x'.repeat(100)))
  const pages = await Promise.all(users(10).map((name) => resume(node, name, cursor)))
  for (const page of pages) t.same(page.entries.map(({ id }) => id), ids)
  t.same(entriesOf(await readPages(node, { userId: 'u0', cursor })).map(({ id }) => id), ids)
})

t.test('resumes, of one from long ago and one from just now, read no more than each is owed a page of', async (t) => {
  const node = await start(t)
  const cursor = await now(node)
  const ids: number[] = []
  for (let i = 0; i < 900; i++) ids.push(await send(node, 'all', 'x'.repeat(2000)))
  const before = await callsOf(redis, 'xrange')
  const pages = await Promise.all([cursor, ids.at(-3)!, cursor, ids.at(-2)!].map((from, i) => resume(node, `u${i}`, from)))
  t.same(pages.map(({ entries }) => entries.length > 3 ? 'a page' : entries.length), ['a page', 2, 'a page', 1])
  t.ok(pages[0]!.more && pages[0]!.entries.length < 100)
  t.ok(await callsOf(redis, 'xrange') - before < 60)
  t.same(entriesOf(await readPages(node, { userId: 'u0', cursor })).map(({ id }) => id), ids)
})

t.test('resume, past an entry that nobody can read, goes on, and says that something is missing', async (t) => {
  const node = await start(t)
  const prefix = `${redis.prefix}:${count}`
  const cursor = await now(node)
  const first = await send(node, 'all')
  await redis.cli('XADD', `${prefix}:log:all`, `${first + 1}-0`, 'e', 'message', 'd', '{')
  await redis.cli('XADD', `${prefix}:log:all`, `${first + 2}-0`, 'what', 'is this')
  const last = await send(node, 'all')
  for (const page of await Promise.all(users(3).map((name) => resume(node, name, cursor)))) {
    t.match(page, { gap: true, more: false })
    t.same(page.entries.map(({ id }) => id), [first, last])
  }
  t.match(await resume(node, 'u0', first + 2), { gap: false, entries: [{ id: last }] })
})

t.test('resumes and lists, with an entry whose other fields are named as what is remembered of entries, show nothing else', async (t) => {
  const node = await start(t)
  const prefix = `${redis.prefix}:${count}`
  await node.broker.join('u1', 'room')
  const cursor = await now(node)
  await send(node, 'user:u0', 'for u0 alone')
  const last = await send(node, 'group:room', 'the last')
  const forged: Array<[name: string, value: string]> = [
    ['place', '0'], ['id', 'x'], ['id', '1'], ['event', 'closed'], ['data', '{'], ['log', 'x'], ['source', 'x'], ['is_noted', '1'], ['x', 'x'], ['', '']
  ]
  for (const [i, field] of forged.entries()) await redis.cli('XADD', `${prefix}:log:group:room`, `${last + 1 + i}-0`, 'e', 'message', 'd', '"forged"', ...field)
  await becomes(async () => await now(node) > last + forged.length, 'the clock is past the forged ids')
  const [own, room] = await Promise.all([resume(node, 'u0', cursor), resume(node, 'u1', cursor)])
  t.same(own.entries.map(({ json }) => json), ['"for u0 alone"'])
  t.same(room.entries.map(({ json }) => json), ['"the last"', ...forged.map(() => '"forged"')])
  t.match(room, { gap: false, inbox: { unread: 1 + forged.length } })
  const { notifications, unread } = await listOf(node, 'u1')
  t.same(notifications.map(({ json, to }) => [json, to]), [...forged.map(() => ['"forged"', 'group:room']), ['"the last"', 'group:room']])
  t.equal(unread, 1 + forged.length)
})

t.test('resumes, of many who claim as many groups as they may, are all answered', async (t) => {
  const node = await start(t)
  const groups = Array.from({ length: MAX_GROUPS }, (_, i) => `g${i}`)
  const before = await callsOf(redis, 'fcall')
  const pages = await Promise.all(users(25).map((name) => resume(node, name, 'fresh', groups)))
  t.ok(pages.every(({ membership }) => membership.size === MAX_GROUPS))
  t.ok(await callsOf(redis, 'fcall') - before >= 3, 'in calls that are not too long')
})

t.test('resume, of one who has logged out or whose log is no log, fails for that one alone', async (t) => {
  const node = await start(t)
  const prefix = `${redis.prefix}:${count}`
  const cursor = await now(node)
  await send(node, 'all')
  await node.broker.logout('u3')
  await redis.cli('SET', `${prefix}:log:user:u5`, 'stuck')
  const old = { groups: ['a'], issuedAtSeconds: 1 }
  const answers = await Promise.all(users(10).map((userId) => node.broker.resume({ ...visitorOf(userId, old), cursor, maxBytes: 1000 }).catch((error: unknown) => error)))
  for (const [i, answer] of answers.entries()) {
    if (i === 3) t.type(answer, Revoked)
    else if (i === 5) t.type(answer, Uncertain)
    else t.match(answer, { entries: { length: 1 }, gap: false })
  }
  t.same(node.said.filter((text) => text.includes('WRONGTYPE')).length, 1)
})

t.test('visits, of many in one moment, are one call, counted each, and one that fails is one', async (t) => {
  const node = await start(t)
  const prefix = `${redis.prefix}:${count}`
  await node.broker.logout('u1')
  await redis.cli('RPUSH', `${prefix}:hits:connect:u2`, 'stuck')
  const before = await callsOf(redis, 'fcall')
  const visit = (userId: string) => node.broker.visit({ userId, issuedAtSeconds: 1, expiresAtSeconds: 2, counters: [`connect:${userId}`, 'address:here'] }).catch((error: unknown) => error)
  const answers = await Promise.all([...users(20), 'u0', 'u0'].map(visit))
  t.ok(await callsOf(redis, 'fcall') - before <= 3)
  for (const [i, answer] of answers.entries()) {
    if (i === 2) t.type(answer, Uncertain)
    else t.match(answer, { verdict: i === 1 ? 'revoked' : 'admitted', counts: { length: 2 } })
  }
  t.match(answers.slice(-2), [{ counts: [2, 19] }, { counts: [3, 20] }], 'whoever was refused is not counted')
  t.equal(Number(await redis.cli('PTTL', `${prefix}:hits:address:here`)) > 0, true)
})

t.test('resume, while others publish to its group, has a position that divides what was read from what comes', async (t) => {
  const node = await start(t)
  const names = users(30)
  await node.broker.subscribe(['group:room'])
  for (const name of names) await enter(node.broker, name, { groups: ['room'], issuedAtSeconds: 1e10 })
  const cursor = await now(node)
  const publishing = Promise.all(Array.from({ length: 300 }, () => node.broker.publish(request('group:room'))))
  const pages = await Promise.all(names.map((name) => resume(node, name, cursor)))
  const ids = (await publishing).map(({ id }) => id!).sort((one, other) => one - other)
  await node.ear.count(300)
  for (const page of pages) {
    const later = node.ear.notifications.map(({ id }) => id).filter((id) => id > page.position)
    t.same([...page.entries.map(({ id }) => id), ...later], ids)
  }
  t.equal(await refusal(node.broker.publish(request('all'))), undefined)
})

for (const [each, bytes, pages] of [[1, 65_534, 3], [2, 200, 6], [20, 1, 22]] as const) {
  t.test(`resume, of a user in ${MAX_GROUPS} groups with ${each} entries of ${bytes} bytes in each, has full pages and reads little for them`, async (t) => {
    const node = await start(t)
    await node.broker.replaceGroups('u', Array.from({ length: MAX_GROUPS }, (_, i) => `g${i}`))
    let cursor = await now(node)
    const ids: number[] = []
    for (let i = 0; i < each; i++) ids.push(...await Promise.all(Array.from({ length: MAX_GROUPS }, (_, i) => send(node, `group:g${i}`, 'x'.repeat(Math.max(0, bytes - 2))))))
    ids.sort((a, b) => a - b)
    const read: number[] = []
    for (let page = 0; page < pages; page++) {
      const { entries, position, more, gap } = await resume(node, 'u', cursor)
      t.equal(gap, false)
      read.push(...entries.map(({ id }) => id))
      cursor = position
      if (!more) break
      t.ok(entries.length >= Math.min(600, Math.floor(131_072 / bytes)), `${entries.length} entries in a page`)
    }
    t.same(read, ids.slice(0, read.length), 'in order, and none is left out')
    t.equal(read.length, bytes > 1000 ? 2 * pages : ids.length)
  })
}

t.test(`resume, of a user in ${MAX_GROUPS} groups that all got the same, reads a little of each at a time, and has each once`, async (t) => {
  const node = await start(t)
  const groups = Array.from({ length: MAX_GROUPS }, (_, i) => `g${i}`)
  await node.broker.replaceGroups('u', groups)
  let cursor = await now(node)
  const ids: number[] = []
  for (let i = 0; i < 40; i++) ids.push(await send(node, groups.map((group) => `group:${group}` as const), 1))
  const read: number[] = []
  let pages = 0
  for (let more = true; more; pages++) {
    const page = await resume(node, 'u', cursor)
    t.equal(page.gap, false)
    read.push(...page.entries.map(({ id }) => id))
    cursor = page.position
    more = page.more
    if (pages > 40) break
  }
  t.same(read, ids, 'in order, none is left out, none twice')
  t.ok(pages >= 4, `${pages} pages: all of it in one would be 40,000 entries`)
})
