// The contract of a broker, continued: what is read after a cursor, page by page, and when it may be incomplete.
import type { Test } from 'tap'
import { ALL, groupAddress, MAX_UNREAD, userAddress } from '../../src/notification.ts'
import { entriesOf, isGrowing, type MakeBackend, now, readerOf, readPages, request, send, visitorOf } from './contract.ts'

const SECOND = 1_000_000

export function history (t: Test, make: MakeBackend): void {
  t.test('history, without a cursor, is the clock and the unread count alone', async (t) => {
    const a = await (await make(t))()
    const id = await send(a, 'user:1')
    const page = await a.broker.resume({ ...visitorOf('1'), cursor: 'fresh', maxBytes: 1000 })
    t.match(page, { gap: false, more: false, inbox: { unread: 1 } })
    t.same(page.entries, [])
    t.ok(page.position > id)
    t.ok(await send(a, 'user:1') > page.position, 'what comes later is after the position')
  })

  t.test('history, after a cursor, merges what is addressed to the user by id and nothing else', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    for (const group of ['a', 'b']) await a.broker.join('1', group)
    await now(a, '1')
    const addresses = [userAddress('1'), ALL, groupAddress('a'), groupAddress('b'), userAddress('2'), groupAddress('c')]
    const sent: Array<{ id: number, event: string, json: string }> = []
    for (let i = 0; i < 60; i++) {
      const id = await send([a, b][i % 2]!, addresses[(i * 7) % 6]!, { i }, { event: `e${i % 3}` })
      if ((i * 7) % 6 < 4) sent.push({ id, event: `e${i % 3}`, json: JSON.stringify({ i }) })
    }
    for (const from of [0, 1, 17, 38, 39]) {
      const [page, ...more] = await readPages(b, { cursor: sent[from]!.id })
      t.same(page!.entries, sent.slice(from + 1), `after ${from}`)
      t.match(page, { gap: false, more: false, inbox: { unread: 40 } })
      t.ok(page!.position > sent.at(-1)!.id)
      t.equal(more.length, 0)
    }
    const halfway = Math.floor((sent[10]!.id + sent[11]!.id) / 2)
    t.same(entriesOf(await readPages(a, { cursor: halfway })), sent.slice(11), 'a cursor need not be anybody\'s id')
  })

  t.test('history, of users who come back at once, is what each of them would get alone', async (t) => {
    const node = await (await make(t))()
    const users = Array.from({ length: 24 }, (_, i) => `u${i}`)
    for (const [i, user] of users.entries()) {
      await node.broker.join(user, 'a')
      if (i % 5 === 0) await node.broker.join(user, 'b')
    }
    const sent: number[] = []
    for (let i = 0; i < 40; i++) {
      if (i === 20) for (const user of users.slice(0, 4)) await node.broker.leave(user, 'a')
      const to = i % 11 === 0 ? groupAddress('b') : i % 13 === 0 ? ALL : i % 7 === 0 ? userAddress(users[i % 24]!) : groupAddress('a')
      sent.push(await send(node, to, 'x'.repeat(100), { ...i % 9 === 0 && { keep: 'replay' }, ...i % 6 === 0 && { key: 'k' } }))
    }
    // Some miss nothing but these, of which others have dismissed one.
    for (let i = 0; i < 3; i++) sent.push(await send(node, groupAddress('a')))
    for (const user of users.slice(6, 12)) await node.broker.mark(readerOf(user), sent.at(-2)!, 'dismissed')
    for (const user of users.slice(8, 12)) await node.broker.moveCursor(readerOf(user), 'read', sent[30]!)
    for (const maxBytes of [131_072, 1000]) {
      const read = async (user: string, i: number): Promise<unknown> => {
        const pages = await readPages(node, { userId: user, cursor: sent[i % 2 === 0 ? 39 : i % 30]!, maxBytes })
        return [entriesOf(pages).map(({ id }) => id), pages.some(({ gap }) => gap), pages.at(-1)!.inbox]
      }
      const together = await Promise.all(users.map(read))
      for (const [i, user] of users.entries()) t.same(together[i], await read(user, i), `${user}, pages of ${maxBytes}`)
    }
  })

  t.test('history, of data with everything in it, comes back as one line of the same value', async (t) => {
    const a = await (await make(t))()
    const cursor = await now(a)
    const values = [null, true, 0, -1.5e-7, 1e21, '', 'é\u2028\u2029\r\n\t\0\x7f😀', '\ud800', [], {}, [[null]], { __proto__: null, a: { b: ['\\"'] } }, 'x'.repeat(65_534)]
    for (const value of values) await send(a, 'user:1', value)
    const entries = entriesOf(await readPages(a, { cursor }))
    t.same(entries.map(({ json }) => json), values.map((value) => JSON.stringify(value)))
  })

  t.test('history, of more than a page by bytes, is read in pages with nothing lost and nothing twice', async (t) => {
    const a = await (await make(t))()
    await a.broker.join('1', 'a')
    const cursor = await now(a, '1')
    const ids: number[] = []
    for (let i = 0; i < 40; i++) ids.push(await send(a, ['user:1', 'group:a', 'all'][i % 3]!, 'x'.repeat(998)))
    for (const [maxBytes, perPage] of [[4500, 4], [1000, 1], [10, 1], [40_000, 40]] as const) {
      const pages = await readPages(a, { cursor, maxBytes })
      t.same(entriesOf(pages).map(({ id }) => id), ids, `${maxBytes} bytes a page`)
      const full = pages.filter(({ more }) => more)
      // The last full one may turn out to have been the last: then an empty one follows.
      const extra = full.length - Math.ceil(40 / perPage) + 1
      t.ok(extra === 0 || (extra === 1 && pages.at(-1)!.entries.length === 0))
      for (const [i, page] of full.entries()) {
        t.match(page, { gap: false, entries: { length: perPage } })
        t.ok(page.position >= page.entries.at(-1)!.id && page.position < (pages[i + 1]!.entries[0]?.id ?? Infinity), 'a position between the pages')
      }
      t.equal(pages.at(-1)!.inbox.unread, 40)
      t.ok(isGrowing(pages.map(({ position }) => position)))
    }
  })

  t.test('history, of more than a page by count, from logs of very different lengths, loses nothing and brings nothing twice', async (t) => {
    const node = await make(t)
    const a = await node()
    for (const group of ['a', 'b', 'c']) await a.broker.join('1', group)
    const cursor = await now(a)
    const ids: number[] = []
    // A long log, then one that begins late, then an alternation; and one with but a single entry at the end.
    const plan = [...Array<string>(450).fill('user:1'), ...Array<string>(230).fill('group:a'), ...Array.from({ length: 300 }, (_, i) => ['all', 'group:b', 'user:1'][i % 3]!), 'group:c']
    for (let i = 0; i < plan.length; i += 50) {
      const answers = await Promise.all(plan.slice(i, i + 50).map((to) => a.broker.publish(request(to))))
      ids.push(...answers.map(({ id }) => id!))
    }
    ids.sort((one, other) => one - other)
    if (make.hasLocalIds === true) {
      const read = entriesOf(await readPages(a, { cursor })).map(({ id }) => id)
      t.equal(read.length, ids.length)
      t.ok(isGrowing(read))
      ids.splice(0, Infinity, ...read)
    }
    for (const maxBytes of [131_072, 300]) {
      const pages = await readPages(a, { cursor, maxBytes })
      t.same(entriesOf(pages).map(({ id }) => id), ids)
      t.ok(pages.every(({ gap }) => !gap), 'and nothing is said to be missing')
    }
    for (const count of [200, 199, 201, 400]) {
      const from = ids[ids.length - count - 1]!
      t.same(entriesOf(await readPages(a, { cursor: from })).map(({ id }) => id), ids.slice(-count), `exactly ${count}`)
    }
  })

  t.test('history, of an entry larger than a page, brings it alone', async (t) => {
    const a = await (await make(t))()
    const cursor = await now(a)
    const ids = [await send(a, 'user:1', 's'), await send(a, 'user:1', 'x'.repeat(5000)), await send(a, 'user:1', 's')]
    const pages = await readPages(a, { cursor, maxBytes: 100 })
    t.same(pages.map(({ entries }) => entries.map(({ id }) => id)), ids.map((id) => [id]))
  })

  t.test('history, while others publish, has a position that divides what was read from what comes', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await a.broker.subscribe(['user:1'])
    const cursor = await now(a)
    const publishing = Promise.all(Array.from({ length: 300 }, () => b.broker.publish(request('user:1'))))
    const pages = await readPages(a, { cursor, maxBytes: 100_000 })
    const ids = (await publishing).map(({ id }) => id!).sort((one, other) => one - other)
    await a.ear.count(300)
    const { position } = pages.at(-1)!
    const later = a.ear.notifications.map(({ id }) => id).filter((id) => id > position)
    t.same([...entriesOf(pages).map(({ id }) => id), ...later], ids)
  })

  t.test('gap, none, when the cursor is after the birth and every log is whole', async (t) => {
    const a = await (await make(t))()
    const cursor = await now(a)
    t.match(await a.broker.resume({ ...visitorOf('1'), cursor, maxBytes: 1000 }), { gap: false, entries: [] }, 'with nothing to read')
    for (let i = 0; i < 20; i++) await send(a, 'user:1')
    t.match(await readPages(a, { cursor }), [{ gap: false }])
  })

  t.test('gap, when the cursor is from before the history began', async (t) => {
    const a = await (await make(t))()
    const cursor = await now(a)
    const id = await send(a, 'user:1')
    for (const early of [1, cursor - 3600 * SECOND]) {
      const [page] = await readPages(a, { cursor: early })
      t.equal(page!.gap, true)
      t.same(page!.entries.map(({ id }) => id), [id], 'and what there is, is read')
    }
  })

  t.test('gap, when the cursor is older than the retention', async (t) => {
    const a = await (await make(t, { historySeconds: 100, bornSecondsAgo: 1000 }))()
    const position = await now(a)
    t.match(await readPages(a, { cursor: position - 50 * SECOND }), [{ gap: false }])
    t.match(await readPages(a, { cursor: position - 99 * SECOND }), [{ gap: false }])
    t.match(await readPages(a, { cursor: position - 101 * SECOND }), [{ gap: true }])
  })

  for (const to of ['user:1', 'group:a', 'all']) {
    t.test(`gap, when the log of ${to} was trimmed past the cursor`, async (t) => {
      const a = await (await make(t, { historyLength: 50, groupHistoryLength: 50, bornSecondsAgo: 1000 }))()
      await a.broker.join('1', 'a')
      await a.broker.join('2', 'b')
      const start = await now(a)
      const ids: number[] = []
      for (let i = 0; i < 400; i += 50) {
        const answers = await Promise.all(Array.from({ length: 50 }, () => a.broker.publish(request(to))))
        ids.push(...answers.map(({ id }) => id!))
      }
      ids.sort((one, other) => one - other)
      const pages = await readPages(a, { cursor: start })
      t.equal(pages[0]!.gap, true, 'before all of them')
      const kept = entriesOf(pages).map(({ id }) => id)
      t.ok(kept.length >= 50 && kept.length <= 250, `${kept.length} of them were kept, no fewer than the limit`)
      t.same(kept, ids.slice(-kept.length), 'the newest')
      t.match(await readPages(a, { cursor: ids[200 - 1]! }), [{ gap: true }], 'in the middle of what was trimmed')
      t.match(await readPages(a, { cursor: ids.at(-kept.length - 1)! }), [{ gap: false, entries: { length: kept.length } }], 'at the last that was trimmed')
      t.match(await readPages(a, { cursor: ids.at(-kept.length - 2)! }), [{ gap: true }], 'at the one before it')
      t.match(await readPages(a, { cursor: kept[0]! }), [{ gap: false, entries: { length: kept.length - 1 } }], 'at the first that was kept')
      t.match(await readPages(a, { cursor: ids.at(-1)! }), [{ gap: false, entries: { length: 0 } }], 'at the last')
      t.match(await readPages(a, { userId: '2', cursor: start }), [{ gap: to === 'all' }], 'for someone else only if it was for all')
    })
  }

  t.test('gap, when the cursor is from the future', async (t) => {
    const a = await (await make(t))()
    await send(a, 'user:1')
    for (const cursor of [await now(a) + 3600 * SECOND, Number.MAX_SAFE_INTEGER]) {
      const pages = await readPages(a, { cursor })
      t.match(pages, [{ gap: true, more: false }])
      t.same(entriesOf(pages), [])
      t.ok(pages[0]!.position < cursor, 'and the position is that of now')
      t.ok(await send(a, 'user:1') < cursor, 'which no id jumps over')
    }
  })

  t.test('unread, of everything that the user may see, is counted up to 100', async (t) => {
    const a = await (await make(t))()
    await send(a, 'group:a', 'before the join')
    await a.broker.join('1', 'a')
    const unread = async (): Promise<number> => (await a.broker.resume({ ...visitorOf('1'), cursor: 'fresh', maxBytes: 1 })).inbox.unread
    t.equal(await unread(), 0)
    for (const to of ['user:1', 'group:a', 'all', 'user:2', 'group:b']) await send(a, to)
    t.equal(await unread(), 3)
    for (let i = 0; i < 96; i++) await send(a, ['user:1', 'group:a', 'all'][i % 3]!)
    t.equal(await unread(), 99)
    await send(a, 'all')
    t.equal(await unread(), MAX_UNREAD)
    for (let i = 0; i < 20; i++) await send(a, 'user:1')
    t.equal(await unread(), MAX_UNREAD)
  })
}
