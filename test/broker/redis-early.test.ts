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
