// Which streams belong to which channel: subscribed once for all, told when it failed, and given up late.
import t from 'tap'
import type { Stream } from '../../src/hub/stream.ts'
import { Channels } from '../../src/hub/channels.ts'

interface Call { readonly addresses: readonly string[], readonly answer: () => void, readonly fail: (error: Error) => void }

function start (): { channels: Channels, calls: Call[], unsubscribed: string[][], clock: { nowMs: number }, stream: () => Stream } {
  const calls: Call[] = []
  const unsubscribed: string[][] = []
  const clock = { nowMs: 1_000_000 }
  const broker = {
    subscribe: (addresses: readonly string[]) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      calls.push({ addresses, answer: resolve, fail: reject })
      return promise
    },
    unsubscribe: (names: readonly string[]) => { unsubscribed.push([...names]) }
  }
  return { channels: new Channels(broker, () => clock.nowMs), clock, calls, unsubscribed, stream: () => ({ channels: [] }) as unknown as Stream }
}

const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(() => { setImmediate(resolve) }) })
const namesOf = (stream: Stream): string[] => stream.channels.map(({ name }) => name)

/** Whether a promise has resolved by the next turn. */
async function isDone (promise: Promise<unknown>): Promise<boolean> {
  let done = false
  promise.then(() => { done = true }, () => {})
  await turn()
  return done
}

t.test('channels, asked for by many streams, are subscribed once each, and who comes later does not wait', async (t) => {
  const { channels, calls, stream } = start()
  const [a, b] = [stream(), stream()]
  for (const name of ['user:1', 'all', 'all']) channels.add(a, name)
  for (const name of ['user:2', 'all']) channels.add(b, name)
  const both = Promise.all([channels.subscribed(a), channels.subscribed(b)])
  t.same(calls.map(({ addresses }) => addresses), [['user:1'], ['all'], ['user:2']], 'at once: the broker asks for them together')
  t.same([namesOf(a), namesOf(b)], [['user:1', 'all'], ['user:2', 'all']])
  t.equal(channels.size, 3)
  t.same(channels.get('all')!.streams, new Set([a, b]))
  for (const { answer } of calls.slice(1)) answer()
  t.notOk(await isDone(both))
  calls[0]!.answer()
  await both
  const c = stream()
  channels.add(c, 'all')
  await channels.subscribed(c)
  t.equal(calls.length, 3)
})

t.test('channel, that could not be subscribed, is told to all who wait and asked for anew by the next', async (t) => {
  const { channels, calls, stream } = start()
  const [a, b, c] = [stream(), stream(), stream()]
  for (const one of [a, b]) for (const name of ['user:1', 'all']) channels.add(one, name)
  const waits = [a, b].map((one) => channels.subscribed(one).then(() => 'subscribed', (error: Error) => error.message))
  calls[0]!.answer()
  calls[1]!.fail(new Error('away'))
  t.same(await Promise.all(waits), ['away', 'away'])
  t.equal(channels.size, 1)
  t.same([namesOf(a), namesOf(b)], [['user:1'], ['user:1']])
  channels.add(c, 'all')
  channels.add(a, 'all')
  t.same(calls[2]!.addresses, ['all'])
  calls[2]!.answer()
  await Promise.all([channels.subscribed(c), channels.subscribed(a)])
})

t.test('channels, that could not be subscribed and nobody waits for, disturb nobody', async (t) => {
  const { channels, calls, stream } = start()
  const a = stream()
  channels.add(a, 'all')
  await turn()
  channels.removeAll(a)
  calls[0]!.fail(new Error('away'))
  await turn()
  t.equal(channels.size, 0)
})

t.test('channels, left by the last stream, are given up five seconds later, in one call', async (t) => {
  const { channels, calls, unsubscribed, clock, stream } = start()
  const [a, b] = [stream(), stream()]
  for (const address of ['user:1', 'all', 'group:x']) channels.add(a, address)
  channels.add(b, 'all')
  await turn()
  for (const { answer } of calls) answer()
  await channels.subscribed(a)
  channels.remove(a, 'group:x')
  channels.remove(a, 'group:x')
  channels.remove(a, 'group:never')
  t.same(namesOf(a), ['user:1', 'all'])
  channels.removeAll(a)
  channels.removeAll(a)
  t.same(namesOf(a), [])
  clock.nowMs += 4000
  channels.sweep()
  t.same(unsubscribed, [])
  t.equal(channels.size, 3)
  clock.nowMs += 2000
  channels.sweep()
  t.same(unsubscribed, [['group:x', 'user:1']])
  t.equal(channels.size, 1, 'what another stream has stays')
  clock.nowMs += 60_000
  channels.sweep()
  t.equal(unsubscribed.length, 1)
})

t.test('channels, taken up again within the time, are not given up, and need no new subscription', async (t) => {
  const { channels, calls, unsubscribed, clock, stream } = start()
  const [a, b] = [stream(), stream()]
  channels.add(a, 'all')
  await turn()
  for (const { answer } of calls) answer()
  await channels.subscribed(a)
  channels.removeAll(a)
  channels.add(b, 'all')
  clock.nowMs += 60_000
  channels.sweep()
  t.same(unsubscribed, [])
  await channels.subscribed(b)
  t.equal(calls.length, 1)
})

t.test('channels, still being subscribed, are not given up before that is done', async (t) => {
  const { channels, calls, unsubscribed, clock, stream } = start()
  const a = stream()
  channels.add(a, 'all')
  await turn()
  channels.removeAll(a)
  clock.nowMs += 60_000
  channels.sweep()
  t.same(unsubscribed, [])
  calls[0]!.answer()
  await turn()
  clock.nowMs += 60_000
  channels.sweep()
  t.same(unsubscribed, [['all']])
})

t.test('channels, while the line is broken, count as not subscribed until it is restored', async (t) => {
  const { channels, calls, stream } = start()
  const a = stream()
  channels.add(a, 'all')
  await turn()
  for (const { answer } of calls) answer()
  await channels.subscribed(a)
  channels.interrupted(() => true)
  channels.interrupted(() => true)
  const wait = channels.subscribed(a)
  t.notOk(await isDone(wait))
  channels.restored(() => true)
  await wait
  channels.restored(() => true)
  await channels.subscribed(a)
})

t.test('channels, of which some are interrupted, keep only those streams waiting that have one of them', async (t) => {
  const { channels, calls, stream } = start()
  const [a, b] = [stream(), stream()]
  for (const name of ['user:1', 'all']) channels.add(a, name)
  channels.add(b, 'user:2')
  await turn()
  for (const { answer } of calls) answer()
  await Promise.all([channels.subscribed(a), channels.subscribed(b)])
  channels.interrupted((name) => name !== 'user:2')
  const wait = channels.subscribed(a)
  await channels.subscribed(b)
  channels.restored((name) => name === 'all')
  t.notOk(await isDone(wait), 'one is not heard yet')
  channels.restored((name) => name === 'user:1')
  await wait
})

t.test('channels, that a stream follows, are those that are named, each kept, taken up or left', async (t) => {
  const { channels, stream } = start()
  const a = stream()
  for (const name of ['user:1', 'all', 'group:x']) channels.add(a, name)
  t.equal(channels.follow(a, ['user:1', 'all', 'group:y', 'group:z']), 2)
  t.same(namesOf(a), ['user:1', 'all', 'group:y', 'group:z'])
  t.equal(channels.follow(a, ['all', 'user:1']), 0)
  t.same(namesOf(a), ['user:1', 'all'])
  t.equal(channels.get('group:x')!.streams.size, 0)
})
