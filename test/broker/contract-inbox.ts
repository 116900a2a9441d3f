// The contract of a broker, continued: the list, the counts and the two cursors.
import type { Test } from 'tap'
import { FuturePosition, type InboxCounts } from '../../src/broker/inbox.ts'
import { MAX_UNREAD } from '../../src/notification.ts'
import { identityOf, idsOf, listOf, type MakeBackend, type Node, now, readerOf, refusal, send } from './contract.ts'

const nobody = { seen: 0, read: 0, unseen: 0, unread: 0 }

/** What a user has, asked in every way that there is: all must say the same. */
export async function countsOf (node: Node, userId = '1'): Promise<InboxCounts> {
  const [{ position, ...counts }, list, page] = [
    await node.broker.position(readerOf(userId)),
    await listOf(node, userId, { limit: 1 }),
    await node.broker.resume({ user: identityOf(userId), groups: undefined, admittedAt: Number.MAX_SAFE_INTEGER, cursor: 'fresh', maxBytes: 1 })
  ]
  const { seen, read, unseen, unread } = list
  for (const other of [{ seen, read, unseen, unread }, page.inbox]) {
    if (JSON.stringify(other) !== JSON.stringify(counts)) throw new Error(`position says ${JSON.stringify(counts)}, another ${JSON.stringify(other)}`)
  }
  return counts
}

/** The unread ones, oldest first. */
export const unreadOf = async (node: Node): Promise<number[]> => idsOf((await listOf(node, '1', { unreadOnly: true })).notifications).reverse()

export function inbox (t: Test, make: MakeBackend): void {
  const reader = readerOf('1')

  t.test('the inbox, of a user nobody has heard of, is empty and whole', async (t) => {
    const a = await (await make(t))()
    t.same(await countsOf(a), nobody)
    t.match(await listOf(a), { notifications: { length: 0 }, next: undefined, complete: true, ...nobody })
  })

  t.test('what counts, in small between much and large that does not, is counted and listed', async (t) => {
    const a = await (await make(t))()
    await a.broker.join('1', 'a')
    await now(a, '1')
    const large = 'x'.repeat(4000)
    const to = ['user:1', 'group:a', ['group:a', 'user:1']] as const
    const counted: number[] = []
    for (let i = 0; i < 12; i++) {
      for (const [j, address] of to.entries()) {
        for (let k = 0; k < 2; k++) await send(a, address, large, { keep: 'replay' })
        await a.broker.mark(reader, await send(a, address, large), 'dismissed')
        await a.broker.retract({ to: typeof address === 'string' ? address : address[0], what: { id: await send(a, address, large, { ttlSeconds: 60 }) } })
        // Of the last address, the other copy of it is still there.
        if (j === 2) await a.broker.mark(reader, (await listOf(a, '1', { limit: 1 })).notifications[0]!.id, 'read')
        else await send(a, address, large, { keep: 'replay', key: 'price' })
      }
      counted.push(await send(a, to[i % 3]!, i % 2 === 0 ? i : large))
    }
    t.match(await countsOf(a), { unseen: 12, unread: 12 })
    t.same(await unreadOf(a), counted)
    t.match(await a.broker.moveCursor(reader, 'read', counted[4]!), { unseen: 7, unread: 7 })
    t.match(await a.broker.mark(reader, counted[1]!, 'unread'), { unseen: 7, unread: 8 })
    t.match(await a.broker.mark(reader, counted[8]!, 'dismissed'), { unseen: 6, unread: 7 })
    t.match(await countsOf(a), { unseen: 6, unread: 7 })
  })

  t.test('the list, read page by page, has everything once, newest first', async (t) => {
    const a = await (await make(t))()
    for (const group of ['a', 'b']) await a.broker.join('1', group)
    await now(a, '1')
    const ids: number[] = []
    const tos = ['user:1', 'group:a', 'all', ['group:a', 'user:1'], 'group:b', 'user:2', 'group:c']
    for (let i = 0; i < 63; i++) {
      const id = await send(a, tos[i % 7]!, { i }, i % 9 === 0 ? { keep: 'replay' } : {})
      if (i % 7 < 5 && i % 9 !== 0) ids.push(id)
    }
    for (const limit of [1, 2, 7, 44, 45, 100]) {
      const found: number[] = []
      let before: number | undefined
      do {
        const page = await listOf(a, '1', { limit, before })
        t.ok(page.notifications.length <= limit)
        found.push(...idsOf(page.notifications))
        before = page.next
        t.match(page, { complete: true, unread: ids.length })
      } while (before !== undefined)
      t.same(found, [...ids].reverse(), `${limit} a page`)
    }
    const [one] = (await listOf(a, '1', { before: ids[30]!, limit: 1 })).notifications
    t.equal(one!.id, ids[29])
    t.same(Object.keys(one!).sort(), ['event', 'id', 'isRead', 'json', 'key', 'to'])
    t.match(await listOf(a, '1', { before: 1 }), { notifications: { length: 0 }, next: undefined })
  })

  t.test('the list, of unread alone, skips what is read and still ends', async (t) => {
    const a = await (await make(t))()
    await now(a, '1')
    const ids: number[] = []
    for (let i = 0; i < 30; i++) ids.push(await send(a, 'user:1', i))
    for (const id of ids.filter((_, i) => i % 3 !== 0)) await a.broker.mark(reader, id, 'read')
    const found: number[] = []
    let before: number | undefined
    do {
      const page = await listOf(a, '1', { limit: 4, before, unreadOnly: true })
      found.push(...idsOf(page.notifications))
      before = page.next
    } while (before !== undefined)
    t.same(found, ids.filter((_, i) => i % 3 === 0).reverse())
  })

  t.test('counts, stop at 100', async (t) => {
    const a = await (await make(t))()
    await now(a, '1')
    const ids: number[] = []
    for (let i = 0; i < 105; i++) ids.push(await send(a, ['user:1', 'all'][i % 2]!))
    t.match(await countsOf(a), { unseen: MAX_UNREAD, unread: MAX_UNREAD })
    t.match(await a.broker.moveCursor(reader, 'read', ids[4]!), { unread: 100 })
    t.match(await a.broker.moveCursor(reader, 'read', ids[5]!), { unread: 99 })
  })

  t.test('all, before a user\'s first visit, is listed and neither unseen nor unread', async (t) => {
    const a = await (await make(t))()
    const before = await send(a, 'all', 'before')
    t.match(await a.broker.list({ reader: { userId: '1' }, limit: 10, unreadOnly: false }), { unread: 0, unseen: 0, notifications: [{ id: before, isRead: true }] }, 'asked by a back end')
    const both = await send(a, ['all', 'user:1'], 'before, and to them')
    t.match(await a.broker.position({ userId: '1' }), { unread: 1, unseen: 1 }, 'which is no visit')
    t.match(await countsOf(a), { unread: 1, unseen: 1 })
    const after = await send(a, 'all', 'after')
    t.match(await countsOf(a), { unread: 2, unseen: 2 })
    t.match(await listOf(a), { notifications: [{ id: after, isRead: false }, { id: both, isRead: false }, { id: before, isRead: true }] })
    t.same(await unreadOf(a), [both, after])
    t.match(await a.broker.position({ userId: '1' }), { unread: 2 })
    t.match(await a.broker.mark(reader, before, 'unread'), { unread: 3, unseen: 2 }, 'unless they say so')
    t.match(await a.broker.mark(reader, before, 'read'), { unread: 2 })
    await a.broker.visit({ ...identityOf('{1}2') })
    const later = await send(a, 'all')
    t.match(await listOf(a, '{1}2'), { unread: 1, notifications: [{ id: later }, { id: after }, { id: both }, { id: before }] }, 'a visit is one, too')
  })

  t.test('cursors, moved, go forward alone and read takes seen along', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await now(a, '1')
    await a.broker.subscribe(['user:1'])
    const ids: number[] = []
    for (let i = 0; i < 5; i++) ids.push(await send(a, 'user:1', i))
    const steps = [
      ['seen', 1, { seen: ids[1], read: 0, unseen: 3, unread: 5 }],
      ['seen', 0, { seen: ids[1], read: 0, unseen: 3, unread: 5 }],
      ['read', 0, { seen: ids[1], read: ids[0], unseen: 3, unread: 4 }],
      ['read', 2, { seen: ids[2], read: ids[2], unseen: 2, unread: 2 }],
      ['read', 1, { seen: ids[2], read: ids[2], unseen: 2, unread: 2 }],
      ['seen', 4, { seen: ids[4], read: ids[2], unseen: 0, unread: 2 }],
      ['read', 4, { seen: ids[4], read: ids[4], unseen: 0, unread: 0 }],
      ['read', 4, { seen: ids[4], read: ids[4], unseen: 0, unread: 0 }]
    ] as const
    for (const [cursor, to, counts] of steps) {
      t.match(await b.broker.moveCursor(reader, cursor, ids[to]!), counts, `${cursor} ${to}`)
      t.match(await countsOf(a), counts)
    }
    await a.ear.id(await send(a, 'user:1', 'fence'))
    const told = a.ear.events('read')
    t.match(told.map(({ data }) => data), [0, 2, 3, 5, 6].map((i) => {
      const { seen, read, unseen, unread } = steps[i]![2]
      return { seen: String(seen), read: String(read), unseen, unread }
    }), 'each change was told, with absolute values')
    t.same(Object.keys(told[0]!.data).sort(), ['read', 'seen', 'unread', 'unseen'])
    t.ok(told.every(({ asOf, to }, i) => to === 'user:1' && asOf! > (told[i - 1]?.asOf ?? ids[4]!)), 'and as of when')
  })

  t.test('cursors, moved to a position, may be nobody\'s id, and not of the future', async (t) => {
    const a = await (await make(t))()
    await now(a, '1')
    await send(a, 'user:1')
    const { position } = await a.broker.position(reader)
    t.match(await a.broker.moveCursor(reader, 'read', position), { seen: position, read: position, unread: 0 })
    for (const upTo of [position + 3_600_000_000, Number.MAX_SAFE_INTEGER]) {
      for (const cursor of ['seen', 'read'] as const) t.type(await refusal(a.broker.moveCursor(reader, cursor, upTo)), FuturePosition)
    }
    await send(a, 'user:1')
    t.match(await countsOf(a), { seen: position, read: position, unseen: 1, unread: 1 })
    t.match(await a.broker.moveCursor(reader, 'read', 1), { read: position })
  })
}
