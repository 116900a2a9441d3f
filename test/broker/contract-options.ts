// The contract of a broker, continued: what a publisher can say of a notification, and take back.
import type { Test } from 'tap'
import type { Keep } from '../../src/notification.ts'
import { entriesOf, idsOf, listOf, type MakeBackend, now, readPages, request, send } from './contract.ts'
import { becomes } from './nodes.ts'

const TEXTS = ['12345678901234567890', '1.10', '1e400', '-0.0', '{"b":1,"a":2,"b":3}', '"\\u0041\\/"', '[ 1 , { "a" : null } ]', '"é😀"']

export function options (t: Test, make: MakeBackend): void {
  t.test('one id, over several addresses, is heard on each and shown once', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    for (const group of ['a', 'b']) await a.broker.join('1', group)
    await a.broker.subscribe(['user:1', 'group:a', 'group:b', 'all'])
    const cursor = await now(a, '1')
    const to = ['group:b', 'all', 'group:a', 'user:1']
    const { id, notifications } = await b.broker.publish(request(to))
    t.same(notifications, to.map((to) => ({ to, receivers: 1 })))
    await a.ear.count(4)
    const heard = a.ear.notifications.map(({ to, id }) => [to, id] as const)
    if (make.hasLocalIds === true) heard.sort(([one], [other]) => to.indexOf(one) - to.indexOf(other))
    t.same(heard, to.map((to) => [to, id]))
    const later = await send(b, ['group:a', 'user:1'])
    for (const maxBytes of [1, 100]) t.same(idsOf(entriesOf(await readPages(b, { cursor, maxBytes }))), [id, later])
    t.match(await listOf(b), { unseen: 2, unread: 2, notifications: [{ id: later, to: 'user:1' }, { id, to: 'user:1' }] })
    t.same(idsOf(entriesOf(await readPages(b, { userId: '{1}2', cursor }))), [id], 'who is addressed one way has it, too')
  })

  t.test('one id, of several addresses, is said to have come by user before group before all, groups by name', async (t) => {
    const a = await (await make(t))()
    for (const group of ['b', 'a', 'ab']) await a.broker.join('1', group)
    for (const to of [['all'], ['all', 'group:b'], ['group:b', 'group:ab'], ['group:ab', 'group:a'], ['group:a', 'all', 'user:1']]) await send(a, to)
    t.same((await listOf(a)).notifications.map(({ to }) => to), ['user:1', 'group:a', 'group:ab', 'group:b', 'all'])
    for (let i = 0; i < 9; i++) await send(a, 'user:1')
    t.same((await listOf(a)).notifications.slice(9).map(({ to }) => to), ['user:1', 'group:a', 'group:ab', 'group:b', 'all'], 'wherever it stands in its log')
  })

  t.test('groups by name, of names in every script, stand in the order of their bytes', async (t) => {
    const a = await (await make(t))()
    const names = ['-', 'B', 'Z z', 'a', 'a-', 'aB', 'b', 'é', 'ｆ', '😀']
    for (const name of names) await a.broker.join('1', name)
    for (const [i, name] of names.entries()) await send(a, [...names.slice(i), name].reverse().map((name): `group:${string}` => `group:${name}`))
    t.same((await listOf(a)).notifications.map(({ to }) => to), names.map((name) => `group:${name}`).reverse())
  })

  t.test('an address, named twice, is named once', async (t) => {
    const a = await (await make(t))()
    const cursor = await now(a)
    t.match(await a.broker.publish(request(['user:1', 'all', 'user:1'])), { notifications: { length: 2 } })
    t.equal(entriesOf(await readPages(a, { cursor })).length, 1)
    await send(a, 'user:1')
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: { length: 2 } }])
  })

  t.test('data, of texts that a parser would change, arrives, is replayed and listed as it came', async (t) => {
    const a = await (await make(t))()
    await a.broker.subscribe(['user:1'])
    const cursor = await now(a)
    for (const json of TEXTS) await a.broker.publish({ ...request('user:1'), json })
    await a.ear.count(TEXTS.length)
    t.same(a.ear.notifications.map(({ json }) => json), TEXTS)
    t.same(entriesOf(await readPages(a, { cursor })).map(({ json }) => json), TEXTS)
    t.same((await listOf(a)).notifications.map(({ json }) => json).reverse(), TEXTS)
  })

  t.test('keep, of each kind, is heard by all, replayed and listed as it says', async (t) => {
    const a = await (await make(t))()
    await a.broker.subscribe(['user:1'])
    const cursor = await now(a, '1')
    const ids = new Map<Keep, number | undefined>()
    for (const keep of ['none', 'replay', 'inbox'] as const) {
      const { id, notifications } = await a.broker.publish(request('user:1', keep, { keep }))
      t.equal(notifications[0]!.receivers, 1)
      ids.set(keep, id)
    }
    t.equal(ids.get('none'), undefined)
    await a.ear.count(3)
    t.same(a.ear.notifications.map(({ id, json }) => [json, id]), [['"none"', 0], ['"replay"', ids.get('replay')], ['"inbox"', ids.get('inbox')]])
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: [{ json: '"replay"' }, { json: '"inbox"' }], inbox: { unseen: 1, unread: 1 } }])
    t.match(await listOf(a), { unread: 1, next: undefined, notifications: [{ id: ids.get('inbox') }], complete: true })
    t.equal((await listOf(a)).notifications.length, 1)
  })

  t.test('keep none, to several addresses, says on each that it is the same', async (t) => {
    const a = await (await make(t))()
    await a.broker.subscribe(['user:1', 'all'])
    for (let i = 0; i < 2; i++) await a.broker.publish(request(['user:1', 'all'], i, { keep: 'none', traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` }))
    await a.broker.publish(request('user:1', 2, { keep: 'none' }))
    await a.broker.publish(request(['user:1', 'all'], 3))
    await a.ear.count(7)
    const heard = a.ear.notifications
    const tags = [0, 1].map((data) => heard.filter(({ json }) => json === String(data)).map(({ once }) => once))
    t.ok(tags.every(([one, other]) => typeof one === 'string' && one === other), JSON.stringify(tags))
    t.not(tags[0]![0], tags[1]![0])
    t.ok(heard.filter(({ json }) => json === '2' || json === '3').every(({ once }) => once === undefined))
  })

  t.test('keep none, with an idempotency key, is sent once, too', async (t) => {
    const a = await (await make(t))()
    await a.broker.subscribe(['user:1'])
    const publish = async () => await a.broker.publish(request('user:1', 'x', { keep: 'none', idempotencyKey: 'k' }))
    const first = await publish()
    t.same(await publish(), { ...first, replayed: true })
    await a.ear.id(await send(a, 'user:1', 'fence'))
    t.equal(a.ear.notifications.length, 2)
  })

  t.test('ttl, once over, is not replayed, listed or counted, and no gap', async (t) => {
    const a = await (await make(t))()
    const cursor = await now(a, '1')
    const short = await send(a, 'user:1', 'short', { ttlSeconds: 1 })
    const long = await send(a, 'user:1', 'long', { ttlSeconds: 60 })
    t.match(await listOf(a), { unread: 2, notifications: [{ id: long }, { id: short }] })
    await becomes(async () => await now(a) >= short + 1_000_000, 'a second of the broker\'s clock')
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: [{ id: long }], inbox: { unseen: 1, unread: 1 } }])
    t.match(await listOf(a), { unread: 1, complete: true, notifications: [{ id: long }] })
    t.equal(await a.broker.retract({ to: 'user:1', what: { id: short } }), false)
  })

  t.test('key, of a newer one, takes the older one\'s place at its own address, and is no gap', async (t) => {
    const a = await (await make(t))()
    await a.broker.join('1', 'a')
    await a.broker.subscribe(['user:1'])
    const cursor = await now(a, '1')
    const first = await send(a, 'user:1', 1, { key: 'k' })
    const other = await send(a, 'user:1', 2, { key: 'other' })
    const group = await send(a, 'group:a', 3, { key: 'k' })
    const second = await send(a, 'user:1', 4, { key: 'k', event: 'changed' })
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: [{ id: other }, { id: group }, { id: second }], inbox: { unread: 3 } }])
    t.match(await listOf(a), { complete: true, notifications: [{ id: second, key: 'k' }, { id: group, key: 'k' }, { id: other, key: 'other' }] })
    await a.ear.id(second)
    t.same(idsOf(a.ear.notifications), [first, other, second], 'live, both were heard')
    t.match(await readPages(a, { cursor: first }), [{ gap: false, entries: { length: 3 } }])
    for (let i = 0; i < 10; i++) await send(a, 'user:1', i, { key: 'k' })
    t.equal((await listOf(a)).notifications.length, 3)
  })

  t.test('key, over kinds of keep, replaces but for none, which only passes by', async (t) => {
    const a = await (await make(t))()
    const cursor = await now(a, '1')
    const inbox = await send(a, 'user:1', 1, { key: 'k' })
    await a.broker.publish(request('user:1', 2, { key: 'k', keep: 'none' }))
    t.same(idsOf((await listOf(a)).notifications), [inbox])
    const replay = await send(a, 'user:1', 3, { key: 'k', keep: 'replay' })
    t.match(await listOf(a), { notifications: { length: 0 }, unread: 0 })
    t.match(await readPages(a, { cursor }), [{ gap: false, entries: [{ id: replay }] }])
    t.equal((await readPages(a, { cursor }))[0]!.entries.length, 1)
  })

  t.test('key, of several addresses at once, replaces at each', async (t) => {
    const a = await (await make(t))()
    await a.broker.join('1', 'a')
    await now(a, '1')
    await send(a, ['user:1', 'group:a'], 1, { key: 'k' })
    const second = await send(a, 'user:1', 2, { key: 'k' })
    t.match(await listOf(a), { notifications: [{ id: second }, { to: 'group:a' }] }, 'the other address still has the older one')
    const third = await send(a, ['user:1', 'group:a'], 3, { key: 'k' })
    t.same(idsOf((await listOf(a)).notifications), [third])
  })

  t.test('a key, of every script, is kept as it is', async (t) => {
    const a = await (await make(t))()
    await now(a, '1')
    const keys = ['k', '😀'.repeat(128), 'a b', '*', '0', '-1', '__proto__', '"', '\\', 'user:1']
    for (const key of keys) for (const data of [1, 2]) await send(a, 'user:1', data, { key })
    const { notifications } = await listOf(a)
    t.same(notifications.map(({ key }) => key).reverse(), keys)
    for (const key of keys) t.equal(await a.broker.retract({ to: 'user:1', what: { key } }), true, key)
    t.match(await listOf(a), { notifications: { length: 0 }, complete: true })
  })

  t.test('retract, by id or by key, is told on the address, gone everywhere, and no gap', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await a.broker.join('1', 'a')
    await a.broker.subscribe(['group:a', 'user:1'])
    const cursor = await now(a, '1')
    const plain = await send(b, 'group:a', 1)
    const keyed = await send(b, 'group:a', 2, { key: 'k' })
    const stays = await send(b, 'group:a', 3, { key: 'other', keep: 'replay' })
    t.equal(await b.broker.retract({ to: 'group:a', what: { id: plain } }), true)
    t.equal(await b.broker.retract({ to: 'group:a', what: { key: 'k' } }), true)
    t.match(await readPages(b, { cursor }), [{ gap: false, entries: [{ id: stays }], inbox: { unread: 0 } }])
    t.match(await listOf(b), { notifications: { length: 0 }, complete: true })
    const { ear } = a
    await ear.until(() => ear.events('retracted').length === 2 ? true : undefined, 'both')
    t.match(ear.events('retracted').map(({ to, id, data }) => ({ to, id, data })), [
      { to: 'group:a', id: 0, data: { to: 'group:a', id: String(plain) } },
      { to: 'group:a', id: 0, data: { to: 'group:a', id: String(keyed), key: 'k' } }
    ])
    t.ok(ear.events('retracted').every(({ asOf }) => asOf! > stays))
    t.equal(await b.broker.retract({ to: 'group:a', what: { key: 'other' } }), true, 'also what is only replayed')
    t.match(await readPages(b, { cursor }), [{ gap: false, entries: { length: 0 } }])
  })

  t.test('retract, of what is not there, is false and tells nobody', async (t) => {
    const a = await (await make(t))()
    await a.broker.subscribe(['user:1', 'user:2', 'all'])
    const id = await send(a, 'user:1', 1, { key: 'k' })
    const newer = await send(a, 'user:1', 2, { key: 'k' })
    for (const what of [{ id }, { id: 1 }, { id: newer + 1 }, { id: Number.MAX_SAFE_INTEGER }, { key: 'K' }]) t.equal(await a.broker.retract({ to: 'user:1', what }), false, JSON.stringify(what))
    for (const to of ['user:2', 'all', 'group:nobody']) {
      t.equal(await a.broker.retract({ to, what: { id: newer } }), false, to)
      t.equal(await a.broker.retract({ to, what: { key: 'k' } }), false, to)
    }
    t.equal(await a.broker.retract({ to: 'user:1', what: { key: 'k' } }), true)
    t.equal(await a.broker.retract({ to: 'user:1', what: { key: 'k' } }), false, 'twice')
    t.equal(await a.broker.retract({ to: 'user:1', what: { id: newer } }), false, 'twice, by id')
    await a.ear.id(await send(a, 'all', 'fence'))
    t.equal(a.ear.events('retracted').length, 1)
  })

  t.test('retract, from one of several addresses, leaves the others', async (t) => {
    const a = await (await make(t))()
    await now(a, '1')
    const id = await send(a, ['user:1', 'all'])
    await a.broker.retract({ to: 'user:1', what: { id } })
    t.match(await listOf(a), { unread: 1, notifications: [{ id, to: 'all' }] })
    await a.broker.retract({ to: 'all', what: { id } })
    t.match(await listOf(a), { unread: 0, notifications: { length: 0 } })
  })

  for (const to of ['user:1', 'group:a', 'all']) {
    t.test(`a trim of the log of ${to}, with entries taken out on purpose, is told exactly`, async (t) => {
      const length = to === 'user:1' ? { historyLength: 20, groupHistoryLength: 1000 } : { historyLength: 1000, groupHistoryLength: 20 }
      const a = await (await make(t, { ...length, bornSecondsAgo: 100 }))()
      await a.broker.join('1', 'a')
      const cursor = await now(a, '1')
      const ids: number[] = []
      for (let i = 0; i < 60; i++) ids.push(await send(a, to, i, i % 3 === 0 ? { key: `k${i % 2}` } : {}))
      for (const id of [ids[1]!, ids[58]!]) await a.broker.retract({ to, what: { id } })
      t.match(await readPages(a, { cursor }), [{ gap: false }], 'none was trimmed')
      const before = ids.filter((_, i) => i !== 1 && i !== 58 && (i % 3 !== 0 || i >= 54))
      t.same(idsOf(entriesOf(await readPages(a, { cursor }))), before)
      while (before.length < 120) before.push(await send(a, to))
      const kept = idsOf(entriesOf(await readPages(a, { cursor })))
      t.same(kept, before.slice(-20))
      const trimmed = before.at(-21)!
      t.match(await readPages(a, { cursor: trimmed - 1 }), [{ gap: true }])
      t.match(await readPages(a, { cursor: trimmed }), [{ gap: false, entries: { length: 20 } }])
      t.equal((await listOf(a)).complete, false)
      await a.broker.retract({ to, what: { id: kept[0]! } })
      await a.broker.retract({ to, what: { id: kept.at(-1)! } })
      t.match(await readPages(a, { cursor: trimmed }), [{ gap: false, entries: { length: 18 } }], 'what goes on purpose moves nothing')
      t.match(await readPages(a, { cursor: trimmed - 1 }), [{ gap: true }])
    })
  }
}
