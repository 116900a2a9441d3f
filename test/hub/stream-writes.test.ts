// How a stream writes: past the queue of its socket where nothing waits, through it where something does, whole and in order, and bounded.
import t from 'tap'
import { comeBackFrame, syncFrame } from '../../src/hub/frame.ts'
import { frame, fresh, open, queue } from './open-stream.ts'
import { has } from './rig.ts'

t.test('stream, over its limit of unsent bytes, is cut for being slow', async (t) => {
  const { stream, client, ends, ended, response } = await open(t, { bufferBytes: 200_000, read: false })
  stream.release(0)
  let most = 0
  for (let id = 1; !stream.hasEnded; id++) {
    stream.replay(frame(id, 'x'.repeat(50_000)))
    if (!stream.hasEnded) most = Math.max(most, response.socket!.writableLength)
  }
  await ended
  t.same(ends, ['slow'])
  t.ok(most <= 200_000)
  client.resume()
  await client.ended()
  t.ok(client.notifications.every(({ id }, i) => id === String(i + 1)), 'what arrived is whole and in order')
})

t.test('stream, past the queue of its socket and through it, in turns, is whole and in order', async (t) => {
  const { stream, client, response } = await open(t, { bufferBytes: 100_000_000 })
  await client.opened()
  stream.release(0)
  const socket = response.socket!
  let queued = 0
  const { write } = socket
  socket.write = ((...args: Parameters<typeof write>) => {
    queued++
    return write.apply(socket, args)
  }) as typeof write
  let id = 0
  for (let round = 1; round <= 3; round++) {
    queued = 0
    stream.replay(frame(++id))
    queue(stream, frame(++id), frame(++id))
    stream.flush()
    stream.ping()
    t.equal(queued, 0, 'with nothing waiting, each write goes to the kernel at once')
    client.pause()
    while (socket.writableLength < 300_000) {
      stream.replay(frame(++id, 'x'.repeat(70_001)))
      stream.ping()
      queue(stream, frame(++id, 'y'.repeat(999)), frame(++id))
      stream.flush()
    }
    client.resume()
    await has(client, id)
    await stream.drained()
  }
  t.same(client.notifications.map((one) => one.id), Array.from({ length: id }, (_, i) => String(i + 1)))
})

t.test('stream, corked, writes all of it in one, and what comes behind it stays there', async (t) => {
  const { stream, client, response } = await open(t, { bufferBytes: 100_000_000 })
  await client.opened()
  stream.release(0)
  const socket = response.socket!
  const { _write: write } = socket
  let writes = 0
  socket._write = (...args) => {
    writes++
    write.apply(socket, args)
  }
  client.pause()
  stream.cork()
  stream.replay(frame(1))
  stream.replay(frame(2, 'x'.repeat(12_000_000)))
  stream.uncork() // more than the kernel takes
  stream.cork()
  stream.replay(frame(3))
  stream.uncork() // waits behind it
  stream.replay(frame(4))
  t.equal(writes, 0)
  client.resume()
  await has(client, 4)
  t.same(client.notifications.map(({ id }) => id), ['1', '2', '3', '4'])
})

t.test('stream, one frame larger than the kernel takes, counts it as unsent until it is taken', async (t) => {
  const large = frame(1, 'x'.repeat(12_000_000))
  const patient = await open(t, { bufferBytes: 20_000_000, read: false })
  patient.stream.release(0)
  patient.stream.replay(large)
  t.notOk(patient.stream.hasRoomFor(large.chunked.length))
  patient.client.resume()
  await patient.stream.drained()
  t.ok(patient.stream.hasRoomFor(large.chunked.length))

  const strict = await open(t, { bufferBytes: 10_000_000, read: false })
  strict.stream.release(0)
  strict.stream.say(large)
  await strict.ended
  t.same(strict.ends, ['slow'])
})

t.test('stream, one frame of the logs larger than its limit, from before that was lowered, is cut only for what comes on top', async (t) => {
  const large = frame(1, 'x'.repeat(12_000_000))
  const { stream, client, ended, ends } = await open(t, { bufferBytes: 100_000, read: false })
  stream.replay(large)
  stream.sync(frame(2), false)
  stream.ping()
  t.notOk(stream.hasEnded)
  client.resume()
  await stream.drained()
  t.same(await client.until(() => client.events.length === 3 ? client.events.map(({ id }) => id) : undefined, 'all of it'), ['1', '2', undefined])

  client.pause()
  let most = 0
  for (let id = 3; !stream.hasEnded; id++) {
    stream.say(frame(id, 'x'.repeat(50_000)))
    if (!stream.hasEnded) most = Math.max(most, stream.unsent)
  }
  await ended
  t.same(ends, ['slow'])
  t.ok(most <= 100_000, 'the limit is what it was')
})

t.test('stream, of whose write the kernel refuses the rest, ends before anything follows', async (t) => {
  const { stream, client, response, ended, ends } = await open(t)
  await client.opened()
  stream.release(0)
  const socket = response.socket!
  const { _write: write } = socket
  socket._write = (bytes: Buffer, encoding, callback) => {
    // As libuv does it: a part is written, the rest fails later.
    write.call(socket, bytes.subarray(0, 10), encoding, () => {})
    setImmediate(() => { callback(new Error('EPERM')) })
    socket._write = write
  }
  stream.replay(frame(1))
  t.notOk(stream.hasEnded)
  await ended
  stream.replay(frame(2))
  t.same(ends, ['client'])
  await client.ended()
  t.same(client.events, [])
})

t.test('stream, that ended while it was filled, leaves its connection to the next request', async (t) => {
  const { stream, response } = await open(t)
  const socket = response.socket!
  stream.end('age', comeBackFrame(1))
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(socket.destroyed, false)
  stream.cork() // a refill that has been waiting for Redis meanwhile
  t.equal(socket.writableCorked, 0)
})

t.test('drained, of an idle socket, is so at once; of a full one, when the client reads or goes', async (t) => {
  for (const goes of [false, true]) {
    const { stream, client, response } = await open(t, { bufferBytes: 100_000_000 })
    await client.opened()
    await stream.drained()
    client.pause()
    let id = 0
    while (!response.socket!.writableNeedDrain) {
      stream.replay(frame(++id, 'x'.repeat(100_000)))
      await new Promise((resolve) => { setImmediate(resolve) })
    }
    let isDrained = false
    const drained = stream.drained().then(() => { isDrained = true })
    await new Promise((resolve) => { setImmediate(resolve) })
    t.notOk(isDrained)
    if (goes) client.close({ reset: true })
    else client.resume()
    await drained
    t.equal(stream.hasEnded, goes)
    if (!goes) await has(client, id)
    t.equal(response.socket?.listenerCount('drain') ?? 0, 1, 'and takes its listeners off again')
  }
})

t.test('stream, corked over its limit, is not cut before the kernel was offered it', async (t) => {
  const { stream, client } = await open(t, { bufferBytes: 70_000 })
  await client.opened()
  stream.cork()
  for (const id of [1, 2]) stream.replay(frame(id, 'x'.repeat(34_900)))
  stream.sync(syncFrame(3, fresh), false)
  queue(stream, frame(4, 'held'))
  stream.release(3)
  stream.uncork()
  t.notOk(stream.hasEnded)
  await has(client, 3)
  t.same(client.notifications.map(({ id }) => id), ['1', '2', '4'])
  t.equal(client.syncs.length, 1)
})

t.test('stream, owed a notification or a sync that alone is over its limit, gets it, and is cut with more behind it', async (t) => {
  for (const isSync of [false, true]) {
    const { stream, client, ends, ended } = await open(t, { bufferBytes: 70_000, read: false })
    const much = 'x'.repeat(12_000_000) // more than the kernel takes
    if (isSync) stream.sync(syncFrame(1, { ...fresh, groups: [much] }), false)
    else stream.replay(frame(1, much))
    stream.release(1)
    stream.ping()
    t.notOk(stream.hasEnded)
    client.resume()
    if (isSync) await client.live()
    else await has(client, 1)
    await stream.drained()
    client.pause()
    for (let id = 2; !stream.hasEnded && id < 2000; id++) stream.replay(frame(id, 'x'.repeat(50_000)))
    await ended
    t.same(ends, ['slow'])
  }
})

t.test('held notifications, too many for a client that takes nothing: what comes after the cut does not count as written', async (t) => {
  const { stream, ends, ended } = await open(t, { bufferBytes: 16_000_000, read: false })
  for (let id = 1; id <= 5; id++) queue(stream, frame(id, 'x'.repeat(3_000_000)))
  stream.replay(frame(0, 'y'.repeat(15_000_000)))
  const written = stream.release(0)
  await ended
  t.same(ends, ['slow'])
  t.ok(written < 5, `${written} of 5`)
  t.equal(stream.cursor, written)
})
