// The embedded broker keeps the contract; and, its clock turned by hand, what takes a day elsewhere.
import t, { type Test } from 'tap'
import { MemoryBroker } from '../../src/broker/memory/memory.ts'
import { MemoryBus } from '../../src/broker/memory/bus.ts'
import { contract, enter, entriesOf, identityOf, idsOf, isGrowing, limits, listOf, type MakeBackend, type Node, now, readerOf, readPages, request, send, visitorOf } from './contract.ts'
import { Ear } from './ear.ts'

function sit (t: Test, bus: MemoryBus): Node {
  const broker = new MemoryBroker(bus)
  const ear = new Ear()
  broker.start(ear)
  t.teardown(() => broker.close())
  return { broker, ear }
}

const make: MakeBackend = async (t, { bornSecondsAgo = 0, ...options } = {}) => {
  let behindMs = bornSecondsAgo * 1000
  const bus = new MemoryBus({ ...limits, ...options, nowMs: () => Date.now() - behindMs })
  behindMs = 0
  return async () => sit(t, bus)
}

contract('memory', make)

function turned (t: Test, options = {}): { a: Node, bus: MemoryBus, clock: { ms: number } } {
  const clock = { ms: 1_763_794_000_000 }
  const bus = new MemoryBus({ ...limits, ...options, nowMs: () => clock.ms, steadyMs: () => clock.ms })
  return { a: sit(t, bus), bus, clock }
}

t.test('memory ids, when the clock stands still or is set back, still grow', async (t) => {
  const { a, clock } = turned(t)
  const ids = [await send(a, 'all'), await send(a, 'all')]
  clock.ms -= 3_600_000
  ids.push(await send(a, 'all'), await now(a), await send(a, 'all'))
  clock.ms += 7_200_000
  ids.push(await send(a, 'all'))
  t.ok(isGrowing(ids))
  t.equal(ids.at(-1), clock.ms * 1000)
})

t.test('memory idempotency, after 24 hours, publishes again', async (t) => {
  const { a, clock } = turned(t)
  const publish = async (): Promise<boolean> => (await a.broker.publish(request('all', 1, { idempotencyKey: 'k' }))).replayed
  t.equal(await publish(), false)
  clock.ms += 86_399_000
  t.equal(await publish(), true)
  clock.ms += 1000
  t.equal(await publish(), false)
})

t.test('memory log, after its time, is gone, swept or not', async (t) => {
  const { a, bus, clock } = turned(t, { historySeconds: 100 })
  await send(a, 'user:1', 'old')
  const cursor = await now(a)
  clock.ms += 99_000
  const id = await send(a, 'user:1', 'keeps the log')
  clock.ms += 99_000
  t.match(await readPages(a, { cursor }), [{ gap: true, inbox: { unread: 1 }, entries: [{ id }] }])
  t.match(await readPages(a, { cursor: 1 }), [{ gap: true, inbox: { unread: 1 }, entries: { length: 2 } }], 'what is older than the history may be replayed, and is not counted')
  t.match(await listOf(a), { notifications: [{ id }], next: undefined, complete: true })
  clock.ms += 1000
  t.match(await readPages(a, { cursor: id }), [{ gap: false, inbox: { unread: 0 }, entries: [] }])
  bus.sweep()
  const fresh = await send(a, 'user:1', 'new')
  t.same(entriesOf(await readPages(a, { cursor: id })).map(({ id }) => id), [fresh])
  t.match(await readPages(a, { cursor: id - 1 }), [{ gap: true }])
})

t.test('memory listeners, are never called from within the call that publishes', async (t) => {
  const { a } = turned(t)
  await a.broker.subscribe(['all'])
  const publishing = a.broker.publish(request('all'))
  t.same(a.ear.heard, [])
  await publishing
  await a.ear.count(1)
})

t.test('memory membership, of a claim, outlives the token by the history, so that nobody comes back to a hole', async (t) => {
  const { a, bus, clock } = turned(t, { historySeconds: 100 })
  const second = clock.ms / 1000
  const user = { userId: '1', issuedAtSeconds: second, expiresAtSeconds: second + 50 }
  const resume = async (cursor: number | 'fresh', groups?: readonly string[]) =>
    await a.broker.resume({ user, groups, admittedAt: Number.MAX_SAFE_INTEGER, cursor, maxBytes: 1000 })
  await resume('fresh', ['a'])
  clock.ms += 50_000
  const cursor = await now(a)
  const id = await send(a, 'group:a')
  clock.ms += 99_000
  bus.sweep()
  t.match(await resume(cursor), { gap: false, entries: [{ id }] })
  clock.ms += 151_000
  bus.sweep()
  t.equal((await a.broker.groups('1')).size, 0)
  await a.broker.join('2', 'a')
  clock.ms += 1_000_000
  bus.sweep()
  t.equal((await a.broker.groups('2')).size, 1, 'what the routes gave has no end')
})

t.test('memory membership, left by the routes, is remembered while an older token may live', async (t) => {
  const { a, bus, clock } = turned(t, { historySeconds: 100 })
  const iat = clock.ms / 1000
  await a.broker.visit({ userId: 'somebody', issuedAtSeconds: iat, expiresAtSeconds: iat + 200_000 })
  await a.broker.join('1', 'stays')
  await a.broker.leave('1', 'a')
  clock.ms += 199_000_000
  bus.sweep()
  t.same([...(await enter(a.broker, '1', { groups: ['a'], issuedAtSeconds: iat })).keys()], ['stays'])
  clock.ms += 2_000_000
  bus.sweep()
  t.same([...(await enter(a.broker, '1', { groups: ['a'], issuedAtSeconds: iat })).keys()].sort(), ['a', 'stays'])
})

t.test('memory inbox, a history after its last change, forgets its cursors and nothing comes back', async (t) => {
  const { a, bus, clock } = turned(t, { historySeconds: 100 })
  await now(a, '1')
  const ids = [await send(a, 'user:1'), await send(a, 'user:1')]
  await a.broker.moveCursor(readerOf('1'), 'read', ids[0]!)
  await a.broker.mark(readerOf('1'), ids[1]!, 'dismissed')
  clock.ms += 99_000
  t.match(await listOf(a), { read: ids[0], unread: 0, notifications: [{ id: ids[0], isRead: true }] })
  clock.ms += 2000
  const later = await send(a, 'user:1')
  bus.sweep()
  t.match(await listOf(a), { read: 0, unread: 1, notifications: [{ id: later }] })
})

t.test('memory ordinals, begin anew when the last of them is forgotten', async (t) => {
  const { a, clock } = turned(t)
  const next = async (seconds: number) => await a.broker.ordinal(a.broker.homeOf('1'), 'o', seconds)
  t.same([await next(100), await next(10)], [1, 2])
  clock.ms += 99_000
  t.equal(await next(1), 3)
  clock.ms += 1000
  t.equal(await next(1), 1)
})

t.test('memory, when the time is set back by an hour: what lasts a minute lasts a minute', async (t) => {
  const clock = { wallMs: 1_763_794_000_000, steadyMs: 5000 }
  const a = sit(t, new MemoryBus({ ...limits, nowMs: () => clock.wallMs, steadyMs: () => clock.steadyMs }))
  const home = a.broker.homeOf('1')
  await a.broker.put(home, 'ticket', 'x', 30)
  t.match(await a.broker.hit(home, 'k', 60_000), { count: 1, restMs: 60_000 })
  clock.wallMs -= 3_600_000
  clock.steadyMs += 29_000
  t.match(await a.broker.hit(home, 'k', 60_000), { count: 2, restMs: 31_000 })
  t.equal(await a.broker.get(home, 'ticket'), 'x')
  clock.steadyMs += 31_000
  t.match(await a.broker.hit(home, 'k', 60_000), { count: 1, restMs: 60_000 })
  t.equal(await a.broker.get(home, 'ticket'), undefined)
})

t.test('memory, when the time leaps ahead, still knows who is in a claimed group', async (t) => {
  const clock = { wallMs: 1_763_794_000_000, steadyMs: 5000 }
  const bus = new MemoryBus({ ...limits, nowMs: () => clock.wallMs, steadyMs: () => clock.steadyMs })
  const a = sit(t, bus)
  await enter(a.broker, '1', { groups: ['g'], issuedAtSeconds: clock.wallMs / 1000 })
  clock.wallMs += 700 * 86_400_000
  clock.steadyMs += 1000
  bus.sweep()
  const cursor = await send(a, 'group:g', 'its stream hears this')
  const id = await send(a, 'group:g', 'while it is away')
  const visit = visitorOf('1', { groups: ['g'], issuedAtSeconds: clock.wallMs / 1000 })
  t.match(await a.broker.resume({ ...visit, cursor, maxBytes: 1e6 }), { gap: false, entries: [{ id }] })
  clock.steadyMs += (limits.historySeconds + 3600) * 1000
  bus.sweep()
  t.same((await a.broker.resume({ ...visitorOf('1'), cursor: 'fresh', maxBytes: 1 })).membership, new Map(), 'in the end it is forgotten')
})

t.test('memory logout, is remembered for 30 days, or as long as tokens live', async (t) => {
  const { a, bus, clock } = turned(t)
  const iat = clock.ms / 1000 - 10
  await a.broker.logout('1')
  clock.ms += 30 * 86_400_000 - 1000
  bus.sweep()
  t.match(await a.broker.visit(identityOf('1', iat)), { verdict: 'revoked' })
  await a.broker.visit({ userId: '2', issuedAtSeconds: iat, expiresAtSeconds: iat + 100 * 86_400 })
  await a.broker.logout('1')
  clock.ms += 99 * 86_400_000
  t.match(await a.broker.visit(identityOf('1', iat)), { verdict: 'revoked' })
})

t.test('memory resume, of somebody in 1,000 full groups, costs what its page costs', async (t) => {
  const { a } = turned(t)
  const groups = Array.from({ length: 1000 }, (_, i) => `g${i}`)
  await a.broker.replaceGroups('1', groups)
  const cursor = await now(a, '1')
  const ids: number[] = []
  for (let i = 0; i < 120; i++) ids.push(await send(a, groups.map((group) => `group:${group}`)))
  const startedAt = performance.now()
  t.same(idsOf(entriesOf(await readPages(a, { cursor, maxBytes: 30 }))), ids)
  t.match(await listOf(a), { unread: 100, next: ids[20] })
  t.ok(performance.now() - startedAt < 5000)
})

t.test('memory resume, of 24,000 copies, or of as many that expired, comes in pages between which others have their turn', async (t) => {
  const groups = Array.from({ length: 1000 }, (_, i) => `g${i}`)
  const to = groups.map((group): `group:${string}` => `group:${group}`)
  const resume = async (a: Node, cursor: number) => {
    let turns = 0
    let isOver = false
    const take = (): void => {
      turns++
      if (!isOver) setImmediate(take)
    }
    setImmediate(take)
    const pages = await readPages(a, { cursor })
    isOver = true
    t.ok(pages.length >= 5 && turns >= pages.length - 1, `${pages.length} pages, ${turns} turns`)
    t.ok(pages.every(({ gap }) => !gap))
    return idsOf(entriesOf(pages))
  }
  const { a, clock } = turned(t)
  await a.broker.replaceGroups('1', groups)
  const cursor = await now(a, '1')
  const ids: number[] = []
  for (let i = 0; i < 24; i++) ids.push(await send(a, to))
  t.same(await resume(a, cursor), ids)

  const later = await now(a, '1')
  for (let i = 0; i < 24; i++) for (const address of to) await a.broker.publish(request(address, i, { ttlSeconds: 1 }))
  const last = await send(a, 'user:1')
  clock.ms += 2000
  t.same(await resume(a, later), [last])
})

t.test('memory resume, of many small ones, comes in pages of 1,024', async (t) => {
  const { a } = turned(t)
  await a.broker.replaceGroups('1', ['a', 'b'])
  const cursor = await now(a, '1')
  const ids: number[] = []
  for (let i = 0; i < 1800; i++) ids.push(await send(a, i % 2 === 0 ? 'group:a' : 'group:b'))
  const pages = await readPages(a, { cursor, maxBytes: 131_072 })
  t.same(pages.map(({ entries }) => entries.length), [1024, 776])
  t.same(idsOf(entriesOf(pages)), ids)
})

t.test('receipts, of more than 100,000 notifications or 64 nodes, push the oldest out, or are not kept', async (t) => {
  const { a: { broker: { trail } } } = turned(t)
  const receipt = { atMs: 1, streams: 1 }
  for (let i = 0; i < 70; i++) trail.wrote(`n${i}`, 'all', 2, receipt)
  for (const id of [1, ...Array.from({ length: 99_999 }, (_, i) => 3 + i)]) trail.wrote('n', 'all', id, receipt)
  t.same((await Promise.all([1, 2, 3, 100_001].map(async (id) => (await trail.evidence('1', id)).receipts.length))), [1, 0, 1, 1])
  trail.wrote('n', 'all', 100_002, receipt)
  t.equal((await trail.evidence('1', 1)).receipts.length, 0)
  for (let i = 0; i < 70; i++) trail.wrote(`n${i}`, 'all', 100_003, receipt)
  t.equal((await trail.evidence('1', 100_003)).receipts.length, 64)
})
