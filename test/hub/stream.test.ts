// One stream over a real socket: what it keeps while held, how its bytes look to HTTP/1.1 and 1.0, and how it ends, once.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { Batch } from '../../src/hub/batch.ts'
import { type Frame, notificationFrame, retryFrame, terminalFrame } from '../../src/hub/frame.ts'
import { type EndReason, Stream } from '../../src/hub/stream.ts'
import { Topic } from '../../src/hub/topics.ts'
import { type Client, type ClientOptions, connect } from '../fixtures/client.ts'
import { has } from './rig.ts'

const frame = (id: number, data: unknown = id): Frame => notificationFrame({ id, event: 'message', json: JSON.stringify(data) })
const datas = (client: Client): string[] => client.notifications.map(({ data }) => data)

const topic = new Topic('user:1')

interface Opened {
  readonly stream: Stream
  readonly client: Client
  readonly response: ServerResponse
  /** Every call of onEnd. */
  readonly ends: EndReason[]
  readonly ended: Promise<void>
}

async function open (t: Test, { bufferBytes = 1_048_576, ...options }: Partial<ClientOptions> & { bufferBytes?: number } = {}): Promise<Opened> {
  const ends: EndReason[] = []
  const ended = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<{ stream: Stream, response: ServerResponse }>()
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    response.flushHeaders()
    const owner = { userId: '1', claim: { groups: [], issuedAtSeconds: 0 }, expiresAtMs: Infinity }
    opened.resolve({
      response,
      stream: new Stream(response, owner, { bufferBytes }, (_stream, reason) => {
        ends.push(reason)
        ended.resolve()
      })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect(t, { reconnect: false, ...options, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { stream, response } = await opened.promise
  stream.topics.push(topic)
  return { stream, response, client, ends, ended: ended.promise }
}

t.test('stream, new, is held, and released writes what it kept that is newer than its cursor, in order', async (t) => {
  const { stream, client } = await open(t)
  t.ok(stream.isHeld)
  t.notOk(stream.isLive)
  for (const one of [frame(5), frame(7), frame(0, 'plain'), frame(8)]) stream.keep(one, topic)
  stream.write(frame(6))
  t.equal(stream.cursor, 6)
  stream.release()
  t.notOk(stream.isHeld)
  t.ok(stream.isLive)
  t.equal(stream.cursor, 8)
  t.equal(stream.delivered, 3)
  await has(client, 4)
  t.same(datas(client), ['6', '7', '"plain"', '8'])
})

t.test('stream, holding more than its limit, forgets it and asks for another round', async (t) => {
  const { stream, client } = await open(t, { bufferBytes: 20_000 })
  for (let id = 1; id <= 3; id++) stream.keep(frame(id, 'x'.repeat(6000)), topic)
  t.equal(stream.staleUntil, 0)
  stream.keep(frame(4, 'x'.repeat(6000)), topic)
  t.equal(stream.staleUntil, Infinity)
  stream.keep(frame(5), topic)
  stream.release()
  await has(client, 1)
  t.same(datas(client), ['5'], 'and keeps what comes after')
})

t.test('stream, held again with a batch under way, writes that first', async (t) => {
  const { stream, client } = await open(t)
  stream.release()
  stream.pending = new Batch().then(frame(1)).then(frame(2))
  stream.hold()
  stream.keep(frame(3), topic)
  stream.release()
  await has(client, 3)
  t.same(datas(client), ['1', '2', '3'])
  t.equal(stream.pending, undefined)
})

for (const httpVersion of ['1.1', '1.0'] as const) {
  t.test(`stream, over HTTP/${httpVersion}, is valid to the last byte, whatever way it is written`, async (t) => {
    const { stream, client, ended, ends } = await open(t, { httpVersion })
    stream.write(frame(1, 'é\u2028'))
    stream.release()
    stream.pending = new Batch().then(frame(2)).then(frame(3))
    stream.ping()
    stream.flush()
    stream.pending = new Batch().then(frame(4))
    stream.end('age', retryFrame(4321))
    await ended
    const { head, retries, ending } = await client.ended()
    t.equal(head!.headers['transfer-encoding'], httpVersion === '1.1' ? 'chunked' : undefined)
    t.match({ retries, ending }, { retries: [4321], ending: 'end' })
    t.same(client.events.map(({ event, data }) => `${event} ${data}`), ['message "é\u2028"', 'ping {}', 'message 2', 'message 3', 'message 4'])
    t.same(ends, ['age'])
  })
}

t.test('stream, ended for good, leaves the client with an id that says so', async (t) => {
  const { stream, client, ends, ended } = await open(t)
  stream.release()
  stream.end('replaced', terminalFrame('replaced', {}))
  await client.ended()
  await ended
  t.equal(client.lastEventId, '!replaced')
  t.same(ends, ['replaced'])
})

t.test('stream, that has ended in one way, ends in no other and writes no more', async (t) => {
  const { stream, client, ends, ended } = await open(t)
  stream.release()
  stream.end('age', retryFrame(1))
  t.ok(stream.hasEnded)
  stream.end('drain', retryFrame(2))
  stream.cut('slow')
  stream.write(frame(1))
  stream.pending = new Batch().then(frame(2))
  stream.flush()
  stream.ping()
  await ended
  const { retries, ending } = await client.ended()
  t.match({ retries, ending }, { retries: [1], ending: 'end' })
  t.same(client.events, [])
  stream.abandon()
  stream.end('expired')
  t.same(ends, ['age'])
})

t.test('stream, cut, drops the connection at once', async (t) => {
  const { stream, client, ends, ended } = await open(t)
  stream.cut('slow')
  await ended
  t.same(ends, ['slow'])
  t.not((await client.ended()).ending, 'end')
})

for (const reset of [false, true]) {
  t.test(`stream, whose client goes ${reset ? 'by RST' : 'by FIN'}, ends once, and to write to it is harmless`, async (t) => {
    const { stream, client, ends, ended } = await open(t)
    stream.release()
    client.close({ reset })
    await ended
    t.ok(stream.hasEnded)
    for (let id = 1; id < 10; id++) stream.write(frame(id))
    stream.ping()
    stream.end('drain', retryFrame(1))
    stream.cut('slow')
    stream.abandon()
    await stream.drained()
    t.same(ends, ['client'])
  })
}

t.test('stream, over its limit of unsent bytes, is cut for being slow', async (t) => {
  const { stream, client, ends, ended, response } = await open(t, { bufferBytes: 200_000, read: false })
  stream.release()
  let most = 0
  for (let id = 1; !stream.hasEnded; id++) {
    stream.write(frame(id, 'x'.repeat(50_000)))
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
  stream.release()
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
    stream.write(frame(++id))
    stream.pending = new Batch().then(frame(++id)).then(frame(++id))
    stream.flush()
    stream.ping()
    t.equal(queued, 0, 'with nothing waiting, each write goes to the kernel at once')
    client.pause()
    while (socket.writableLength < 300_000) {
      stream.write(frame(++id, 'x'.repeat(70_001)))
      stream.ping()
      stream.pending = new Batch().then(frame(++id, 'y'.repeat(999))).then(frame(++id))
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
  stream.release()
  const socket = response.socket!
  const { _write: write } = socket
  let writes = 0
  socket._write = (...args) => {
    writes++
    write.apply(socket, args)
  }
  client.pause()
  stream.cork()
  stream.write(frame(1))
  stream.write(frame(2, 'x'.repeat(12_000_000)))
  stream.uncork() // more than the kernel takes
  stream.cork()
  stream.write(frame(3))
  stream.uncork() // waits behind it
  stream.write(frame(4))
  t.equal(writes, 0)
  client.resume()
  await has(client, 4)
  t.same(client.notifications.map(({ id }) => id), ['1', '2', '3', '4'])
})

t.test('stream, one frame larger than the kernel takes, counts it as unsent until it is taken', async (t) => {
  const large = frame(1, 'x'.repeat(12_000_000))
  const patient = await open(t, { bufferBytes: 20_000_000, read: false })
  patient.stream.release()
  patient.stream.write(large)
  t.notOk(patient.stream.hasRoomFor(large))
  patient.client.resume()
  await patient.stream.drained()
  t.ok(patient.stream.hasRoomFor(large))

  const strict = await open(t, { bufferBytes: 10_000_000, read: false })
  strict.stream.release()
  strict.stream.write(large)
  await strict.ended
  t.same(strict.ends, ['slow'])
})

t.test('drained, of an idle socket, is so at once; of a full one, when the client reads or goes', async (t) => {
  for (const goes of [false, true]) {
    const { stream, client, response } = await open(t, { bufferBytes: 100_000_000 })
    await client.opened()
    await stream.drained()
    client.pause()
    let id = 0
    while (!response.socket!.writableNeedDrain) {
      stream.write(frame(++id, 'x'.repeat(100_000)))
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
