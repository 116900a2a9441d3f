// The contract of a broker, continued: a membership has a history, and whoever was away is owed what was theirs then.
import type { Test } from 'tap'
import { ALL } from '../../src/notification.ts'
import { entriesOf, enter, idsOf, listOf, type MakeBackend, type Node, now, readerOf, readPages, send } from './contract.ts'
import { becomes } from './nodes.ts'

/** Each way of being taken out of a group and put back into it. */
const WAYS: Record<string, { out: (node: Node) => Promise<unknown>, into: (node: Node) => Promise<unknown> }> = {
  'leave and join': {
    out: async ({ broker }) => { await broker.leave('1', 'a') },
    into: async ({ broker }) => { await broker.join('1', 'a') }
  },
  'replaced groups': {
    out: async ({ broker }) => { await broker.replaceGroups('1', []) },
    into: async ({ broker }) => { await broker.replaceGroups('1', ['a']) }
  },
  claims: {
    out: async ({ broker }) => await enter(broker, '1', { groups: [], issuedAtSeconds: 2000 }),
    into: async ({ broker }) => await enter(broker, '1', { groups: ['a'], issuedAtSeconds: 3000 })
  }
}

export function spans (t: Test, make: MakeBackend): void {
  for (const [way, { out, into }] of Object.entries(WAYS)) {
    t.test(`a member, who is away while ${way} take the group and give it back, is owed what came before and after`, async (t) => {
      const a = await (await make(t))()
      if (way === 'claims') await enter(a.broker, '1', { groups: ['a'], issuedAtSeconds: 1000 })
      else await into(a)
      const cursor = await now(a)
      const owed = [await send(a, 'group:a'), await send(a, 'group:a'), await send(a, 'group:a')]
      await out(a)
      t.match(await readPages(a, { cursor }), [{ gap: true, entries: { length: 0 } }], 'not a member, they may not have it, and are told')
      await send(a, 'group:a', 'while not a member')
      await into(a)
      t.match(await readPages(a, { cursor }), [{ gap: false }])
      t.same(idsOf(entriesOf(await readPages(a, { cursor }))), owed)
      owed.push(await send(a, 'group:a'))
      t.same(idsOf(entriesOf(await readPages(a, { cursor, maxBytes: 1 }))), owed)
      t.same(idsOf(entriesOf(await readPages(a, { cursor: owed[1]! }))), owed.slice(2))
      t.same(idsOf((await listOf(a)).notifications), owed.slice(3), 'listed is what came since the last join')
      t.match(await listOf(a), { unread: 1, complete: true })
    })
  }

  t.test('a group, left while its member was away, is a gap only if something is missing of it', async (t) => {
    const a = await (await make(t))()
    await a.broker.join('1', 'a')
    const before = await now(a, '1')
    const id = await send(a, 'group:a')
    const between = await now(a, '1')
    await a.broker.leave('1', 'a')
    await send(a, 'group:a', 'after the leave')
    const after = await now(a, '1')
    t.match(await readPages(a, { cursor: before }), [{ gap: true, entries: { length: 0 } }])
    t.match(await readPages(a, { cursor: id - 1 }), [{ gap: true }])
    t.match(await readPages(a, { cursor: id }), [{ gap: false, entries: { length: 0 } }], 'they have had it')
    for (const cursor of [between, after]) t.match(await readPages(a, { cursor }), [{ gap: false, entries: { length: 0 } }])
    await a.broker.retract({ to: 'group:a', what: { id } })
    t.match(await readPages(a, { cursor: before }), [{ gap: false }], 'what was taken back is not missing')
  })

  t.test('a group, left where much was replaced, taken back, dismissed and has expired, is a gap only if something else stands there', async (t) => {
    const a = await (await make(t))()
    await a.broker.replaceGroups('1', ['a', 'b'])
    const cursor = await now(a, '1')
    const each = async (run: (i: number) => Promise<unknown>): Promise<void> => { for (let i = 0; i < 40; i++) await run(i) }
    const dismiss = async (id: number): Promise<unknown> => await a.broker.mark(readerOf('1'), id, 'dismissed')
    await each(async (i) => await send(a, 'group:a', i, { ttlSeconds: 1, keep: i % 2 === 0 ? 'inbox' : 'replay' }))
    await each(async (i) => await dismiss(await send(a, 'group:a', i)))
    await each(async (i) => await dismiss(await send(a, ['group:a', 'group:b'], i)))
    await each(async () => await a.broker.retract({ to: 'group:a', what: { id: await send(a, 'group:a') } }))
    await each(async () => await send(a, 'group:a', 'x', { key: 'k' }))
    await a.broker.retract({ to: 'group:a', what: { key: 'k' } })
    await each(async (i) => await dismiss(await send(a, 'group:a', i, { ttlSeconds: 1 })))
    const last = await send(a, 'group:a', 'x', { ttlSeconds: 1 })
    await a.broker.leave('1', 'a')
    t.match(await readPages(a, { cursor: last - 1 }), [{ gap: true }], 'the newest has not expired')
    await becomes(async () => await now(a, '1') >= last + 1_000_000, 'a second of the broker\'s clock')
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: { length: 0 } }])
    await a.broker.join('1', 'a')
    const stands = await send(a, 'group:a')
    await a.broker.leave('1', 'a')
    t.match(await readPages(a, { cursor }), [{ gap: true, entries: { length: 0 } }], 'this one is missing')
    t.match(await readPages(a, { cursor: stands }), [{ gap: false }])
  })

  t.test('a group, left without a message, is no gap', async (t) => {
    const a = await (await make(t))()
    await a.broker.join('1', 'a')
    await send(a, 'group:b')
    const cursor = await now(a, '1')
    await a.broker.leave('1', 'a')
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: { length: 0 } }])
  })

  t.test('a log, trimmed over an earlier membership, is a gap', async (t) => {
    const a = await (await make(t, { groupHistoryLength: 10, bornSecondsAgo: 100 }))()
    await a.broker.join('1', 'a')
    const cursor = await now(a, '1')
    const first = await send(a, 'group:a')
    await a.broker.leave('1', 'a')
    await a.broker.join('1', 'a')
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: [{ id: first }] }])
    for (let i = 0; i < 109; i++) await send(a, 'group:a')
    t.match(await readPages(a, { cursor }), [{ gap: true, entries: { length: 10 } }])
    await a.broker.leave('1', 'a')
    t.match(await readPages(a, { cursor }), [{ gap: true, entries: { length: 0 } }])
  })

  t.test('memberships, more than are remembered, are never lost in silence', async (t) => {
    const a = await (await make(t))()
    const joins: number[] = []
    const sent: number[] = []
    for (let i = 0; i < 8; i++) {
      await a.broker.join('1', 'a')
      joins.push(await now(a, '1'))
      sent.push(await send(a, 'group:a', i))
      await a.broker.leave('1', 'a')
    }
    await a.broker.join('1', 'a')
    for (const [i, cursor] of joins.entries()) {
      const [page] = await readPages(a, { cursor })
      const found = idsOf(page!.entries)
      t.ok(page!.gap || found.length === sent.length - i, `from the ${i + 1}.: ${found.length} and ${page!.gap ? 'told' : 'not told'}`)
      t.same(found, sent.slice(-found.length || sent.length))
    }
    t.match(await readPages(a, { cursor: joins[4]! }), [{ gap: false, entries: { length: 4 } }], 'four are remembered')
  })

  for (const [left, rounds, isRemembered] of [['4,001', 5, true], ['5,001', 6, false]] as const) {
    t.test(`a member, who is back in a group after leaving ${left}, is owed what came before, or is told`, async (t) => {
      const a = await (await make(t))()
      await a.broker.join('1', 'first')
      const cursor = await now(a)
      const id = await send(a, 'group:first')
      await a.broker.leave('1', 'first')
      for (let round = 1; round <= rounds; round++) await a.broker.replaceGroups('1', Array.from({ length: 1000 }, (_, i) => `${round}-${i}`))
      const later = await now(a)
      await a.broker.replaceGroups('1', ['first'])
      const [page] = await readPages(a, { cursor })
      t.same([page!.gap, idsOf(page!.entries)], isRemembered ? [false, [id]] : [true, []])
      t.match(await readPages(a, { cursor: later }), [{ gap: false, entries: [] }])
    })
  }

  t.test('a notification, to a group left and another address, reaches its user by the other, and is no gap', async (t) => {
    const a = await (await make(t))()
    await a.broker.join('1', 'a')
    await a.broker.join('1', 'b')
    const cursor = await now(a, '1')
    const id = await send(a, ['group:a', 'group:b'])
    await a.broker.leave('1', 'a')
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: [{ id }] }])
    t.match(await listOf(a), { notifications: [{ id, to: 'group:b' }] })
    for (const other of ['user:1', ALL, 'group:b']) await send(a, ['group:a', other])
    await send(a, ['group:a', 'user:2'])
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: { length: 4 } }], 'nor what came after the leave')
    await a.broker.retract({ to: 'group:b', what: { id } })
    t.match(await readPages(a, { cursor }), [{ gap: true, entries: { length: 3 } }], 'taken back from the other, it is missing')
  })

  t.test('a notification, to a group left and another in which its user was not then, is missing', async (t) => {
    const a = await (await make(t))()
    await a.broker.replaceGroups('1', ['a', 'b'])
    const cursor = await now(a, '1')
    const before = await send(a, ['group:a', 'group:b'])
    await a.broker.leave('1', 'b')
    const missing = await send(a, ['group:a', 'group:b'])
    await a.broker.join('1', 'b')
    await a.broker.leave('1', 'a')
    t.match(await readPages(a, { cursor }), [{ gap: true, entries: [{ id: before }] }])
    t.match(await readPages(a, { cursor: missing }), [{ gap: false, entries: { length: 0 } }])
  })
}
