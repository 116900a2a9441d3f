// The embedded broker keeps the contract; and, its clock turned by hand, what takes a day elsewhere.
import t, { type Test } from 'tap'
import { MemoryBroker } from '../../src/broker/memory/memory.ts'
import { MemoryBus } from '../../src/broker/memory/bus.ts'
import { contract, entriesOf, isGrowing, limits, type MakeBackend, type Node, now, readPages, request, send } from './contract.ts'
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
  const bus = new MemoryBus({ ...limits, ...options, nowMs: () => clock.ms })
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
  t.match(await readPages(a, { cursor }), [{ gap: true, unread: 2, entries: [{ id }] }])
  clock.ms += 1000
  t.match(await readPages(a, { cursor: id }), [{ gap: false, unread: 0, entries: [] }])
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
