// The contract of a broker, continued: ids, channels, and who hears what.
import type { Test } from 'tap'
import { type Address, groupAddress, userAddress } from '../../src/notification.ts'
import { entriesOf, isGrowing, type MakeBackend, now, readPages, request, send } from './contract.ts'

export function publishing (t: Test, make: MakeBackend): void {
  t.test('ids, over all addresses and nodes, strictly grow and are microseconds', async (t) => {
    const node = await make(t)
    const nodes = [await node(), await node(), await node()]
    const before = Date.now() * 1000
    const ids: number[] = []
    for (let i = 0; i < 60; i++) {
      ids.push(await send(nodes[i % 3]!, ['user:1', 'group:a', 'all', `user:${i}x`]))
    }
    t.equal(ids.length, 60)
    t.ok(isGrowing(ids), 'each greater than the one before')
    t.ok(Math.abs(ids[0]! - before) < 60_000_000, 'and about now')
    t.ok(await now(nodes[0]!) > ids.at(-1)!, 'and so is a position')
  })

  t.test('ids, taken by many at once, are never the same', async (t) => {
    const node = await make(t)
    const nodes = [await node(), await node()]
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => nodes[i % 2]!.broker.publish(request(['user:1', 'all']))))
    t.equal(new Set(answers.map(({ id }) => id)).size, 200)
  })

  t.test('channels, many at once, are heard by every node in id order with event and data intact', async (t) => {
    const node = await make(t)
    const [a, b, c] = [await node(), await node(), await node()]
    await Promise.all([a, b].map(({ broker }) => broker.subscribe(['user:1', 'group:a', 'group:b', 'all'])))
    const addresses = ['user:1', 'group:a', 'all', 'group:b', 'user:2']
    const sent = await Promise.all(Array.from({ length: 300 }, (_, i) =>
      [a, b, c][i % 3]!.broker.publish(request(addresses[i % 5]!, { i, text: 'é\u2028\r\n\0😀\ud800' }, { event: i % 2 === 0 ? 'message' : 'stock' }))))
    const owed = sent.flatMap(({ id, notifications: [one] }, i) => one!.to === 'user:2'
      ? []
      : [{ to: one!.to, id: id!, event: i % 2 === 0 ? 'message' : 'stock', json: JSON.stringify({ i, text: 'é\u2028\r\n\0😀\ud800' }) }])
    owed.sort((one, other) => one.id - other.id)
    for (const { ear } of [a, b]) {
      await ear.count(owed.length)
      if (make.hasLocalIds !== true) t.same(ear.heard, owed)
      else {
        const seen = (heard: readonly object[]) => heard.map((one) => JSON.stringify({ ...one, id: 0 })).sort()
        t.same(seen(ear.heard), seen(owed))
        t.ok(isGrowing(ear.notifications.map(({ id }) => id)))
      }
    }
    t.same(c.ear.heard, [], 'who subscribed to nothing hears nothing')
  })

  t.test('receivers, are the nodes that took it', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await a.broker.subscribe(['user:1', 'all'])
    await b.broker.subscribe(['all'])
    const { replayed, notifications } = await b.broker.publish(request(['user:1', 'user:2', 'all']))
    t.equal(replayed, false)
    t.same(notifications.map(({ to, receivers }) => [to, receivers]), [['user:1', 1], ['user:2', 0], ['all', 2]])
  })

  t.test('publish, to 1,000 addresses, reaches each with the one id, in the order given', async (t) => {
    const node = await make(t)
    const { broker, ear } = await node()
    const to = Array.from({ length: 1000 }, (_, i) => i % 2 === 0 ? userAddress(`${i}`) : groupAddress(`${i}`))
    await broker.subscribe(to)
    t.equal(broker.state().channels, 1000)
    const { id, notifications } = await broker.publish(request(to, 'x', { idempotencyKey: 'k' }))
    t.same(notifications, to.map((to) => ({ to, receivers: 1 })))
    await ear.count(1000)
    const heard = ear.notifications.map(({ to, id }) => [to, id] as const)
    // Each partition has its addresses in its own time, and with an id of its own.
    if (make.hasLocalIds === true) t.same(heard.map(([to]) => to).sort(), [...to].sort())
    else t.same(heard, to.map((to) => [to, id]))
    t.same(await broker.publish(request(to, 'x', { idempotencyKey: 'k' })), { replayed: true, id, notifications }, 'and a replay tells all of it again')
  })

  t.test('idempotency, the same key again from another node, publishes nothing and returns the first answer', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await a.broker.subscribe(['user:1', 'user:2'])
    const first = await a.broker.publish(request(['user:1', 'user:2'], 1, { idempotencyKey: 'k1' }))
    t.equal(first.replayed, false)
    t.same(await b.broker.publish(request('user:2', 'something else', { idempotencyKey: 'k1' })), { ...first, replayed: true })
    t.same(await b.broker.publish(request('user:2', 'something else', { idempotencyKey: 'k1' })), { ...first, replayed: true }, 'and again')
    const other = await b.broker.publish(request('user:1', 2, { idempotencyKey: 'k2' }))
    t.equal(other.replayed, false, 'another key is another matter')
    const fence = await send(b, 'user:2', 3)
    await a.ear.id(fence)
    t.same(a.ear.notifications.map(({ json }) => json), ['1', '1', '2', '3'])
  })

  t.test('idempotency, of a publish to more addresses than are kept with an answer, returns all of them', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    const to = Array.from({ length: 1000 }, (_, i) => `user:${String(i).padStart(128, '0')}` as const)
    await a.broker.subscribe([to[7]!])
    const first = await a.broker.publish(request(to, 1, { idempotencyKey: 'k' }))
    t.same(first.notifications.map(({ to }) => to), to)
    t.same(first.notifications.filter(({ receivers }) => receivers > 0).map(({ to }) => to), [to[7]])
    for (const again of [to, [...to].reverse(), [...to.slice(500), 'user:more', ...to.slice(0, 500)] as const]) {
      t.same(await b.broker.publish(request(again, 1, { idempotencyKey: 'k' })), { ...first, replayed: true })
    }
    // Not all of the addresses are kept with the answer. Those that the request names are found again.
    const { replayed, id, notifications } = await b.broker.publish(request(['user:more', to[7]!, to[999]!], 1, { idempotencyKey: 'k' }))
    t.match({ replayed, id }, { replayed: true, id: first.id })
    t.match(notifications[7], { to: to[7], receivers: 1 })
    t.match(notifications.at(-1), { to: to[999], receivers: 0 })
    const isGiven = new Set(first.notifications.map(({ to }) => to))
    t.ok(notifications.every(({ to }) => isGiven.has(to)), 'nothing is said of what was not published')
  })

  t.test('idempotency, without a key, publishes each time', async (t) => {
    const { broker, ear } = await (await make(t))()
    await broker.subscribe(['all'])
    for (let i = 0; i < 3; i++) t.equal((await broker.publish(request('all'))).replayed, false)
    await ear.count(3)
  })

  t.test('idempotency, one key from two nodes at once, publishes once', async (t) => {
    const node = await make(t)
    const nodes = [await node(), await node()]
    await nodes[0]!.broker.subscribe(['user:1'])
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all(Array.from({ length: 6 }, (_, i) =>
        nodes[i % 2]!.broker.publish(request('user:1', { round, i }, { idempotencyKey: `key ${round}` }))))
      t.equal(answers.filter(({ replayed }) => !replayed).length, 1)
      t.equal(new Set(answers.map(({ id, notifications }) => JSON.stringify([id, notifications]))).size, 1, 'all get the same answer')
    }
    await nodes[0]!.ear.id(await send(nodes[1]!, 'user:1', 'fence'))
    t.equal(nodes[0]!.ear.notifications.length, 21)
  })

  t.test('subscribe, once acknowledged, hears the very next notification', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    for (let i = 0; i < 50; i++) {
      await a.broker.subscribe([`user:${i}`])
      const { id, notifications: [one] } = await b.broker.publish(request(`user:${i}`, i))
      t.equal(one!.receivers, 1)
      await a.ear.id(id!)
    }
    t.equal(a.ear.notifications.length, 50)
  })

  t.test('subscribe, twice, hears once', async (t) => {
    const node = await make(t)
    const a = await node()
    await Promise.all([a.broker.subscribe(['user:1']), a.broker.subscribe(['user:1', 'all'])])
    const { notifications: [one] } = await a.broker.publish(request('user:1'))
    t.equal(one!.receivers, 1)
    await a.ear.id(await send(a, 'all', 'fence'))
    t.equal(a.ear.notifications.length, 2)
    t.equal(a.broker.state().channels, 2)
  })

  t.test('unsubscribe, hears nothing more, and a new subscription hears again', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await a.broker.subscribe(['user:1', 'group:a', 'all'])
    a.broker.unsubscribe(['user:1', 'group:a'])
    await a.broker.subscribe(['user:fence'])
    t.equal((await b.broker.publish(request('user:1'))).notifications[0]!.receivers, 0)
    t.equal((await b.broker.publish(request('group:a'))).notifications[0]!.receivers, 0)
    t.equal((await b.broker.publish(request('all'))).notifications[0]!.receivers, 1)
    t.equal(a.broker.state().channels, 2)
    a.broker.unsubscribe(['all'])
    await a.broker.subscribe(['user:1', 'all'])
    await a.ear.id(await send(b, 'user:1', 'again'))
    t.same(a.ear.notifications.map(({ to }) => to), ['all', 'user:1'])
  })

  t.test('unsubscribe, from what was never subscribed, is harmless', async (t) => {
    const a = await (await make(t))()
    a.broker.unsubscribe(['user:1'])
    a.broker.unsubscribe([])
    await a.broker.subscribe([])
    await a.broker.subscribe(['user:1'])
    await a.ear.id(await send(a, 'user:1'))
    t.equal(a.broker.state().channels, 1)
  })

  t.test('a channel, asked what it is of, says the address, also of a group with slashes', async (t) => {
    const { broker } = await (await make(t))()
    for (const address of ['all', 'user:1', 'group:a', 'group:1/2/b', 'group:/']) t.equal(broker.addressOf(broker.channelOf('1', address)), address)
  })

  t.test('addresses, of every script and with separators, are distinct', async (t) => {
    const a = await (await make(t))()
    const names = ['*', '?', '[a]', 'a b', 'a:b', 'ü', '日本', '😀'.repeat(128), '\\', '"', 'constructor', '__proto__', '-1', '0']
    await a.broker.subscribe(names.map(userAddress))
    const sent: Array<{ to: Address, id: number }> = []
    for (const name of names) sent.push({ to: userAddress(name), id: await send(a, userAddress(name)) })
    await a.ear.id(sent.at(-1)!.id)
    t.same(a.ear.notifications.map(({ to, id }) => ({ to, id })), sent)
    const read = await Promise.all(names.map(async (userId) => entriesOf(await readPages(a, { userId, cursor: sent[0]!.id - 1 })).map(({ id }) => id)))
    t.same(read, sent.map(({ id }) => [id]))
  })

  t.test('state, of a broker that works, is up; closed, it is not and hears nothing more', async (t) => {
    const node = await make(t)
    const [a, b] = [await node(), await node()]
    await a.broker.subscribe(['user:1', 'all'])
    t.match(a.broker.state(), { up: true, detail: String, channels: 2 })
    await b.broker.subscribe(['all'])
    await a.broker.close()
    t.equal(a.broker.state().up, false)
    const { notifications } = await b.broker.publish(request(['user:1', 'all']))
    await b.ear.count(1)
    t.ok(notifications[1]!.receivers <= 2)
    t.same(a.ear.heard, [], 'not even that the line is interrupted')
    await a.broker.close()
    t.pass('to close it again is harmless')
  })
}
