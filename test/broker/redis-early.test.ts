// A Redis whose clock begins in 1970, as that of a machine without a battery does when it is switched on.
import t from 'tap'
import { Tamper, tamperAbsent } from '../../chaos/tamper.ts'
import { startRedis } from '../fixtures/redis.ts'
import { listOf, now, readPages, send } from './contract.ts'
import { becomes, startRedisNode, up } from './nodes.ts'

t.test('Redis, its clock at the beginning of 1970, serves streams and inboxes, also when it is put right', { skip: tamperAbsent() ?? false }, async (t) => {
  const tamper = new Tamper(t)
  tamper.moveClock(100 - Math.floor(Date.now() / 1000))
  const early = await startRedis(t, { own: true, env: tamper.env })
  t.teardown(async () => { await early.kill() }) // it answers nobody any more if a function does not end
  const node = startRedisNode(t, early, {}, early.prefix)
  await up(node)
  const cursor = await now(node, '1')
  const id = await send(node, ['user:1', 'all'])
  t.ok(id < 1e9, 'an id of that time')
  t.match(await readPages(node, { cursor }), [{ gap: false, entries: [{ id }] }])
  t.match(await listOf(node), { notifications: [{ id }], unread: 1 })
  tamper.moveClock(0)
  await becomes(async () => await now(node) > 1e15, 'ids of the right time')
  t.match(await readPages(node, { cursor: id }), [{ gap: true }])
  const later = await send(node, 'user:1')
  t.match(await listOf(node), { notifications: [{ id: later }], unread: 1 })
})

const DAY = 86_400

t.test('Redis, its clock put ahead by more than the history, loses nothing of a claimed group in silence', { skip: tamperAbsent() ?? false }, async (t) => {
  const tamper = new Tamper(t)
  const redis = await startRedis(t, { own: true, env: tamper.env })
  for (const [i, seconds] of [DAY + 1200, DAY + 3600, 700 * DAY].entries()) {
    const node = startRedisNode(t, redis, {}, `${redis.prefix}:${i}`)
    await up(node)
    const second = Math.floor(Date.now() / 1000)
    const user = { userId: '1', issuedAtSeconds: second, expiresAtSeconds: second + 600 }
    const visit = { user, groups: ['g'], admittedAt: Number.MAX_SAFE_INTEGER, maxBytes: 1e6 }
    const { position } = await node.broker.resume({ ...visit, cursor: 'fresh' })
    tamper.moveClock(seconds)
    const heard = await send(node, 'group:g', 'its stream hears this')
    if (seconds > DAY + 1800) {
      await becomes(() => node.ear.lines.includes('restored'), 'the streams to be refilled')
      await node.broker.resume({ ...visit, cursor: heard })
    }
    const cursor = await send(node, 'all', 'the last that it hears')
    const id = await send(node, 'group:g', 'while it is away')
    t.match(await node.broker.resume({ ...visit, cursor }), { gap: false, entries: [{ id }] }, `${seconds} seconds`)
    t.equal((await node.broker.resume({ ...visit, cursor: position })).gap, true, 'who was away before is told')
    await node.broker.close()
    tamper.moveClock(0)
  }
})

t.test('clock, put hours ahead by another hand, counts as lost, and everybody is told; by minutes, ids go on from there', async (t) => {
  const redis = await startRedis(t)
  const node = startRedisNode(t, redis, {}, redis.prefix)
  await up(node)
  for (const [aheadMs, isLost] of [[7_200_000, true], [1_800_000, false]] as const) {
    const cursor = await now(node)
    await redis.cli('SET', `${redis.prefix}:clock`, cursor + aheadMs * 1000)
    const id = await send(node, 'user:1')
    t.equal(id > cursor + aheadMs * 1000, !isLost)
    t.match(await readPages(node, { cursor }), [{ gap: isLost, entries: [{ id }] }])
  }
})
