// How streams leave the hub: whatever the client does and whenever, no table keeps anything of it.
import t, { type Test } from 'tap'
import { frame } from './open-stream.ts'
import { door, hasId, idsOf, isEmpty, startHub, type Step, stopTime, turn } from './rig.ts'

for (const reset of [false, true]) {
  const how = reset ? 'by RST' : 'by FIN'
  for (const step of ['subscribe', 'resume'] as Step[]) {
    for (const when of ['before', 'after'] as const) {
      t.test(`client, gone ${how} ${when} ${step} of its opening, leaves nothing behind`, async (t) => {
        const time = stopTime(t)
        const { hub, broker, ends, open, ended } = await startHub(t, { clock: time.clock })
        const gate = door()
        broker[when][step] = gate.pass
        const { client, opened } = open({ groups: ['x', 'y'] })
        const { stream, attached } = await opened
        await gate.reached
        t.equal(hub.streams, 1)
        client.close({ reset })
        await ended(1)
        t.ok(isEmpty(hub))
        gate.open()
        await attached
        t.same(ends, ['client'])
        t.ok(isEmpty(hub), 'also when the broker has answered')
        t.same(stream.channels, [])
        time.seconds(7)
        t.equal(hub.channels, 0)
        t.equal(broker.state().channels, 0)
        t.equal(hub.stats.ended.client, 1)
      })
    }
  }

  t.test(`client, live and gone ${how}, leaves its channels to others, and nothing when it was the last`, async (t) => {
    const time = stopTime(t)
    const { hub, broker, live, ended, publish } = await startHub(t, { clock: time.clock })
    const [a, b] = await Promise.all([live({ groups: ['x'] }), live({ groups: ['x'] })])
    a.client.close({ reset })
    await ended(1)
    t.equal(hub.streams, 1)
    t.equal(hub.streamsOf('1'), 1)
    time.seconds(7)
    t.equal(hub.channels, 3)
    const [id] = await publish('group:x')
    await hasId(b.client, id!)
    b.client.close({ reset })
    await ended(2)
    t.ok(isEmpty(hub))
    t.equal(hub.streamsOf('1'), 0)
    time.seconds(7)
    t.equal(hub.channels, 0)
    t.equal(broker.state().channels, 0)
    await publish('user:1', 'to nobody')
    time.seconds(20)
  })
}

t.test('reload, within seconds, keeps the channels, and they go some seconds after the last stream', async (t) => {
  const time = stopTime(t)
  const { hub, broker, live, ended, publish } = await startHub(t, { clock: time.clock })
  for (let i = 1; i <= 3; i++) {
    const { client } = await live({ groups: ['x'] })
    client.close()
    await ended(i)
    time.seconds(4)
  }
  t.equal(broker.subscribed.flat().length, 3, 'each was subscribed once')
  t.same(broker.unsubscribed, [])
  time.seconds(3)
  t.same(broker.unsubscribed.flat().sort(), ['all', 'group:x', 'user:1'])
  t.equal(hub.channels, 0)
  const { client } = await live({ groups: ['x'] })
  const [id] = await publish('group:x')
  await hasId(client, id!)
})

t.test('stream, of age, ends with a hint between 80 and 100 % of the limit', async (t) => {
  const time = stopTime(t)
  const { ends, live, ended } = await startHub(t, { clock: time.clock, maxStreamSeconds: 100, heartbeatSeconds: 1000 })
  const lines = await Promise.all(Array.from({ length: 20 }, () => live()))
  time.seconds(79)
  await turn()
  t.same(ends, [])
  time.seconds(10)
  await turn()
  await turn()
  t.ok(ends.length > 0 && ends.length < 20, `${ends.length} of 20 after 89 seconds`)
  time.seconds(12)
  await ended(20)
  t.same(new Set(ends), new Set(['age']))
  for (const { client } of lines) {
    const { retries, ending } = await client.ended()
    t.match({ retries, ending }, { retries: [100, Number], ending: 'end' })
    t.ok(retries[1]! >= 50 && retries[1]! <= 150, 'jittered')
  }
})

t.test('stream, whose token ends, says so before and ends within a second after', async (t) => {
  const time = stopTime(t)
  const { hub, ends, live, ended } = await startHub(t, { clock: time.clock, expiringSeconds: 20, heartbeatSeconds: 1000 })
  const expiresAtMs = Date.now() + 100_000
  const { client } = await live({ expiresAtMs })
  time.seconds(79)
  await turn()
  t.equal(client.events.length, 1)
  time.seconds(20)
  await client.until(() => client.events.find(({ event }) => event === 'expiring'), 'the notice')
  t.match(client.events.at(-1), { id: undefined, event: 'expiring', json: { at: new Date(expiresAtMs).toISOString() } })
  t.same(ends, [])
  time.seconds(2)
  await ended(1)
  t.same(ends, ['expired'])
  t.match((await client.ended()).ending, 'end')
  t.ok(isEmpty(hub))
})

t.test('stream, whose age and whose token end soon, is told of the token and ends by its age', async (t) => {
  const time = stopTime(t)
  const { ends, live, ended } = await startHub(t, { clock: time.clock, maxStreamSeconds: 10, expiringSeconds: 60, heartbeatSeconds: 1000 })
  const { client } = await live({ expiresAtMs: Date.now() + 30_000 })
  time.seconds(7)
  await client.until(() => client.events.find(({ event }) => event === 'expiring'), 'the notice')
  t.same(ends, [])
  time.seconds(4)
  await ended(1)
  t.same(ends, ['age'])
})

/** A hub whose streams are not live before the gate opens, in a time that stands still. */
async function startSlowly (t: Test) {
  const time = stopTime(t)
  const { broker, ...hub } = await startHub(t, { clock: time.clock, expiringSeconds: 20, heartbeatSeconds: 1000 })
  const gate = door()
  broker.before.resume = gate.pass
  return { ...hub, time, gate }
}

t.test('stream, whose token ends soon and that is not live yet, says so once it is', async (t) => {
  const { time, ends, open, ended, gate } = await startSlowly(t)
  const { client, opened } = open({ expiresAtMs: Date.now() + 10_000 })
  const { attached } = await opened
  await gate.reached
  time.seconds(3)
  gate.open()
  await attached
  await client.live()
  time.seconds(2)
  await client.until(() => client.events.find(({ event }) => event === 'expiring'), 'the notice')
  time.seconds(4)
  t.same(ends, [])
  time.seconds(2)
  await ended(1)
  t.same(ends, ['expired'])
  await client.ended()
  t.same(client.events.map(({ event }) => event).filter((event) => event !== 'ping'), ['sync', 'expiring'], 'after sync, and once')
})

t.test('stream, whose token ends before it is live, ends', async (t) => {
  const { time, ends, open, ended, gate } = await startSlowly(t)
  const { client, opened } = open({ expiresAtMs: Date.now() + 3000 })
  await opened
  await gate.reached
  time.seconds(5)
  await ended(1)
  gate.open()
  await client.ended()
  t.same(ends, ['expired'])
  t.notOk(client.events.some(({ event }) => event === 'expiring'))
})

t.test('stream, whose token has ended when it opens, ends at once', async (t) => {
  const time = stopTime(t)
  const { ends, live, ended } = await startHub(t, { clock: time.clock })
  await live({ expiresAtMs: Date.now() - 1000 })
  time.seconds(2)
  await ended(1)
  t.same(ends, ['expired'])
})

t.test('clock of the wall, set ahead and back by hours: no stream ends sooner or later, and channels go as ever', async (t) => {
  const time = stopTime(t)
  const { hub, ends, live, ended } = await startHub(t, { clock: time.clock, maxStreamSeconds: 100 })
  const expiring = await live({ userId: 'expiring', expiresAtMs: time.clock.wallMs() + 50_000 })
  const aging = await live({ userId: 'aging' })
  const gone = await live({ userId: 'gone' })
  const channels = hub.channels
  time.step(-7200)
  gone.client.close()
  await ended(1)
  time.seconds(7)
  t.equal(hub.channels, channels - 1, 'given up')
  time.step(20_000)
  time.seconds(38)
  await turn()
  t.same(ends, ['client'])
  time.step(-86_400)
  time.seconds(8)
  await expiring.client.ended()
  t.same(ends, ['client', 'expired'])
  time.seconds(50)
  await aging.client.ended()
  t.same(ends, ['client', 'expired', 'age'])
})

t.test('heartbeat, of many streams, pings each once a round, without an id', async (t) => {
  const time = stopTime(t)
  const { live } = await startHub(t, { clock: time.clock, heartbeatSeconds: 5 })
  const lines = []
  for (let i = 0; i < 10; i++) {
    lines.push(await live())
    time.seconds(1)
  }
  time.seconds(5 * 3)
  for (const [i, { client }] of lines.entries()) {
    const owed = 1 + Math.floor((25 - i - 4) / 5)
    await client.until(() => client.pings.length >= owed ? true : undefined, `${owed} pings`)
    t.equal(client.pings.length, owed)
    t.match(client.pings[0], { id: undefined, data: '{}' })
  }
})

t.test('drain, over a time, ends the streams evenly, each with its own hint, and waits for the last', async (t) => {
  const { hub, ends, live, publish } = await startHub(t, { retryMs: 1000 })
  const lines = await Promise.all(Array.from({ length: 20 }, (_, i) => live({ userId: String(i) })))
  const [id] = await publish('all', 'to everyone still')
  const startedAt = performance.now()
  const drained = hub.drain(400)
  t.ok(hub.isDraining)
  await drained
  const took = performance.now() - startedAt
  t.ok(took >= 300, `${Math.round(took)} ms`)
  t.ok(isEmpty(hub))
  t.same(ends, Array(20).fill('drain'))
  const retries = new Set<number>()
  const times: number[] = []
  for (const { client } of lines) {
    const connection = await client.ended()
    t.match(connection, { ending: 'end', retries: { length: 2 } })
    t.same(idsOf(client), [id])
    retries.add(connection.retries[1]!)
    times.push(connection.endedAt!)
  }
  t.ok(retries.size > 10, 'spread')
  t.ok(Math.max(...times) - Math.min(...times) >= 200)
})

t.test('drain, of a hub without streams, is done at once, also twice', async (t) => {
  const { hub } = await startHub(t)
  await Promise.all([hub.drain(60_000), hub.drain(0)])
  t.ok(hub.isDraining)
})

t.test('drain, hurried by a second one, is done when both are', async (t) => {
  const { hub, ends, live } = await startHub(t)
  await Promise.all([live(), live()])
  await Promise.all([hub.drain(200), hub.drain(0)])
  t.equal(ends.length, 2)
})

t.test('drain, while a stream opens, ends it too', async (t) => {
  const { hub, broker, open, ends } = await startHub(t)
  const gate = door()
  broker.before.resume = gate.pass
  const { client, opened } = open()
  await gate.reached
  await hub.drain(0)
  gate.open()
  await (await opened).attached
  t.same(ends, ['drain'])
  t.match(await client.ended(), { ending: 'end', retries: { length: 1 } })
  t.ok(isEmpty(hub))
})

t.test('stream, replaced, whose client takes nothing, is dropped after two seconds, however often a heartbeat finds it again', async (t) => {
  const time = stopTime(t)
  const { hub, ends, live, ended } = await startHub(t, { clock: time.clock, isSingleSession: true, heartbeatSeconds: 1, bufferBytes: 100_000_000 })
  const { client, stream } = await live()
  client.pause()
  stream.say(frame(0, 'x'.repeat(12_000_000))) // more than the kernel takes
  await live()
  for (let second = 0; second < 4; second++) {
    time.seconds(1)
    await turn()
  }
  await ended(1)
  t.same(ends, ['replaced'])
  t.equal(hub.streams, 1)
})
