// Which streams belong to which address: subscribed once for all, told when it failed, and given up late.
import t from 'tap'
import type { Broker } from '../../src/broker/broker.ts'
import type { Stream } from '../../src/hub/stream.ts'
import { Topics } from '../../src/hub/topics.ts'

interface Call { readonly addresses: readonly string[], readonly answer: () => void, readonly fail: (error: Error) => void }

function start (): { topics: Topics, calls: Call[], unsubscribed: string[][], stream: () => Stream } {
  const calls: Call[] = []
  const unsubscribed: string[][] = []
  const broker = {
    subscribe: (addresses: readonly string[]) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      calls.push({ addresses, answer: resolve, fail: reject })
      return promise
    },
    unsubscribe: (addresses: string[]) => { unsubscribed.push(addresses) }
  } as unknown as Broker
  return { topics: new Topics(broker), calls, unsubscribed, stream: () => ({ topics: [] }) as unknown as Stream }
}

const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(() => { setImmediate(resolve) }) })
const addressesOf = (stream: Stream): string[] => stream.topics.map(({ address }) => address)

/** Whether a promise has resolved by the next turn. */
async function isDone (promise: Promise<unknown>): Promise<boolean> {
  let done = false
  promise.then(() => { done = true }, () => {})
  await turn()
  return done
}

t.test('topics, asked for in one turn by many streams, are subscribed in one call, each once', async (t) => {
  const { topics, calls, stream } = start()
  const [a, b] = [stream(), stream()]
  for (const address of ['user:1', 'all', 'all']) topics.add(a, address)
  for (const address of ['user:2', 'all']) topics.add(b, address)
  const both = Promise.all([topics.subscribed(a), topics.subscribed(b)])
  t.notOk(await isDone(both))
  t.same(calls.map(({ addresses }) => addresses), [['user:1', 'all', 'user:2']])
  t.same([addressesOf(a), addressesOf(b)], [['user:1', 'all'], ['user:2', 'all']])
  t.equal(topics.size, 3)
  t.same(topics.get('all')!.streams, new Set([a, b]))
  calls[0]!.answer()
  await both
  const c = stream()
  topics.add(c, 'all')
  await topics.subscribed(c)
  await turn()
  t.equal(calls.length, 1, 'and who comes later does not wait')
})

t.test('topics, asked for while others are under way, wait for these and are one call then', async (t) => {
  const { topics, calls, stream } = start()
  const [a, b, c] = [stream(), stream(), stream()]
  topics.add(a, 'all')
  await turn()
  topics.add(b, 'all')
  topics.add(b, 'user:2')
  await turn()
  topics.add(c, 'user:3')
  const done = Promise.all([b, c].map((one) => topics.subscribed(one)))
  await turn()
  t.same(calls.map(({ addresses }) => addresses), [['all']])
  calls[0]!.answer()
  t.notOk(await isDone(done))
  t.same(calls.slice(1).map(({ addresses }) => addresses), [['user:2', 'user:3']])
  calls[1]!.answer()
  await done
})

t.test('topics, asked for while others are under way that fail, are asked for all the same', async (t) => {
  const { topics, calls, stream } = start()
  const [a, b] = [stream(), stream()]
  topics.add(a, 'all')
  await turn()
  topics.add(b, 'user:2')
  const done = topics.subscribed(b)
  calls[0]!.fail(new Error('away'))
  await turn()
  calls[1]!.answer()
  await done
  t.same(addressesOf(b), ['user:2'])
})

t.test('topics, that could not be subscribed, are told to all who wait and asked for anew by the next', async (t) => {
  const { topics, calls, stream } = start()
  const [a, b, c] = [stream(), stream(), stream()]
  for (const one of [a, b]) for (const address of ['user:1', 'all']) topics.add(one, address)
  const waits = [a, b].map((one) => topics.subscribed(one).then(() => 'subscribed', (error: Error) => error.message))
  await turn()
  calls[0]!.fail(new Error('away'))
  t.same(await Promise.all(waits), ['away', 'away'])
  t.equal(topics.size, 0)
  t.same([addressesOf(a), addressesOf(b)], [[], []])
  topics.add(c, 'all')
  topics.add(a, 'all')
  await turn()
  t.same(calls[1]!.addresses, ['all'])
  calls[1]!.answer()
  await Promise.all([topics.subscribed(c), topics.subscribed(a)])
})

t.test('topics, that could not be subscribed and nobody waits for, disturb nobody', async (t) => {
  const { topics, calls, stream } = start()
  const a = stream()
  topics.add(a, 'all')
  await turn()
  topics.removeAll(a)
  calls[0]!.fail(new Error('away'))
  await turn()
  t.equal(topics.size, 0)
})

t.test('topics, left by the last stream, are given up five seconds later, in one call', async (t) => {
  const { topics, calls, unsubscribed, stream } = start()
  const [a, b] = [stream(), stream()]
  for (const address of ['user:1', 'all', 'group:x']) topics.add(a, address)
  topics.add(b, 'all')
  await turn()
  calls[0]!.answer()
  await topics.subscribed(a)
  topics.remove(a, 'group:x')
  topics.remove(a, 'group:x')
  topics.remove(a, 'group:never')
  t.same(addressesOf(a), ['user:1', 'all'])
  topics.removeAll(a)
  topics.removeAll(a)
  t.same(addressesOf(a), [])
  const now = Date.now()
  topics.sweep(now + 4000)
  t.same(unsubscribed, [])
  t.equal(topics.size, 3)
  topics.sweep(now + 6000)
  t.same(unsubscribed, [['group:x', 'user:1']])
  t.equal(topics.size, 1, 'what another stream has stays')
  topics.sweep(now + 60_000)
  t.equal(unsubscribed.length, 1)
})

t.test('topics, taken up again within the time, are not given up, and need no new subscription', async (t) => {
  const { topics, calls, unsubscribed, stream } = start()
  const [a, b] = [stream(), stream()]
  topics.add(a, 'all')
  await turn()
  calls[0]!.answer()
  await topics.subscribed(a)
  topics.removeAll(a)
  topics.add(b, 'all')
  topics.sweep(Date.now() + 60_000)
  t.same(unsubscribed, [])
  await topics.subscribed(b)
  t.equal(calls.length, 1)
})

t.test('topics, still being subscribed, are not given up before that is done', async (t) => {
  const { topics, calls, unsubscribed, stream } = start()
  const a = stream()
  topics.add(a, 'all')
  await turn()
  topics.removeAll(a)
  topics.sweep(Date.now() + 60_000)
  t.same(unsubscribed, [])
  calls[0]!.answer()
  await turn()
  topics.sweep(Date.now() + 60_000)
  t.same(unsubscribed, [['all']])
})

t.test('topics, while the line is broken, count as not subscribed until it is restored', async (t) => {
  const { topics, calls, stream } = start()
  const a = stream()
  topics.add(a, 'all')
  await turn()
  calls[0]!.answer()
  await topics.subscribed(a)
  topics.interrupted()
  topics.interrupted()
  const wait = topics.subscribed(a)
  t.notOk(await isDone(wait))
  topics.restored()
  await wait
  topics.restored()
  await topics.subscribed(a)
})
