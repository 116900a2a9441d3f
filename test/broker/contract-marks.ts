// The contract of a broker, continued: what a user says of one notification: read, unread, dismissed.
import type { Test } from 'tap'
import { type InboxMark, MAX_MARKS, NoNotification, TooManyMarks } from '../../src/broker/inbox.ts'
import { countsOf, unreadOf } from './contract-inbox.ts'
import { entriesOf, idsOf, listOf, type MakeBackend, now, readerOf, readPages, refusal, send } from './contract.ts'
import { becomes } from './nodes.ts'

export function marks (t: Test, make: MakeBackend): void {
  const reader = readerOf('1')

  t.test('marks, one by one, change what they say and tell it', async (t) => {
    const a = await (await make(t))()
    await now(a, '1')
    await a.broker.subscribe(['user:1'])
    const ids: number[] = []
    for (let i = 0; i < 6; i++) ids.push(await send(a, 'user:1', i))
    await a.broker.moveCursor(reader, 'read', ids[2]!)
    // Read up to 2. What is marked, as what; unseen, unread, which are unread; and whether it is told.
    const steps: Array<[number, InboxMark, number, number[], boolean]> = [
      [4, 'read', 2, [3, 5], true],
      [4, 'read', 2, [3, 5], false],
      [1, 'read', 2, [3, 5], false],
      [1, 'unread', 2, [1, 3, 5], true],
      [1, 'unread', 2, [1, 3, 5], false],
      [3, 'unread', 2, [1, 3, 5], false],
      [4, 'unread', 3, [1, 3, 4, 5], true],
      [1, 'read', 3, [3, 4, 5], true],
      [0, 'unread', 3, [0, 3, 4, 5], true],
      [0, 'dismissed', 3, [3, 4, 5], true],
      [0, 'dismissed', 3, [3, 4, 5], false],
      [5, 'read', 2, [3, 4], true],
      [5, 'dismissed', 2, [3, 4], true],
      [3, 'dismissed', 1, [4], true]
    ]
    let told = 1
    for (const [at, as, unseen, unread, isTold] of steps) {
      const name = `${at} ${as}`
      t.match(await a.broker.mark(reader, ids[at]!, as), { unseen, unread: unread.length }, name)
      t.match(await countsOf(a), { unseen, unread: unread.length }, name)
      t.same((await unreadOf(a)).map((id) => ids.indexOf(id)), unread, name)
      if (isTold) told++
    }
    for (const as of ['read', 'unread'] as const) t.type(await refusal(a.broker.mark(reader, ids[0]!, as)), NoNotification, 'what is dismissed is not there')
    t.same(idsOf((await listOf(a)).notifications), [ids[4], ids[2], ids[1]])
    await a.ear.id(await send(a, 'user:1', 'fence'))
    const events = a.ear.events('read')
    t.equal(events.length, told)
    t.same(events[1]!.data.changed, [{ id: String(ids[4]), isRead: true }])
    t.same(events[2]!.data.changed, [{ id: String(ids[1]), isRead: false }])
    t.same(events.at(-1)!.data.changed, [{ id: String(ids[3]), dismissed: true }])
  })

  t.test('marks, when the read cursor moves over them, are read; when it does not move, stay', async (t) => {
    const a = await (await make(t))()
    await now(a, '1')
    const ids: number[] = []
    for (let i = 0; i < 5; i++) ids.push(await send(a, 'user:1', i))
    await a.broker.moveCursor(reader, 'read', ids[2]!)
    await a.broker.mark(reader, ids[0]!, 'unread')
    await a.broker.mark(reader, ids[4]!, 'read')
    for (const upTo of [ids[1]!, ids[2]!]) t.match(await a.broker.moveCursor(reader, 'read', upTo), { unread: 2 }, 'a late or repeated call is harmless')
    t.match(await a.broker.moveCursor(reader, 'seen', ids[3]!), { unread: 2 }, 'and seen is not read')
    t.match(await a.broker.moveCursor(reader, 'read', ids[3]!), { unread: 0 })
    t.match(await listOf(a), { notifications: ids.map(() => ({ isRead: true })) })
  })

  t.test('a notification, dismissed, is gone from the list, the counts and the replay of its user alone, and is no gap', async (t) => {
    const a = await (await make(t))()
    for (const userId of ['1', '{1}2']) {
      await a.broker.join(userId, 'a')
      await now(a, userId)
    }
    const cursor = await now(a, '1')
    const [first, second] = [await send(a, 'group:a', 1, { ttlSeconds: 60 }), await send(a, ['group:a', 'user:1'])]
    await a.broker.mark(reader, first, 'dismissed')
    await a.broker.mark(reader, second, 'dismissed')
    t.match(await listOf(a), { notifications: { length: 0 }, unread: 0, complete: true })
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: { length: 0 } }])
    t.same(idsOf(entriesOf(await readPages(a, { userId: '{1}2', cursor }))), [first, second])
    t.match(await countsOf(a, '{1}2'), { unread: 2 })
    await a.broker.leave('1', 'a')
    t.match(await readPages(a, { cursor }), [{ gap: false }], 'nor when the group was left')
    await a.broker.join('1', 'a')
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: { length: 0 } }], 'and it stays gone')
  })

  t.test('what is not in the inbox, whyever, cannot be marked, and looks alike', async (t) => {
    const a = await (await make(t))()
    await a.broker.join('1', 'a')
    await now(a, '1')
    const before = await send(a, 'group:b')
    await a.broker.join('1', 'b')
    const replaced = await send(a, 'user:1', 1, { key: 'k' })
    await send(a, 'user:1', 2, { key: 'k' })
    const retracted = await send(a, 'user:1')
    await a.broker.retract({ to: 'user:1', what: { id: retracted } })
    const left = await send(a, 'group:a')
    await a.broker.leave('1', 'a')
    const cases: Record<string, number> = {
      'somebody else\'s': await send(a, 'user:2'),
      'of a group that they are not in': await send(a, 'group:c'),
      'of before the join': before,
      'of a group that they left': left,
      replaced,
      'taken back': retracted,
      'only replayed': await send(a, 'user:1', 3, { keep: 'replay' }),
      'no id of anybody': await now(a),
      'of the future': Number.MAX_SAFE_INTEGER
    }
    const messages = new Set<string>()
    for (const [name, id] of Object.entries(cases)) {
      for (const as of ['read', 'unread', 'dismissed'] as const) {
        const error = await refusal(a.broker.mark(reader, id, as))
        t.type(error, NoNotification, `${as}: ${name}`)
        messages.add((error as Error).message)
      }
    }
    t.equal(messages.size, 1)
    t.ok([...messages][0]!.includes(' '), 'a sentence')
  })

  t.test('marks, of whoever leaves and joins again, do not come back', async (t) => {
    const a = await (await make(t))()
    await a.broker.join('1', 'a')
    await now(a, '1')
    const ids = [await send(a, 'group:a'), await send(a, 'group:a')]
    await a.broker.moveCursor(reader, 'read', ids[1]!)
    t.match(await a.broker.mark(reader, ids[0]!, 'unread'), { unread: 1 })
    await a.broker.leave('1', 'a')
    t.match(await countsOf(a), { unread: 0, unseen: 0 })
    await a.broker.join('1', 'a')
    t.match(await countsOf(a), { unread: 0, unseen: 0 })
  })

  t.test('what was dismissed in a group that was left, stays so when it is joined again, though marks had to make room', async (t) => {
    const a = await (await make(t, { historyLength: 2000 }))()
    await a.broker.join('1', 'a')
    const cursor = await now(a, '1')
    const dismissed = await send(a, 'group:a')
    await a.broker.mark(reader, dismissed, 'dismissed')
    await a.broker.leave('1', 'a')
    const ids: number[] = []
    for (let i = 0; i < MAX_MARKS; i += 50) ids.push(...await Promise.all(Array.from({ length: 50 }, () => send(a, 'user:1'))))
    for (let i = 1; i < MAX_MARKS; i += 50) await Promise.all(ids.slice(i, i + 50).map((id) => a.broker.mark(reader, id, 'read')))
    t.type(await refusal(a.broker.mark(reader, ids[0]!, 'read')), TooManyMarks)
    await a.broker.retract({ to: 'user:1', what: { id: ids[1]! } })
    t.match(await a.broker.mark(reader, ids[0]!, 'read'), { unread: 0 }, 'what was taken back makes room')
    await a.broker.join('1', 'a')
    t.notOk(idsOf(entriesOf(await readPages(a, { cursor }))).includes(dismissed))
  })

  t.test('marks, up to the limit, are kept; those of what has left make room; one more is refused', async (t) => {
    const a = await (await make(t, { historyLength: 2000 }))()
    const start = await now(a, '1')
    const ids: number[] = []
    for (let i = 0; i < MAX_MARKS + 50; i += 50) ids.push(...await Promise.all(Array.from({ length: 50 }, () => send(a, 'user:1'))))
    ids.sort((one, other) => one - other)
    for (let i = 0; i < MAX_MARKS; i += 50) await Promise.all(ids.slice(i, i + 50).map((id, j) => a.broker.mark(reader, id, (['read', 'dismissed'] as const)[j % 2]!)))
    const next = ids.slice(MAX_MARKS)
    const error = await refusal(a.broker.mark(reader, next[0]!, 'read'))
    t.type(error, TooManyMarks)
    t.match((error as Error).message, /cursor/)
    t.match(await a.broker.mark(reader, ids[0]!, 'dismissed'), { seen: 0 }, 'a mark may still change')
    t.match(await a.broker.mark(reader, next[0]!, 'unread'), { seen: 0 }, 'and what is so already is no mark')
    await a.broker.retract({ to: 'user:1', what: { id: ids[3]! } })
    const brief = await send(a, 'user:1', 'brief', { ttlSeconds: 3 })
    t.match(await a.broker.mark(reader, brief, 'dismissed'), { seen: 0 }, 'what was taken back makes room')
    t.type(await refusal(a.broker.mark(reader, next[0]!, 'read')), TooManyMarks)
    await becomes(async () => await now(a) >= brief + 3_000_000, 'three seconds of the broker\'s clock')
    t.match(await a.broker.mark(reader, next[0]!, 'read'), { seen: 0 }, 'what has expired makes room')
    t.type(await refusal(a.broker.mark(reader, next[1]!, 'read')), TooManyMarks)
    await a.broker.moveCursor(reader, 'read', ids[9]!)
    for (const id of next.slice(1, 10)) await a.broker.mark(reader, id, 'read')
    t.type(await refusal(a.broker.mark(reader, next[10]!, 'read')), TooManyMarks, 'the cursor has passed nine: read, or dismissed')
    await a.broker.moveCursor(reader, 'read', ids[MAX_MARKS - 1]!)
    for (const id of next.slice(10)) await a.broker.mark(reader, id, 'dismissed')
    await a.broker.moveCursor(reader, 'read', next.at(-1)!)
    const dismissed = new Set([ids[0], ...ids.slice(0, MAX_MARKS).filter((_, i) => i % 2 === 1), ...next.slice(10)])
    const shown = ids.filter((id) => !dismissed.has(id) && id !== ids[3])
    t.same(idsOf(entriesOf(await readPages(a, { cursor: start }))), shown, 'what was dismissed is not shown again')
    const listed: number[] = []
    for (let before: number | undefined, isOn = true; isOn; isOn = before !== undefined) {
      const page = await listOf(a, '1', { before })
      listed.push(...idsOf(page.notifications))
      before = page.next
    }
    t.same(listed, shown.reverse())
    t.type(await refusal(a.broker.mark(reader, ids[0]!, 'unread')), NoNotification)
    t.match(await a.broker.mark(reader, ids[0]!, 'dismissed'), { unread: 0 }, 'it is so already')
  })
}
