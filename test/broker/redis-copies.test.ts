// What went to hundreds of groups of one user stands in each of their logs: one call reads a part of that, and all of it arrives.
import t, { type Test } from 'tap'
import type { Address } from '../../src/notification.ts'
import { callsOf, startRedis } from '../fixtures/redis.ts'
import { entriesOf, idsOf, listOf, now, readerOf, readPages, send } from './contract.ts'
import { type RedisNode, startRedisNode, up } from './nodes.ts'

const redis = await startRedis(t, { own: true })
let count = 0

/** A node, and a user in so many groups. */
async function start (t: Test, groupCount: number): Promise<{ node: RedisNode, to: Address[] }> {
  const node = startRedisNode(t, redis, {}, `${redis.prefix}:${++count}`)
  await up(node)
  const groups = Array.from({ length: groupCount }, (_, i) => `g${i}`)
  await node.broker.replaceGroups('1', groups)
  return { node, to: groups.map((group): Address => `group:${group}`) }
}

t.test('large ones, that went to all groups: pages of replay and of the list are short, and each is there once', async (t) => {
  const { node, to } = await start(t, 500)
  const cursor = await now(node)
  const text = 'x'.repeat(60_000)
  // Between them, one that a single log has: it must not be passed over where the others are not read to the end.
  const ids = [await send(node, to, text), await send(node, to[3]!, 'alone'), await send(node, to, text), await send(node, 'user:1', 'own')]
  const pages = await readPages(node, { cursor })
  t.same(entriesOf(pages).map(({ id }) => id), ids)
  t.ok(pages.length > 1 && pages.every(({ gap }) => !gap), `${pages.length} pages`)
  t.ok(pages.every(({ entries }) => entries.length > 0))
  const listed: number[] = []
  let before: number | undefined
  let lists = 0
  do {
    const page = await listOf(node, '1', { limit: 20, before })
    t.same([page.unread, page.complete], [4, true])
    t.ok(page.notifications.length > 0 || page.next === undefined)
    listed.push(...idsOf(page.notifications))
    before = page.next
    lists++
  } while (before !== undefined)
  t.same(listed, ids.toReversed())
  t.ok(lists > 1, `${lists} pages of the list`)
})

t.test('small ones, that went to all groups: a count looks at a part of them, and says at least so many', async (t) => {
  const { node, to } = await start(t, 700)
  for (let i = 0; i < 50; i++) await send(node, to)
  const before = await callsOf(redis, 'xrevrange')
  const { unread } = await node.broker.position(readerOf('1'))
  t.equal(unread, 50)
  // Four for each log that is looked at.
  const reads = await callsOf(redis, 'xrevrange') - before
  t.ok(reads < 2000, `${reads} reads`)
})

t.test('much that is only replayed: a list looks at a part of it, and its pages may be empty and go on', async (t) => {
  const { node, to } = await start(t, 100)
  const id = await send(node, to[3]!, 'listed')
  for (let i = 0; i < 120; i++) await send(node, to, i, { keep: 'replay' })
  for (const unreadOnly of [false, true]) {
    let before: number | undefined
    let lists = 0
    const listed: number[] = []
    do {
      const page = await listOf(node, '1', { limit: 20, before, unreadOnly })
      t.ok(page.next === undefined || page.next < (before ?? Infinity), 'each goes on below the one before')
      t.equal(page.complete, true)
      listed.push(...idsOf(page.notifications))
      before = page.next
      lists++
    } while (before !== undefined)
    t.same(listed, [id])
    t.ok(lists > 2 && lists < 20, `${lists} pages for 12,000 entries`)
  }
  await node.broker.moveCursor(readerOf('1'), 'read', await now(node))
  t.match(await listOf(node, '1', { unreadOnly: true }), { notifications: { length: 0 }, next: undefined }, 'what was read is not looked at')
})
