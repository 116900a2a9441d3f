// The hub with real clients: order, no duplicates, nothing lost while a stream is held, groups, and what a broken line does.
import t from 'tap'
import { Unavailable } from '../../src/broker/broker.ts'
import { deliveries, type DeliverTrace } from '../../src/tracing.ts'
import { door, has, hasId, idsOf, startHub, turn } from './rig.ts'

t.test('hub, of notifications to user, groups and all, gives each stream its own in id order, once', async (t) => {
  const { hub, publish, live } = await startHub(t)
  const [a, again, old, b] = await Promise.all([
    live({ userId: '1', groups: ['x'] }), live({ userId: '1', groups: ['x'] }), live({ userId: '1', groups: ['x'], httpVersion: '1.0' }), live({ userId: '2', groups: ['x', 'y'] })
  ])
  t.equal(hub.streams, 4)
  t.equal(hub.users, 2)
  const owed: Record<string, number[]> = { 1: [], 2: [] }
  for (let i = 0; i < 200; i++) {
    const to = ['user:1', 'user:2', 'group:x', 'group:y', 'all', 'user:3'][i % 6]!
    const ids = await publish(to, { i, text: 'é\u2028\r\n' })
    if (to !== 'user:3' && to !== 'user:2' && to !== 'group:y') owed[1]!.push(...ids)
    if (to !== 'user:3' && to !== 'user:1') owed[2]!.push(...ids)
  }
  for (const { client } of [a, again, old]) {
    await has(client, owed[1]!.length)
    t.same(idsOf(client), owed[1])
    t.same(client.notifications[0]!.json, { i: 0, text: 'é\u2028\r\n' })
  }
  await has(b.client, owed[2]!.length)
  t.same(idsOf(b.client), owed[2])
})

t.test('hub, told the same or an older id again, writes nothing twice, and lets through what has no id', async (t) => {
  const { broker, live, publish } = await startHub(t)
  const { client } = await live()
  const traces: DeliverTrace[] = []
  const onDelivered = (trace: unknown): void => { traces.push({ ...trace as DeliverTrace }) }
  deliveries.asyncEnd.subscribe(onDelivered)
  t.teardown(() => { deliveries.asyncEnd.unsubscribe(onDelivered) })
  const tell = (id: number, data: string): void => { broker.listener.notification('user:1', { id, event: 'message', json: `"${data}"` }) }
  const [id] = await publish('user:1', 'a')
  await has(client, 1)
  tell(id!, 'again')
  tell(id! - 1, 'older')
  tell(0, 'plain')
  tell(0, 'plain')
  const [last] = await publish('user:1', 'b')
  await hasId(client, last!)
  t.same(client.notifications.map(({ id, data }) => [id, data]), [[String(id), '"a"'], [undefined, '"plain"'], [undefined, '"plain"'], [String(last), '"b"']])
  t.match(traces.map(({ channel, node, notification, streams }) => [channel, node.name, notification.id, streams]), [
    ['user:1', 'rig', id, 1], ['user:1', 'rig', 0, 1], ['user:1', 'rig', 0, 1], ['user:1', 'rig', last, 1]
  ], 'what nobody is owed says nothing of how long a delivery takes')
  t.ok(traces.every(({ heardAtMs, writeAtMs, writtenAtMs }) => heardAtMs <= writeAtMs && writeAtMs <= writtenAtMs))
})

t.test('hub, whose streams get the same, writes the very same buffer to each of them', async (t) => {
  const { live, publish } = await startHub(t, { coalesceMs: 500 })
  const lines = await Promise.all([live({ groups: ['x'] }), live({ groups: ['x'] }), live({ userId: '2' }), live({ userId: '3', groups: ['x'] })])
  const written = lines.map(({ response }) => {
    const list: unknown[] = []
    const socket = response.socket!
    const { _write: write } = socket
    socket._write = (...args) => {
      list.push(args[0])
      write.apply(socket, args)
    }
    return list
  })
  await publish('all', 'first') // an idle hub writes it at once, and what follows is gathered
  await has(lines[0]!.client, 1)
  const ids = (await Promise.all([publish('group:x'), publish('all'), publish('all'), publish('group:x')])).flat()
  await Promise.all(lines.map(({ client }) => hasId(client, ids[client === lines[2]!.client ? 2 : 3]!)))
  for (const list of written) t.equal(list.length, 2, 'one write for all that was gathered')
  t.equal(written[0]![1], written[1]![1])
  t.equal(written[0]![1], written[3]![1], 'whoever the user is')
  t.not(written[0]![1], written[2]![1])
  for (const list of written) t.equal(list[0], written[0]![0])
})

t.test('hub, idle, writes all that one read from the broker brings in the same turn, however long it gathers under load', async (t) => {
  const { live, publish } = await startHub(t, { coalesceMs: 60_000 })
  const { client } = await live({ groups: ['x'] })
  const ids = (await Promise.all(['user:1', 'all', 'user:2', 'group:x'].map((to) => publish(to)))).flat()
  await hasId(client, ids.at(-1)!)
  t.same(idsOf(client), [ids[0], ids[1], ids[3]])
})

t.test('stream, opening while others publish, gets history, then its sync, then what was held, once', async (t) => {
  const { broker, open, publish } = await startHub(t)
  const cursor = (await publish('all', 'seen'))[0]!
  const missed = [...await publish('user:1'), ...await publish('all')]
  const gate = door()
  broker.before.resume = gate.pass
  const { client, opened } = open({ lastEventId: String(cursor) })
  await gate.reached
  const both = await publish('user:1') // subscribed already, and not read yet: it comes both ways
  const later = door()
  broker.after.resume = later.pass
  gate.open()
  await later.reached
  const held = [...await publish('user:1'), ...await publish('all')]
  later.open()
  await (await opened).attached
  const live = await publish('user:1')
  await hasId(client, live[0]!)
  t.same(idsOf(client), [...missed, ...both, ...held, ...live])
  const order = client.events.map(({ event }) => event === 'sync' ? 'sync' : 'n')
  t.same(order, ['n', 'n', 'n', 'sync', 'n', 'n', 'n'])
  t.match(client.syncs, [{ json: { resume: 'complete', replayed: 3, groups: [] } }])
  const sync = Number(client.syncs[0]!.id)
  t.ok(sync > both[0]! && sync < held[0]!, 'and the sync stands where it says')
})

t.test('group, that the token claims and the user has left: nothing of it comes, whenever it was sent', async (t) => {
  const { broker, other, open, publish } = await startHub(t)
  await other.leave('1', 'left')
  const send = async (): Promise<void> => {
    await publish('group:left', 'with an id')
    broker.listener.notification('group:left', { id: 0, event: 'message', json: '"without"' })
  }
  broker.before.resume = send
  broker.after.resume = send
  const { client, opened } = open({ groups: ['left', 'kept'] })
  const { attached, stream } = await opened
  await attached
  await publish('group:left', 'live')
  const [id] = await publish('group:kept')
  await hasId(client, id!)
  t.same(idsOf(client), [id])
  t.match(client.syncs, [{ json: { groups: ['kept'] } }])
  t.same(stream.channels.map(({ name }) => name).sort(), ['all', 'group:kept', 'user:1'])
})

t.test('stream, that opens, asks the broker once if the token claims its groups; and once more for one that it does not claim', async (t) => {
  const { broker, other, live } = await startHub(t)
  const { client } = await live({ groups: ['a', 'b'] }) // joined by this, which the user's own channel tells of
  broker.listener.control('1', { control: 'join', group: 'a', id: Number(client.syncs[0]!.id) }) // which may be slower than the answer
  await turn()
  t.equal(broker.queries.length, 1)
  await other.join('2', 'c')
  await live({ userId: '2', groups: ['a', 'b'] })
  t.equal(broker.queries.length, 3)
})

t.test('stream, that resumes from a position that is not ours or not yet, is told that it may have missed something', async (t) => {
  const { live, publish } = await startHub(t)
  await publish('user:1')
  for (const lastEventId of ['garbage', '-1', '0', '1', '9007199254740991', '99999999999999999999', 'x'.repeat(10_240)]) {
    const { client } = await live({ lastEventId })
    t.match(client.syncs, [{ json: { resume: 'incomplete', unread: 1 } }], lastEventId.slice(0, 20))
    const [id] = await publish('user:2', 'to nobody')
    t.ok(Number(client.syncs[0]!.id) < id!)
  }
  const { client } = await live()
  t.match(client.syncs, [{ json: { resume: 'fresh', replayed: 0 } }])
})

t.test('stream, held while more arrives than it may keep, reads it from the log and gets each once, in order', async (t) => {
  const { broker, open, publish } = await startHub(t, { bufferBytes: 100_000 })
  const { client, opened } = open()
  const gate = door()
  broker.after.resume = gate.pass
  await gate.reached
  const ids: number[] = []
  for (let i = 0; i < 30; i++) ids.push(...await publish(['user:1', 'all'][i % 2]!, 'x'.repeat(10_000)))
  gate.open()
  await (await opened).attached
  ids.push(...await publish('user:1'))
  await hasId(client, ids.at(-1)!)
  t.same(idsOf(client), ids)
  t.match(client.syncs, [{ json: { resume: 'fresh' } }])
})

t.test('stream, whose history is long, gets it page by page, and what comes meanwhile after it', async (t) => {
  const { broker, live, publish } = await startHub(t)
  const [cursor] = await publish('all')
  const ids: number[] = []
  for (let i = 0; i < 100; i++) ids.push(...await publish('user:1', 'x'.repeat(10_000)))
  let pages = 0
  broker.after.resume = async () => { if (++pages <= 5) ids.push(...await publish('all', pages)) }
  const { client } = await live({ lastEventId: String(cursor) })
  t.ok(pages >= 8, `${pages} pages`)
  await has(client, ids.length)
  t.same(idsOf(client), ids)
  t.match(client.syncs, [{ json: { resume: 'complete' } }])
})

t.test('join, of a live stream, brings the group from the join on, without a second sync', async (t) => {
  const { hub, other, live, publish } = await startHub(t)
  const { client } = await live()
  await publish('group:x', 'before')
  await other.join('1', 'x')
  const ids = [...await publish('group:x'), ...await publish('all'), ...await publish('group:x')]
  await has(client, 3)
  t.same(idsOf(client), ids)
  t.equal(client.syncs.length, 1)
  t.equal(hub.channels, 3)
})

t.test('leave, of a live stream, takes the group away at once and leaves the rest', async (t) => {
  const { other, live, publish } = await startHub(t)
  const [{ client }, { client: stays }] = await Promise.all([live({ groups: ['x', 'y'] }), live({ userId: '2', groups: ['x'] })])
  const [first] = await publish('group:x')
  await other.leave('1', 'x')
  const [second] = await publish('group:x')
  const [third] = await publish('group:y')
  const [fourth] = await publish('all')
  await hasId(client, fourth!)
  t.same(idsOf(client), [first, third, fourth])
  await hasId(stays, fourth!)
  t.same(idsOf(stays), [first, second, fourth])
  await other.leave('1', 'never in it')
  await other.join('1', 'x')
  const [fifth] = await publish('group:x')
  await hasId(client, fifth!)
})

t.test('leave, heard before the answer that still had the group, takes it away all the same', async (t) => {
  const { broker, other, open, publish } = await startHub(t)
  await other.join('1', 'x')
  let rounds = 0
  // The broker has answered with the group in it; the user leaves; the channel is faster than the answer.
  broker.after.resume = async () => { if (++rounds === 1) await other.leave('1', 'x') }
  const { client, opened } = open()
  await (await opened).attached
  await publish('group:x', 'not for one who left')
  const [fence] = await publish('all')
  await hasId(client, fence!)
  t.same(idsOf(client), [fence])
  t.match(client.syncs, [{ json: { groups: [] } }])
})

t.test('leave, heard after the answer that knows of it and of the join that followed, costs nothing of the group', async (t) => {
  const { hub, broker, other, open, publish } = await startHub(t)
  await other.join('1', 'x')
  const [cursor] = await publish('user:1')
  await other.leave('1', 'x')
  await other.join('1', 'x')
  let told = 0
  broker.after.resume = async () => {
    if (told++ > 0) return
    for (const control of ['leave', 'join'] as const) broker.listener.control('1', { control, group: 'x', id: cursor! + 1 })
  }
  const { client, opened } = open({ groups: ['x'], lastEventId: String(cursor) })
  await (await opened).attached
  t.equal(told > 0, true)
  const [id] = await publish('group:x')
  await hasId(client, id!)
  t.match(client.syncs.at(-1), { json: { groups: ['x'] } })
  t.equal(hub.streams, 1)
})

t.test('stream, that cannot be filled when it opens, ends with a hint to come back', async (t) => {
  for (const step of ['subscribe', 'resume'] as const) {
    const { hub, broker, ends, open, ended } = await startHub(t)
    broker.before[step] = async () => { throw new Unavailable('away') }
    const { client } = open()
    const { status, body, ending } = await client.ended()
    t.match({ status, body, ending }, { status: 200, body: /^retry: \d+\nevent: ping\ndata: {}\n\n$/, ending: 'end' }, step)
    await ended(1)
    t.same(ends, ['unavailable'])
    t.equal(hub.streams, 0)
  }
})

t.test('live stream, that cannot be filled after a join, stays, and is filled when the broker answers again', async (t) => {
  const { broker, other, live, publish, warned } = await startHub(t)
  const { client } = await live()
  broker.before.resume = async () => { throw new Unavailable('away') }
  await other.join('1', 'x')
  const ids = [...await publish('group:x'), ...await publish('user:1')]
  await warned(1)
  delete broker.before.resume
  ids.push(...await publish('group:x'))
  await has(client, 3)
  t.same(idsOf(client), ids)
  t.equal(client.syncs.length, 1)
})

t.test('dropped, for one channel many times, is counted each time and logged once', async (t) => {
  const { hub, broker, warnings } = await startHub(t)
  for (let i = 0; i < 5; i++) for (const address of ['user:1', 'all']) broker.listener.dropped(address, 'malformed')
  broker.listener.dropped('all', 'reserved')
  t.match(hub.stats.dropped, { malformed: 10, reserved: 1, oversized: 0 })
  t.equal(warnings.length, 2)
})

t.test('dropped, because its library is not known here yet: its sender is not told to write it otherwise', async (t) => {
  const { broker, warnings } = await startHub(t)
  broker.listener.dropped('user:1', 'malformed', true)
  broker.listener.dropped('all', 'malformed')
  t.match(warnings, [/the function library that sent it was loaded just now/, /its sender should PUBLISH/])
})

t.test('notification, for an address that nobody here has, is ignored', async (t) => {
  const { hub, broker } = await startHub(t)
  broker.listener.notification('user:9', { id: 1, event: 'message', json: '1' })
  broker.listener.control('9', { control: 'join', group: 'x', id: 1 })
  t.equal(hub.stats.received, 0)
})
