// The one timer: heartbeats round and round, each deadline in its second whatever the clock does, and the spread of a drain.
import t, { type Test } from 'tap'
import { Clockwork, type Due } from '../../src/hub/clockwork.ts'
import type { Stream } from '../../src/hub/stream.ts'

interface Rig {
  readonly clockwork: Clockwork
  /** What was due: the stream's name, what for, and in which second after the start. */
  readonly dues: Array<[name: string, due: Due, second: number]>
  readonly beats: string[][]
  readonly seconds: number[]
  /** Milliseconds on the clock, so many seconds after the start. */
  at: (second: number) => number
  /** Lets time pass, second by second. */
  pass: (count: number) => void
  /** The clock shows another second from now on. */
  set: (second: number) => void
  add: (name: string) => Stream
}

function start (heartbeatSeconds: number): Rig {
  const startMs = 7_000_000
  const names = new Map<Stream, string>()
  let now = 0
  const rig: Rig = {
    dues: [],
    beats: [],
    seconds: [],
    at: (second) => startMs + second * 1000,
    pass: (count) => {
      for (let i = 0; i < count; i++) {
        now++
        rig.clockwork.tick()
      }
    },
    set: (second) => { now = second },
    add: (name) => {
      const stream = {} as Stream
      names.set(stream, name)
      rig.clockwork.add(stream)
      return stream
    },
    clockwork: new Clockwork(heartbeatSeconds, () => startMs + now * 1000, {
      onDue: (stream, due) => { rig.dues.push([names.get(stream)!, due, now]) },
      onHeartbeat: (streams) => { rig.beats.push([...streams].map((stream) => names.get(stream)!)) },
      onSecond: () => { rig.seconds.push(now) }
    })
  }
  return rig
}

t.test('heartbeat, of a stream, comes four seconds after it was added and then each round', async (t) => {
  const { beats, add, pass, seconds } = start(6)
  add('a')
  pass(1)
  add('b')
  pass(10)
  t.same(beats, [[], [], [], ['a'], ['b'], [], [], [], [], ['a'], ['b']])
  t.same(seconds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
})

t.test('heartbeat, of a round shorter than that, comes within the first one', async (t) => {
  for (const heartbeatSeconds of [1, 2, 3, 4]) {
    const { beats, add, pass } = start(heartbeatSeconds)
    add('a')
    pass(2 * heartbeatSeconds)
    t.equal(beats.slice(0, heartbeatSeconds).flat().length, 1, `${heartbeatSeconds} seconds`)
    t.equal(beats.flat().length, 2)
  }
})

t.test('heartbeat, every second, is one slot', async (t) => {
  const { beats, add, pass } = start(1)
  add('a')
  pass(2)
  t.same(beats, [['a'], ['a']])
})

t.test('due, planned, comes in its second, rounded up, once', async (t) => {
  const { clockwork, dues, add, at, pass } = start(15)
  clockwork.plan(add('a'), at(3), 'age')
  clockwork.plan(add('b'), at(2) + 1, 'expired')
  clockwork.plan(add('c'), at(5), 'expiring')
  pass(10)
  t.same(dues, [['b', 'expired', 3], ['a', 'age', 3], ['c', 'expiring', 5]])
})

t.test('due, at any moment of a second, comes at the next tick', async (t) => {
  for (const phaseMs of [0, 1, 400, 999]) {
    let nowMs = 7_000_000 + phaseMs
    const late: number[] = []
    const clockwork = new Clockwork(15, () => nowMs, { onDue: () => { late.push(nowMs) }, onHeartbeat: () => {}, onSecond: () => {} })
    const owed = [1, 2, 300, 500, 501, 999, 1000].map((ms) => 7_002_000 + ms)
    for (const atMs of owed) {
      const stream = {} as Stream
      clockwork.add(stream)
      clockwork.plan(stream, atMs, 'expired')
    }
    for (let i = 0; i < 5; i++) {
      nowMs += 1000
      clockwork.tick()
    }
    t.equal(late.length, owed.length)
    t.ok(late.every((ms, i) => ms >= owed[i]! && ms < owed[i]! + 1000), `ticks at ${phaseMs}`)
  }
})

t.test('due, planned for the past or for now, comes in the next second', async (t) => {
  const { clockwork, dues, add, at, pass } = start(15)
  pass(2)
  clockwork.plan(add('a'), at(-100), 'expired')
  clockwork.plan(add('b'), at(2), 'expired')
  t.same(dues, [])
  pass(1)
  t.same(dues, [['a', 'expired', 3], ['b', 'expired', 3]])
})

t.test('due, planned anew, comes when it was last planned for', async (t) => {
  const { clockwork, dues, add, at, pass } = start(15)
  const [a, b] = [add('a'), add('b')]
  clockwork.plan(a, at(2), 'expiring')
  clockwork.plan(a, at(4), 'expired')
  clockwork.plan(b, at(4), 'age')
  clockwork.plan(b, at(1), 'abandon')
  pass(5)
  t.same(dues, [['b', 'abandon', 1], ['a', 'expired', 4]])
})

t.test('due, never, comes never', async (t) => {
  const { clockwork, dues, add, pass } = start(15)
  clockwork.plan(add('a'), Infinity, 'age')
  pass(100)
  t.same(dues, [])
})

t.test('due, planned from within another, comes later', async (t) => {
  const { clockwork, at } = start(15)
  const dues: Array<[Due, number]> = []
  const stream = {} as Stream
  let now = 0
  const inner = new Clockwork(15, () => at(now), {
    onDue: (stream, due) => {
      dues.push([due, now])
      if (due === 'expiring') inner.plan(stream, at(now), 'expired')
    },
    onHeartbeat: () => {},
    onSecond: () => {}
  })
  t.ok(clockwork)
  inner.add(stream)
  inner.plan(stream, at(2), 'expiring')
  for (now = 1; now < 5; now++) inner.tick()
  t.same(dues, [['expiring', 2], ['expired', 3]])
})

t.test('removed stream, is due for nothing and gets no heartbeat', async (t) => {
  const { clockwork, dues, beats, add, at, pass } = start(2)
  const [a, b] = [add('a'), add('b')]
  clockwork.plan(a, at(2), 'age')
  clockwork.plan(b, at(2), 'age')
  t.equal(clockwork.size, 2)
  clockwork.remove(a)
  clockwork.remove(a)
  t.equal(clockwork.size, 1)
  clockwork.plan(a, at(3), 'age')
  pass(4)
  t.same(dues, [['b', 'age', 2]])
  t.same(beats, [[], ['b'], [], ['b']])
})

t.test('process, that stood still or was slow, steps over no deadline and repeats none', async (t) => {
  const { clockwork, dues, add, at, pass, set } = start(15)
  for (const second of [3, 30, 59, 61, 200, 5000, 5001, 9000]) clockwork.plan(add(`${second}`), at(second), 'age')
  pass(2)
  set(99)
  pass(1)
  t.same(dues.map(([name]) => name), ['3', '30', '59', '61'], 'a process that slept catches up')
  set(50)
  pass(60)
  t.equal(dues.length, 4, 'a clock set back does nothing twice')
  set(5999)
  pass(1)
  t.same(dues.slice(4), [['200', 'age', 6000], ['5000', 'age', 6000], ['5001', 'age', 6000]])
  set(100)
  clockwork.plan(add('late'), at(101), 'expired')
  pass(1)
  t.match(dues.at(-1), ['late', 'expired', 101])
  set(6000)
  pass(3000)
  t.match(dues.at(-1), ['9000', 'age', 9000])
})

t.test('drain, of no stream, is done', async (t) => {
  await start(1).clockwork.drain(60_000, () => { t.fail() })
})

t.test('drain, asked for twice, is done for both when the last stream has gone, and again for one that comes later', async (t) => {
  const { clockwork, add } = start(1)
  const stream = add('a')
  const both = Promise.all([clockwork.drain(0, () => {}), clockwork.drain(0, () => {})])
  clockwork.remove(stream)
  await both
  const late = add('late')
  let isDone = false
  const third = clockwork.drain(0, () => {}).then(() => { isDone = true })
  await new Promise((resolve) => { setImmediate(resolve) })
  t.notOk(isDone)
  clockwork.remove(late)
  await third
})

async function drained (t: Test, spreadMs: number, count: number): Promise<{ times: number[], took: number }> {
  const clockwork = new Clockwork(1, () => performance.now(), { onDue: () => {}, onHeartbeat: () => {}, onSecond: () => {} })
  const add = (name: string): Stream => {
    const stream = { name } as unknown as Stream
    clockwork.add(stream)
    return stream
  }
  const streams = Array.from({ length: count }, (_, i) => add(`${i}`))
  const ended: Stream[] = []
  const times: number[] = []
  const startedAt = performance.now()
  await clockwork.drain(spreadMs, (stream) => {
    ended.push(stream)
    times.push(performance.now() - startedAt)
    setImmediate(() => { clockwork.remove(stream) })
  })
  t.same(ended.length, count)
  t.ok(ended.every((stream, i) => stream === streams[i]), 'oldest first, each once')
  t.equal(clockwork.size, 0)
  return { times, took: performance.now() - startedAt }
}

t.test('drain, over no time, ends all at once and waits for the last to go', async (t) => {
  const { clockwork, add } = start(1)
  const streams = Array.from({ length: 50 }, (_, i) => add(`${i}`))
  const ended: Stream[] = []
  const draining = clockwork.drain(0, (stream) => { ended.push(stream) })
  t.same(ended.length, 50)
  for (const stream of streams.slice(1)) clockwork.remove(stream)
  t.notOk(await Promise.race([draining.then(() => true), new Promise((resolve) => { setImmediate(resolve) })]), 'one is still there')
  clockwork.remove(streams[0]!)
  await draining
})

t.test('drain, over a time, never ends more than its share', async (t) => {
  const { times, took } = await drained(t, 500, 100)
  const early = times.filter((time, i) => (i + 1) / 100 > (time + 50 + 25) / 500)
  t.same(early, [])
  t.ok(took >= 400, `${Math.round(took)} ms`)
})

t.test('deadlines, missed in a sleep of minutes, are kept in their order, and none before its time', async (t) => {
  const { clockwork, dues, add, at, set } = start(1)
  for (const [name, second] of [['later', 200], ['first', 100], ['last', 300]] as const) clockwork.plan(add(name), at(second), 'age')
  set(250)
  clockwork.tick()
  t.same(dues.map(([name]) => name), ['first', 'later'])
  clockwork.plan(add('within a millisecond'), at(250.0006), 'age')
  set(250.0004)
  clockwork.tick()
  t.equal(dues.length, 2)
  set(250.001)
  clockwork.tick()
  t.same(dues.at(-1)!.slice(0, 2), ['within a millisecond', 'age'])
})
