// Clients that do not read: what waits for them is bounded, and they keep nobody, neither the other streams nor the node.
import t from 'tap'
import { frame } from './open-stream.ts'
import { has, hasId, idsOf, isEmpty, type Rig, startHub, stopTime, turn } from './rig.ts'

/** Publishes until so much waits on a socket whose client does not read that the kernel will not take it all after all. */
async function fill (rig: Rig, socket: { writableLength: number }): Promise<void> {
  while (socket.writableLength < 6_000_000) {
    await rig.publish('user:1', 'x'.repeat(60_000))
    await turn()
  }
}

t.test('client, that does not read, is cut at the limit, and the others get everything', async (t) => {
  const bufferBytes = 300_000
  const rig = await startHub(t, { bufferBytes })
  const { hub, ends, live, ended } = rig
  const [slow, good] = await Promise.all([live(), live()])
  slow.client.pause()
  const socket = slow.response.socket!
  let most = 0
  while (ends.length === 0) {
    await rig.publish('user:1', 'x'.repeat(60_000))
    await turn()
    await has(good.client, idsOf(good.client).length)
    most = Math.max(most, socket.writableLength)
  }
  await ended(1)
  t.same(ends, ['slow'])
  t.ok(most > 0 && most <= bufferBytes, `${most} bytes waited at most`)
  t.equal(hub.streams, 1)
  const [last] = await rig.publish('user:1')
  await hasId(good.client, last!)
  t.equal(good.client.notifications.length, good.stream.written)
})

t.test('ended stream, whose client does not read its last words, is cut soon after', async (t) => {
  const time = stopTime(t)
  const rig = await startHub(t, { clock: time.clock, bufferBytes: 100_000_000, maxStreamSeconds: 10 })
  const { client, response, stream } = await rig.live()
  client.pause()
  await fill(rig, response.socket!)
  while (!stream.hasEnded) time.seconds(1)
  await turn()
  t.equal(rig.hub.streams, 1, 'it has not gone')
  const [id] = await rig.publish('user:1', 'too late')
  time.seconds(4)
  await rig.ended(1)
  t.same(rig.ends, ['age'])
  t.ok(isEmpty(rig.hub))
  client.resume()
  await client.ended()
  t.notOk(idsOf(client).includes(id!))
})

t.test('drain, of a client that does not read its last words, ends all the same', async (t) => {
  const time = stopTime(t)
  const rig = await startHub(t, { clock: time.clock, bufferBytes: 100_000_000 })
  const { client, response } = await rig.live()
  client.pause()
  await fill(rig, response.socket!)
  const drained = rig.hub.drain(0)
  time.seconds(4)
  await drained
  t.same(rig.ends, ['drain'])
})

t.test('client, that pauses in a history longer than its buffer, is not cut for what the hub itself writes ahead', async (t) => {
  const { broker, open, ends, publish } = await startHub(t, { bufferBytes: 70_000 })
  const [cursor] = await publish('user:1')
  const ids = (await Promise.all(Array.from({ length: 1000 }, () => publish('user:1', 'x'.repeat(20_000))))).flat()
  const { client, opened } = open({ lastEventId: String(cursor), read: false })
  const { response, attached } = await opened
  const socket = response.socket!
  // Until the socket takes no more.
  for (let written = -1; written < socket.bytesWritten && ends.length === 0;) {
    written = socket.bytesWritten
    for (let i = 0; i < 50; i++) await turn()
  }
  t.ok(broker.queries.length < 150, `it stands after page ${broker.queries.length}`)
  t.ok(socket.writableLength <= 70_000)
  client.resume()
  await attached
  await client.until(() => client.notifications.length >= ids.length || client.connection.ending !== undefined ? true : undefined, 'all of it, or the end')
  t.same(ends, [])
  t.same(idsOf(client), ids)
})

for (const reset of [false, true]) {
  t.test(`client, gone ${reset ? 'by RST' : 'by FIN'} in the middle of a long history that it does not read, leaves nothing behind`, async (t) => {
    const { hub, broker, open, ended, publish } = await startHub(t, { bufferBytes: 10_000_000 })
    const [cursor] = await publish('user:1')
    for (let i = 0; i < 900; i++) await publish('user:1', 'x'.repeat(60_000))
    const { client, opened } = open({ lastEventId: String(cursor), read: false })
    const { stream, attached } = await opened
    // Until the socket takes no more: the next page is only asked for when it has.
    for (let asked = -1; asked < broker.queries.length || stream.state !== 'opening';) {
      asked = broker.queries.length
      for (let i = 0; i < 50; i++) await turn()
    }
    t.ok(broker.queries.length < 300, `it stands after page ${broker.queries.length}`)
    t.ok(stream.unsent < 200_000, `with that page and no more: ${stream.unsent} bytes`)
    client.close({ reset })
    await ended(1)
    await attached
    t.ok(isEmpty(hub))
    t.same(stream.channels, [])
  })
}

for (const [what, happens] of [
  ['the line of the broker breaks', ({ broker }: Rig) => { broker.interrupt() }],
  ['a group is joined', ({ broker, hub }: Rig) => {
    hub.control('1', { control: 'join', group: 'a', id: Number.MAX_SAFE_INTEGER })
    broker.interrupt()
  }]
] as const) {
  t.test(`client, that does not read, and is cut by what waits for the next write when ${what}: nobody else loses anything`, async (t) => {
    const rig = await startHub(t, { bufferBytes: 300_000, coalesceMs: 60_000 })
    const { broker, ends, live, publish } = rig
    const [slow, good] = [await live(), await live()]
    slow.client.pause()
    while (slow.stream.unsent < 250_000) {
      slow.stream.say(frame(0, 'x'.repeat(10_000)))
      await turn()
    }
    await publish('user:1')
    await publish('user:1', 'x'.repeat(60_000))
    t.ok(slow.stream.pending !== undefined)
    happens(rig)
    await rig.ended(1)
    t.same(ends, ['slow'])
    t.equal(good.stream.isHeld, true, 'nothing is heard')
    const [missed] = await publish('user:1')
    broker.restore()
    await hasId(good.client, missed!)
    t.equal(good.client.notifications.length, 3)
  })
}
