// One stream over a real socket: what it keeps while held, how its bytes look to HTTP/1.1 and 1.0, and how it ends, once.
import t from 'tap'
import { Batch } from '../../src/hub/batch.ts'
import { retryFrame, terminalFrame } from '../../src/hub/frame.ts'
import { datas, frame, open, topic } from './open-stream.ts'
import { has } from './rig.ts'

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
