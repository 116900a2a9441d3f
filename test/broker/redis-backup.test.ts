// A backup is brought back while no node runs, so no node knows of anything newer.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { now, readPages, send } from './contract.ts'
import { startRedisNode, up } from './nodes.ts'

const redis = await startRedis(t, { own: true, args: ['--dbfilename', 'backup.rdb'] })
const { prefix } = redis
const start = async () => {
  const node = startRedisNode(t, redis, {}, prefix)
  await up(node)
  return node
}
const bringBack = async (): Promise<void> => {
  await redis.kill()
  await redis.start()
}
const before = await start()
const old = await now(before)
await redis.cli('SAVE')
const lost = await send(before, 'user:1')
await before.broker.close()

t.test('a backup, that lacks a client\'s position: that client is told, and nobody whose position is of it or of afterwards', async (t) => {
  await bringBack()
  const node = await start()
  t.match(await readPages(node, { cursor: lost }), [{ gap: true }])
  t.match(await readPages(node, { cursor: old }), [{ gap: false }], 'nothing tells that it missed something')
  t.match(await readPages(node, { cursor: await now(node) }), [{ gap: false }])
  await node.broker.close()
})

t.test('a backup, and a service that publishes before a node is there: what it was given is good', async (t) => {
  await bringBack()
  const [first] = await redis.cli('FCALL', 'tidings_publish', 1, prefix, 'user:1', 'message', '{}') as [string]
  const node = await start()
  t.match(await readPages(node, { cursor: lost }), [{ gap: true }])
  t.match(await readPages(node, { cursor: Number(first) }), [{ gap: false, entries: [] }])
  await node.broker.close()
})

t.test('a backup, and a node of before that comes first with several publishes at once: each of their ids is good', async (t) => {
  await bringBack()
  const one = ['', '', 0, 'message', '{}', '', 'user:1']
  const replies = await redis.cli('FCALL', 'tidings_publish_all', 1, prefix, 3, ...one, ...one, ...one) as unknown as Array<[id: string]>
  const node = await start()
  t.match(await readPages(node, { cursor: lost }), [{ gap: true }])
  for (const [id] of replies) t.match(await readPages(node, { cursor: Number(id) }), [{ gap: false }])
  await node.broker.close()
})

t.test('a backup, from which the mark of its beginning was deleted as the page says: everybody from before is told', async (t) => {
  await bringBack()
  await redis.cli('DEL', `${prefix}:born`)
  const node = await start()
  for (const cursor of [old, lost]) t.match(await readPages(node, { cursor }), [{ gap: true }])
  t.match(await readPages(node, { cursor: await now(node) }), [{ gap: false }])
  await node.broker.close()
})
