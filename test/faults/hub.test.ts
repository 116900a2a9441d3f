// What faults bring about in a hub, step by step: answers and messages that overtake each other, clocks that go back, drains in between.
import t from 'tap'
import { notificationFrame } from '../../src/hub/frame.ts'
import { door, hasId, idsOf, startHub } from '../hub/rig.ts'

t.test('join, heard while a refill waits for an older answer about the groups, is not forgotten', async (t) => {
  const { broker, other, live, publish } = await startHub(t)
  await other.join('1', 'room')
  const { client } = await live()
  // As after a data loss: the stream is still in the group's topic, the broker knows nothing of it.
  broker.interrupt()
  await other.leave('1', 'room')
  const gate = door()
  broker.after.resume = gate.pass
  broker.restore()
  await gate.reached
  await other.join('1', 'room')
  gate.open()
  const [first] = await publish('user:1')
  await hasId(client, first!)
  const [second] = await publish('group:room')
  await hasId(client, second!)
  t.same(idsOf(client), [first, second])
})

t.test('join, heard in the moment between the last write of a refill and its end, does not leave the stream held', async (t) => {
  const { broker, open, publish } = await startHub(t)
  const { client, opened } = open()
  const { stream, attached } = await opened
  const { release } = stream
  // The embedded broker tells in microtasks, as promises do.
  stream.release = (position) => {
    stream.release = release
    const count = stream.release(position)
    broker.listener.control('1', { control: 'join', group: 'x', id: stream.filledTo + 1 })
    return count
  }
  await attached
  const [id] = await publish('user:1')
  await hasId(client, id!)
})

t.test('refill, from a broker whose clock is behind what the stream has seen, says incomplete and delivers what comes after', async (t) => {
  const { broker, live, publish } = await startHub(t)
  const { client, stream } = await live()
  // A failover to an empty server of another machine: its ids begin below those of the one that was lost.
  broker.interrupt()
  stream.replay(notificationFrame({ id: stream.cursor + 60_000_000, event: 'message', json: '"of the lost one"' }))
  broker.restore()
  const { json, id } = await client.until(() => client.syncs[1], 'the second sync')
  t.equal(json.resume, 'incomplete')
  const [first] = await publish('user:1')
  t.ok(first! > Number(id))
  await hasId(client, first!)
  t.same(idsOf(client).slice(1), [first])
})

t.test('stream, that would open while a drain is under way, is told to come back', async (t) => {
  const { hub, live, open, ended } = await startHub(t)
  await live()
  const drained = hub.drain(200)
  const { refused } = open()
  t.match(await refused, { refused: 'for now', retryMs: Number })
  await drained
  await ended(1)
})
