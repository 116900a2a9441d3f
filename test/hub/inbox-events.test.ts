// What a stream hears of the inbox: counts with its sync, `read` and `retracted` while it is live, nothing older than it knows.
import t, { type Test } from 'tap'
import { door, has, hasId, idsOf, startHub, turn } from './rig.ts'

const me = { userId: '1' }

/** A live stream that got one notification and joins a group: it is held until `go`. */
async function startJoining (t: Test, options: Parameters<typeof startHub>[1] = {}) {
  const { broker, other, live, publish } = await startHub(t, options)
  const { client } = await live()
  const [id] = await publish('user:1')
  await has(client, 1)
  const gate = door()
  broker.before.resume = gate.pass
  await other.join('1', 'x')
  await gate.reached
  return { other, publish, client, id: id!, go: gate.open }
}

t.test('sync, says how much is new and how often a ping comes, in the words of the list', async (t) => {
  const { other, live, publish } = await startHub(t, { heartbeatSeconds: 7 })
  await other.visit({ userId: '1', issuedAtSeconds: 1, expiresAtSeconds: 9_999_999_999 })
  const ids = [...await publish('user:1'), ...await publish('user:1'), ...await publish('user:1')]
  await other.moveCursor(me, 'read', ids[0]!)
  await other.moveCursor(me, 'seen', ids[1]!)
  const { client } = await live({ groups: ['b', 'a'] })
  t.same(client.syncs[0]!.json, {
    resume: 'fresh', replayed: 0, seen: String(ids[1]), read: String(ids[0]), unseen: 1, unread: 2, groups: ['a', 'b'], heartbeatSeconds: 7
  })
})

t.test('read and retracted, reach every stream that is concerned, without an id, and move no position', async (t) => {
  const { other, live, publish } = await startHub(t)
  const [mine, again, yours] = await Promise.all([live(), live(), live({ userId: '2', groups: ['x'] })])
  const [id] = await publish('user:1')
  await Promise.all([mine, again].map(({ client }) => hasId(client, id!)))
  await other.moveCursor(me, 'read', id!)
  const [theirs] = await publish('group:x')
  await hasId(yours.client, theirs!)
  await other.retract({ to: 'group:x', what: { id: theirs! } })
  for (const { client } of [mine, again]) {
    const read = await client.until(() => client.events.find(({ event }) => event === 'read'), 'read')
    t.same([read.id, read.lastEventId, read.json.unread], [undefined, String(id), 0])
  }
  const retracted = await yours.client.until(() => yours.client.events.find(({ event }) => event === 'retracted'), 'retracted')
  t.match([retracted.id, retracted.json], [undefined, { to: 'group:x', id: String(theirs) }])
})

t.test('read, held while a stream opens: dropped if its sync says newer, else it follows it', async (t) => {
  const { broker, other, open, publish } = await startHub(t)
  const [first] = await publish('user:1')
  const [second] = await publish('user:1')
  const before = door()
  broker.before.resume = before.pass
  const { client, opened } = open()
  await before.reached
  await other.moveCursor(me, 'read', first!) // before the broker answers: the answer knows of it
  const after = door()
  broker.after.resume = after.pass
  before.open()
  await after.reached
  await other.moveCursor(me, 'read', second!) // after it has answered
  after.open()
  await (await opened).attached
  const [last] = await publish('user:1')
  await hasId(client, last!)
  t.match(client.events.map(({ event, json }) => [event, json.read]), [['sync', String(first)], ['read', String(second)], ['message']])
})

t.test('read, heard by a live stream that joins a group meanwhile, is not lost, though no sync is written then', async (t) => {
  const { other, client, id, go } = await startJoining(t)
  await other.moveCursor(me, 'read', id)
  go()
  const read = await client.until(() => client.events.find(({ event }) => event === 'read'), 'read')
  t.equal(read.json.read, String(id))
})

t.test('retracted, while the line was broken: a sync says that the stream was filled anew, so a page asks for its list', async (t) => {
  const { broker, other, live, publish } = await startHub(t)
  const { client } = await live()
  const [id] = await publish('user:1')
  await has(client, 1)
  broker.interrupt()
  await other.retract({ to: 'user:1', what: { id: id! } })
  broker.restore()
  const sync = await client.until(() => client.syncs[1], 'a sync')
  t.match(sync.json, { resume: 'complete', replayed: 0, unseen: 0, unread: 0 })
})

t.test('retracted, dropped with the rest because a stream that joins a group had too much to hold: the same', async (t) => {
  const { other, publish, client, id, go } = await startJoining(t, { bufferBytes: 2000 })
  await other.retract({ to: 'user:1', what: { id } })
  const more = [...await publish('user:1', 'x'.repeat(1500)), ...await publish('user:1', 'x'.repeat(1500))]
  go()
  const sync = await client.until(() => client.syncs[1], 'a sync')
  t.match(sync.json, { resume: 'complete', replayed: 2, unread: 2 })
  t.same(idsOf(client), [id, ...more], 'what has an id came from the log')
})

t.test('group, left and joined again while the line was broken: what came in between the join and the leave is told or written', async (t) => {
  const { broker, other, live, publish } = await startHub(t)
  await other.join('1', 'room')
  const { client } = await live()
  broker.interrupt()
  const [missed] = await publish('group:room', 'while a member')
  await other.leave('1', 'room')
  await publish('group:room', 'while none')
  await other.join('1', 'room')
  broker.restore()
  const [last] = await publish('group:room', 'a member again')
  await hasId(client, last!)
  t.ok(idsOf(client).includes(missed!) || client.syncs.at(-1)!.json.resume === 'incomplete')
  t.notOk(client.notifications.some(({ json }) => json === 'while none'))
})

t.test('leave, of a live stream, takes nothing that was published before it', async (t) => {
  const { other, live, publish } = await startHub(t)
  await other.join('1', 'room')
  const { client } = await live()
  const [before] = await publish('group:room')
  await other.leave('1', 'room')
  const [fence] = await publish('user:1')
  await hasId(client, fence!)
  t.same(idsOf(client), [before, fence])
  t.equal(client.syncs.length, 1)
})

t.test('group, left before the stream heard what was published there: a sync says that something is missing', async (t) => {
  const { broker, other, live, publish } = await startHub(t)
  const { client } = await live({ groups: ['x'] })
  broker.isDeaf = true
  await publish('group:x')
  await turn()
  broker.isDeaf = false
  await other.leave('1', 'x')
  await client.until(() => client.syncs[1], 'a sync')
  t.match(client.syncs, [{ json: { resume: 'fresh' } }, { json: { resume: 'incomplete', groups: [] } }])
})
