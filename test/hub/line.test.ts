// The broker's line breaks and comes back: live streams stay open, and get everything that they missed before anything newer.
import t from 'tap'
import { Unavailable } from '../../src/broker/broker.ts'
import { door, has, hasId, idsOf, isEmpty, startHub, stopTime, turn } from './rig.ts'

t.test('line, broken and restored, loses nothing and brings nothing twice', async (t) => {
  const { broker, live, publish } = await startHub(t)
  const [a, b] = await Promise.all([live({ groups: ['x'] }), live({ userId: '2' })])
  const ids = [...await publish('all')]
  await Promise.all([has(a.client, 1), has(b.client, 1)])
  broker.interrupt()
  ids.push(...await publish('all', 'while deaf'))
  broker.hear()
  ids.push(...await publish('all', 'heard before the refill'))
  broker.restore()
  ids.push(...await publish('all', 'after'))
  for (const { client } of [a, b]) {
    await hasId(client, ids.at(-1)!)
    t.same(idsOf(client), ids)
    t.same(client.syncs.map(({ json }) => json.resume), ['fresh', 'complete'], 'and is told so')
  }
})

t.test('line, broken twice before it is restored, loses nothing: who waits waits on', async (t) => {
  const { broker, live, publish } = await startHub(t)
  const { client } = await live()
  broker.interrupt()
  const ids = [...await publish('all', 'while deaf')]
  broker.interrupt()
  broker.restore()
  ids.push(...await publish('all', 'after'))
  await hasId(client, ids.at(-1)!)
  t.same(idsOf(client), ids)
})

t.test('line, broken for so long that the logs were trimmed, says so to live streams', async (t) => {
  const { broker, live, publish } = await startHub(t, { bus: { historyLength: 5 } })
  const { client } = await live()
  broker.interrupt()
  const ids: number[] = []
  for (let i = 0; i < 120; i++) ids.push(...await publish('user:1'))
  broker.restore()
  ids.push(...await publish('user:1'))
  await hasId(client, ids.at(-1)!)
  t.match(client.syncs, [{ json: { resume: 'fresh' } }, { json: { resume: 'incomplete' } }])
  t.same(idsOf(client), ids.slice(-client.notifications.length))
})

t.test('line, broken while a stream opens and heard again before all is restored, loses nothing', async (t) => {
  const { broker, open, publish, live } = await startHub(t)
  await live() // so that the channels are subscribed already
  const gate = door()
  broker.after.resume = gate.pass
  const { client, opened } = open()
  await gate.reached
  broker.interrupt()
  gate.open()
  const { attached } = await opened
  // Whether the stream waits for the line or goes on without, it must get what was said meanwhile.
  await Promise.race([attached, new Promise((resolve) => { setImmediate(() => setImmediate(resolve)) })])
  const ids = [...await publish('user:1', 'while deaf')]
  broker.hear()
  ids.push(...await publish('user:1', 'heard before the refill'))
  broker.restore()
  ids.push(...await publish('user:1', 'after'))
  await hasId(client, ids.at(-1)!)
  t.same(idsOf(client), ids)
})

t.test('line, broken while a refill after a break is under way, loses nothing', async (t) => {
  const { broker, live, publish } = await startHub(t)
  const { client } = await live()
  broker.interrupt()
  const ids = [...await publish('user:1', 'first break')]
  const gate = door()
  broker.after.resume = gate.pass
  broker.restore()
  await gate.reached
  broker.interrupt()
  gate.open()
  ids.push(...await publish('user:1', 'second break'))
  await new Promise((resolve) => { setImmediate(() => setImmediate(resolve)) })
  ids.push(...await publish('user:1', 'second break, later'))
  broker.hear()
  ids.push(...await publish('user:1', 'heard before the refill'))
  broker.restore()
  await hasId(client, ids.at(-1)!)
  t.same(idsOf(client), ids)
})

t.test('client, gone while its stream is filled again, by a broker that then fails, leaves nothing behind and is not told of', async (t) => {
  const time = stopTime(t)
  const { hub, broker, live, ended, warnings } = await startHub(t, { clock: time.clock })
  const { client } = await live()
  const gate = door()
  broker.before.resume = async () => {
    await gate.pass()
    throw new Unavailable('away')
  }
  await broker.join('1', 'x')
  await gate.reached
  client.close()
  await ended(1)
  gate.open()
  await turn()
  time.seconds(1)
  t.same([isEmpty(hub), hub.waiting, warnings], [true, 0, []])
})

t.test('streams, that cannot be filled, are told of in one line for all of them, once', async (t) => {
  const time = stopTime(t)
  const { broker, live, warnings } = await startHub(t, { clock: time.clock })
  const lines = [await live(), await live({ userId: '2' })]
  broker.before.resume = async () => { throw new Unavailable('away') }
  broker.interrupt()
  broker.restore()
  for (const { stream } of lines) while (stream.state !== 'waiting') await turn()
  delete broker.before.resume
  time.seconds(1)
  for (const { stream } of lines) while (stream.state !== 'live') await turn()
  time.seconds(3)
  t.match(warnings, [/^streams could not be filled/])
  t.equal(warnings.length, 1)
})

t.test('stream, that cannot be filled while the broker is away, is not tried again before it is back', async (t) => {
  const time = stopTime(t)
  const { broker, live } = await startHub(t, { clock: time.clock })
  const { stream } = await live()
  const is = async (state: string): Promise<void> => { while (stream.state !== state) await turn() }
  broker.isUp = false
  broker.before.resume = async () => { throw new Unavailable('away') }
  await broker.join('1', 'x')
  await is('waiting')
  const asked = broker.queries.length
  for (let i = 0; i < 3; i++) {
    time.seconds(1)
    await turn()
  }
  t.same([broker.queries.length, stream.state], [asked, 'waiting'])
  broker.isUp = true
  delete broker.before.resume
  time.seconds(1)
  await is('live')
  t.equal(broker.queries.length, asked + 2, 'once more for the group')
})

t.test('gap, found on a page before one that could not be read, is still told when the stream is filled', async (t) => {
  const { broker, live, publish } = await startHub(t, { bus: { historyLength: 20 } })
  const { client } = await live()
  broker.interrupt()
  const ids: number[] = []
  for (let i = 0; i < 130; i++) ids.push(...await publish('user:1', 'x'.repeat(20_000)))
  let pages = 0
  broker.before.resume = async () => { if (++pages === 2) throw new Unavailable('away again') }
  broker.restore()
  await client.until(() => pages >= 3 && client.notifications.at(-1)?.id === String(ids.at(-1)) ? true : undefined, 'the refill')
  const fence = await publish('user:1')
  await hasId(client, fence[0]!)
  t.match(client.syncs.at(-1), { json: { resume: 'incomplete' } })
})

t.test('gap, found by a stream that was cut off before its sync, is still told when it resumes', async (t) => {
  const { broker, open, publish, live } = await startHub(t, { bus: { historyLength: 20 } })
  const [cursor] = await publish('user:1')
  for (let i = 0; i < 130; i++) await publish('user:1', 'x'.repeat(20_000))
  let pages = 0
  const gate = door()
  broker.before.resume = async () => { if (++pages === 2) await gate.pass() }
  const { client } = open({ lastEventId: String(cursor) })
  await gate.reached
  await has(client, 6)
  client.close({ reset: true })
  gate.open()
  const { client: back } = await live({ lastEventId: client.lastEventId })
  t.match([...client.syncs, ...back.syncs][0], { json: { resume: 'incomplete' } })
})

t.test('gap, found by two streams of a user of which one is cut off, is told to both, wherever the one comes back from', async (t) => {
  const { broker, open, publish, live } = await startHub(t, { bus: { historyLength: 20 } })
  const [cursor] = await publish('user:1')
  for (let i = 0; i < 130; i++) await publish('user:1', 'x'.repeat(20_000))
  let pages = 0
  const gate = door()
  broker.before.resume = async () => { if (++pages === 2) await gate.pass() }
  const { client: phone } = open({ lastEventId: String(cursor) })
  await gate.reached
  await has(phone, 6)
  phone.close({ reset: true })
  gate.open()
  broker.before.resume = async () => {}
  const { client: laptop } = await live({ lastEventId: String(cursor) })
  t.match(laptop.syncs.at(-1), { json: { resume: 'incomplete' } })
  // Cut off after each of its first events: it was told in those, or is told when it comes back.
  const seen = phone.events.slice(0, 4)
  t.match(seen.map(({ event }) => event), ['sync', 'message', 'message', 'message'])
  for (let count = 0; count <= seen.length; count++) {
    const { client: back } = await live({ lastEventId: count === 0 ? String(cursor) : seen[count - 1]!.lastEventId })
    const told = [...seen.slice(0, count), ...back.events].filter(({ event, json }) => event === 'sync' && json.resume === 'incomplete')
    t.ok(told.length > 0, `after ${count} events`)
    back.close()
  }
})

t.test('gap, told before what is left and at the end, in ids that only grow', async (t) => {
  const { publish, live } = await startHub(t, { bus: { historyLength: 20 } })
  const [cursor] = await publish('user:1')
  const ids: number[] = []
  for (let i = 0; i < 130; i++) ids.push(...await publish('user:1'))
  const { client } = await live({ lastEventId: String(cursor) })
  const last = await client.until(() => client.syncs[1], 'the second telling')
  const left = ids.slice(-client.notifications.length)
  t.same(client.events.map(({ event }) => event), ['sync', ...left.map(() => 'message'), 'sync'])
  t.match(client.syncs, [{ id: String(left[0]! - 1), json: { resume: 'incomplete', more: true, replayed: 0 } }, { json: { resume: 'incomplete', replayed: left.length } }])
  t.same(idsOf(client), left)
  t.ok(Number(last.id) > left.at(-1)!)
})

t.test('line, broken on some channels, holds and refills only the streams that have one of them', async (t) => {
  const { broker, live, publish } = await startHub(t)
  const [a, b] = await Promise.all([live({ userId: '1' }), live({ userId: '2' })])
  const isAffected = (channel: string): boolean => channel === 'user:1'
  const asked = broker.queries.length
  broker.listener.interrupted(isAffected)
  t.same([a, b].map(({ stream }) => stream.state), ['waiting', 'live'])
  const [id] = await publish('user:2', 'the other goes on')
  await hasId(b.client, id!)
  broker.listener.restored((channel) => channel === 'user:9')
  t.equal(a.stream.state, 'waiting', 'not its channels')
  broker.listener.restored(isAffected)
  const [last] = await publish('user:1')
  await hasId(a.client, last!)
  t.same(broker.queries.slice(asked).map(({ user }) => user.userId), ['1'])
})

t.test('line, broken with the data of the broker, whatever the logs say: streams on the channels are told that something is missing, once', async (t) => {
  const { broker, live, publish } = await startHub(t)
  const [a, b] = await Promise.all([live({ userId: '1' }), live({ userId: '2' })])
  const isAffected = (channel: string): boolean => channel === 'user:1'
  for (let n = 1; n <= 2; n++) {
    broker.listener.interrupted(isAffected, n === 1)
    broker.listener.restored(isAffected)
    const [id] = await publish('all')
    for (const { client } of [a, b]) await hasId(client, id!)
    t.same([a, b].map(({ client }) => client.syncs.map(({ json }) => json.resume)), [n === 1 ? ['fresh', 'incomplete'] : ['fresh', 'incomplete', 'complete'], ['fresh']])
  }
})

t.test('line, broken on some channels while the broker is up for others, keeps its streams among those that are silent', async (t) => {
  const time = stopTime(t)
  const { hub, broker, live, publish } = await startHub(t, { clock: time.clock })
  const [a, b] = await Promise.all([live({ userId: '1' }), live({ userId: '2' })])
  const isAffected = (channel: string): boolean => channel === 'user:1'
  broker.listener.interrupted(isAffected)
  for (let i = 0; i < 3; i++) {
    time.seconds(1)
    await turn()
    t.same([hub.waiting, a.stream.state, b.stream.state], [1, 'waiting', 'live'], `after ${i + 1} s`)
  }
  const [id] = await publish('user:1')
  broker.listener.restored(isAffected)
  await hasId(a.client, id!)
  t.equal(hub.waiting, 0)
})

t.test('line, broken on some channels while a stream is being filled, counts it among those that are silent', async (t) => {
  const { hub, broker, live, publish } = await startHub(t)
  const { client, stream } = await live()
  const reading = door()
  broker.before.resume = reading.pass
  await broker.join('1', 'x')
  await reading.reached
  t.same([hub.waiting, stream.state], [0, 'filling'])
  broker.listener.interrupted((channel) => channel === 'user:1')
  reading.open()
  for (let i = 0; i < 1000 && stream.state === 'filling'; i++) await turn()
  t.same([hub.waiting, stream.state], [1, 'waiting'])
  const [id] = await publish('group:x')
  broker.listener.restored((channel) => channel === 'user:1')
  await hasId(client, id!)
  t.equal(hub.waiting, 0)
})

t.test('line, broken while the user reads on another device, brings the counts again', async (t) => {
  const { broker, other, live, publish } = await startHub(t)
  const { client } = await live()
  const [id] = await publish('user:1')
  await hasId(client, id!)
  broker.interrupt()
  await other.moveCursor({ userId: '1' }, 'read', id!)
  broker.restore()
  const sync = await client.until(() => client.syncs[1], 'the counts')
  t.match(sync.json, { resume: 'complete', replayed: 0, seen: String(id), read: String(id), unseen: 0, unread: 0 })
})
