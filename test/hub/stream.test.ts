// One stream over a real socket: what it keeps while held, how its bytes look to HTTP/1.1 and 1.0, and how it ends, once.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import t from 'tap'
import { Batch } from '../../src/hub/batch.ts'
import { tellEnd } from '../../src/hub/exits.ts'
import { comeBackFrame, type Frame, syncFrame, terminalFrame } from '../../src/hub/frame.ts'
import { ends, type EndTrace } from '../../src/tracing.ts'
import { channel, datas, frame, fresh, open, queue } from './open-stream.ts'
import { has } from './rig.ts'

t.test('stream, whatever it is sent first, says in the same block when to come back', async (t) => {
  const greeting = (raw: string): boolean => raw.startsWith('retry: 100\n')
  for (const first of ['ping', 'replay', 'sync'] as const) {
    const { stream, client } = await open(t)
    if (first === 'ping') stream.ping()
    else if (first === 'replay') stream.replay(frame(1))
    else stream.sync(syncFrame(1, fresh), false)
    stream.ping()
    await client.until(() => client.events.length === 2 ? true : undefined, 'both')
    t.same(client.events.map(({ raw }) => greeting(raw)), [true, false], first)
    t.same(client.connection.retries, [100])
  }
  for (const reason of ['closed', 'replaced'] as const) {
    const { stream, client } = await open(t)
    stream.end(reason, terminalFrame(reason, {}))
    const { retries } = await client.ended()
    t.same([client.events.map(({ event, raw }) => [event, greeting(raw)]), retries], [[[reason, true]], [100]])
  }
  const { stream, client } = await open(t)
  stream.end('drain', comeBackFrame(7))
  t.same((await client.ended()).retries, [7], 'a hint to come back has its own')
})

t.test('stream, live and held, drops what a sync has told already, and nothing else without an id', async (t) => {
  const { stream, client } = await open(t)
  const read = (asOf: number): Frame => ({ ...frame(0, `read as of ${asOf}`), asOf })
  queue(stream, read(4), read(6), frame(0, 'plain'))
  stream.sync(syncFrame(5, fresh), false)
  stream.release(5)
  queue(stream, read(5), read(7))
  stream.flush()
  await has(client, 3)
  t.same(datas(client), ['"read as of 6"', '"plain"', '"read as of 7"'])
})

t.test('stream, live and held, takes one of the copies of what has no id', async (t) => {
  const { stream, client } = await open(t)
  const copy = (once: string): Frame => ({ ...frame(0, once), once })
  queue(stream, copy('a'), copy('a'), frame(0, 'plain'), copy('b'))
  stream.release(0)
  queue(stream, copy('b'), copy('c'), copy('c'), frame(0, 'plain'), frame(0, 'plain'))
  stream.flush()
  await has(client, 6)
  t.same(datas(client), ['"a"', '"plain"', '"b"', '"c"', '"plain"', '"plain"'])
})

t.test('stream, new, is held, and released writes what it kept that is newer than its cursor, in order', async (t) => {
  const { stream, client } = await open(t)
  t.ok(stream.isHeld)
  t.equal(stream.state, 'opening')
  queue(stream, frame(5), frame(7), frame(0, 'plain'), frame(8))
  stream.replay(frame(6))
  t.equal(stream.cursor, 6)
  stream.release(0)
  t.notOk(stream.isHeld)
  t.equal(stream.state, 'live')
  t.equal(stream.cursor, 8)
  t.equal(stream.written, 4)
  await has(client, 4)
  t.same(datas(client), ['6', '7', '"plain"', '8'])
})

t.test('stream, held for two changes of which it hears the later one first, needs an answer that includes both', async (t) => {
  const { stream } = await open(t)
  stream.fill(9)
  stream.fill(5)
  t.same([8, 9].map((position) => stream.isSatisfiedWith(position)), [false, true])
})

t.test('stream, holding more than its limit, forgets it and asks for another round', async (t) => {
  const { stream, client } = await open(t, { bufferBytes: 20_000 })
  for (let id = 1; id <= 3; id++) queue(stream, frame(id, 'x'.repeat(6000)))
  t.ok(stream.isSatisfiedWith(0))
  queue(stream, frame(4, 'x'.repeat(6000)))
  t.notOk(stream.isSatisfiedWith(Number.MAX_SAFE_INTEGER))
  queue(stream, frame(5))
  stream.release(0)
  await has(client, 1)
  t.same(datas(client), ['5'], 'and keeps what comes after')
})

t.test('stream, held again with a batch under way, writes that first', async (t) => {
  const { stream, client } = await open(t)
  stream.release(0)
  queue(stream, frame(1), frame(2))
  stream.fill(0)
  queue(stream, frame(3))
  stream.release(0)
  await has(client, 3)
  t.same(datas(client), ['1', '2', '3'])
  t.equal(stream.pending, undefined)
})

for (const httpVersion of ['1.1', '1.0'] as const) {
  t.test(`stream, over HTTP/${httpVersion}, is valid to the last byte, whatever way it is written`, async (t) => {
    const { stream, client, ended, ends } = await open(t, { httpVersion })
    stream.replay(frame(1, 'é\u2028'))
    stream.release(0)
    queue(stream, frame(2), frame(3))
    stream.ping()
    stream.flush()
    queue(stream, frame(4))
    stream.end('age', comeBackFrame(4321))
    await ended
    const { head, retries, ending } = await client.ended()
    t.equal(head!.headers['transfer-encoding'], httpVersion === '1.1' ? 'chunked' : undefined)
    t.match({ retries, ending }, { retries: [100, 4321], ending: 'end' })
    t.same(client.events.map(({ event, data }) => `${event} ${data}`), ['message "é\u2028"', 'ping {}', 'message 2', 'message 3', 'message 4', 'ping {}'])
    t.same(ends, ['age'])
  })
}

t.test('stream, ended for good, leaves the client with an id that says so', async (t) => {
  const { stream, client, ends, ended } = await open(t)
  stream.release(0)
  stream.end('replaced', terminalFrame('replaced', {}))
  await client.ended()
  await ended
  t.equal(client.lastEventId, '!replaced')
  t.same(ends, ['replaced'])
})

t.test('stream, that has ended in one way, ends in no other and writes no more', async (t) => {
  const { stream, client, ends, ended } = await open(t)
  stream.release(0)
  stream.end('age', comeBackFrame(1))
  t.ok(stream.hasEnded)
  stream.end('drain', comeBackFrame(2))
  stream.cut('slow')
  stream.replay(frame(1))
  queue(stream, frame(2))
  stream.flush()
  stream.ping()
  await ended
  const { retries, ending } = await client.ended()
  t.match({ retries, ending }, { retries: [1], ending: 'end' })
  t.same(client.events.map(({ raw }) => raw), ['retry: 1\nevent: ping\ndata: {}'], 'the last words of the first end')
  stream.abandon()
  stream.end('expired', comeBackFrame(3))
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
    stream.release(0)
    client.close({ reset })
    await ended
    t.ok(stream.hasEnded)
    for (let id = 1; id < 10; id++) stream.replay(frame(id))
    stream.ping()
    stream.end('drain', comeBackFrame(1))
    stream.cut('slow')
    stream.abandon()
    await stream.drained()
    t.same(ends, ['client'])
  })
}

t.test('stream, whose client leaves while a message waits for the next write, tells of it as not written', async (t) => {
  const node = { name: 'a' }
  const told: EndTrace[] = []
  const hear = (trace: unknown): void => { if ((trace as EndTrace).node === node) told.push(trace as EndTrace) }
  subscribe(ends.name as string, hear)
  t.teardown(() => { unsubscribe(ends.name as string, hear) })
  for (const isWritten of [false, true]) {
    const { stream, client, ended } = await open(t)
    await client.opened()
    stream.release(0)
    stream.replay(frame(3))
    await has(client, 1)
    stream.ping() // a heartbeat looks at what the socket has taken
    queue(stream, frame(5))
    if (isWritten) stream.flush()
    client.close()
    await ended
    tellEnd(node, stream, 'client')
  }
  t.match(told, [{ writtenTo: 3, takenTo: 3 }, { writtenTo: 5, takenTo: 3 }])
})

t.test('stream, that is ending and whose client takes nothing, takes nothing more, and tells of it as not written', async (t) => {
  const { stream, client } = await open(t, { bufferBytes: 100_000_000, read: false })
  stream.release(0)
  stream.replay(frame(3, 'x'.repeat(12_000_000))) // more than the kernel takes
  stream.end('age', comeBackFrame(1))
  t.equal(stream.state, 'ending')
  const { written } = stream
  t.notOk(stream.takes(frame(5), channel, new Batch()))
  stream.flush()
  t.same([stream.cursor, stream.written, stream.pending], [3, written, undefined])
  client.close()
})
