// Frames and batches as a client reads them back: random data, names and cuts, and nothing ever leaves its field.
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { Batch } from '../../src/hub/batch.ts'
import { comeBackFrame, type Frame, notificationFrame, pingFrame, replayedFrame, retryLine, syncFrame, terminalFrame } from '../../src/hub/frame.ts'
import { eventFault, type Notification } from '../../src/notification.ts'
import { readFrames } from '../fixtures/frames.ts'

interface Read { id: string | undefined, event: string, data: string }

/** What the `eventsource-parser` package makes of the bytes when they come cut at these places. */
function readBack (bytes: Buffer, cuts: readonly number[]): { events: Read[], retries: number[] } {
  const events: Read[] = []
  const retries: number[] = []
  const feed = readFrames({ onEvent: ({ id, event, data }) => events.push({ id, event, data }), onRetry: (ms) => retries.push(ms) })
  let from = 0
  for (const to of [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)) {
    feed(bytes.subarray(from, to))
    from = to
  }
  feed(bytes.subarray(from))
  feed(undefined)
  return { events, retries }
}

/** The content of HTTP/1.1 chunks (RFC 9112, 7.1), or an error at the first byte that is not in its place. */
function unchunk (bytes: Buffer): Buffer {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf('\r\n', at)
    const size = bytes.toString('latin1', at, end)
    if (!/^[1-9a-f][0-9a-f]*$/.test(size)) throw new Error(`not a chunk size: ${JSON.stringify(size)}`)
    const from = end + 2
    at = from + parseInt(size, 16)
    pieces.push(bytes.subarray(from, at))
    if (bytes.toString('latin1', at, at + 2) !== '\r\n') throw new Error(`the chunk at ${from} does not end where it says`)
    at += 2
  }
  return Buffer.concat(pieces)
}

const nasty = fc.constantFrom('\r', '\n', '\r\n', '\n\n', '\r\r', '\u2028', '\u2029', '\0', '\ufeff', '\ud800', '\udfff', '😀', 'data: x', '\nid: 7', '\nevent: sync\n', '\nretry: 1\n', ': ', '\u0085', '"', '\\')
const text = fc.oneof(fc.string({ unit: 'binary' }), fc.array(fc.oneof(nasty, fc.string({ maxLength: 3 }))).map((parts) => parts.join('')))
const data = fc.oneof(
  fc.jsonValue({ stringUnit: 'binary' }),
  text,
  fc.dictionary(text, fc.oneof(text, fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constant(null), fc.boolean(), fc.array(text)))
)
const event = fc.oneof(fc.constant('message'), fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/)).filter((name) => eventFault(name) === undefined)
const id = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }))
const notification: fc.Arbitrary<Notification> = fc.record({ id, event, json: data.map((value) => JSON.stringify(value)) })
const cuts = fc.array(fc.nat(2_000), { maxLength: 12 })

const expected = ({ id, event, json }: Notification): Read => ({ id: id === 0 ? undefined : String(id), event, data: json })

t.test('frame, of any notification cut anywhere, is read back exactly', async () => {
  fc.assert(fc.property(notification, cuts, (notification, cuts) =>
    isDeepStrictEqual(readBack(notificationFrame(notification).bare, cuts), { events: [expected(notification)], retries: [] })
  ), { numRuns: 500 })
})

t.test('frame, cut between any two bytes, is read back exactly', async (t) => {
  const notification = { id: 1763794000123456, event: 'stock', json: JSON.stringify('é\u2028😀\r\n\nid: 1') }
  const { bare } = notificationFrame(notification)
  const wrong = Array.from({ length: bare.length + 1 }, (_, cut) => cut).filter((cut) => !isDeepStrictEqual(readBack(bare, [cut]).events, [expected(notification)]))
  t.strictSame(wrong, [])
  t.strictSame(readBack(bare, Array.from(bare.keys())).events, [expected(notification)], 'and byte by byte')
})

t.test('frame, of any notification, chunked is one valid chunk of bare', async () => {
  fc.assert(fc.property(notification, (notification) => {
    const { id, bare, chunked } = notificationFrame(notification)
    return unchunk(chunked).equals(bare) && chunked.indexOf(bare) === chunked.indexOf('\r\n') + 2 && id === notification.id
  }))
})

t.test('frame, of data at the size limit, keeps its chunk header right', async (t) => {
  for (const size of [1, 14, 15, 16, 240, 256, 4080, 4096, 65_520, 65_536, 1_048_576]) {
    const { bare, chunked } = notificationFrame({ id: 1, event: 'message', json: JSON.stringify('😀'.repeat(size / 4)) })
    t.ok(unchunk(chunked).equals(bare), `${size} bytes`)
  }
})

t.test('frame, of the default event, says no event line and of none with an id, no id line', async (t) => {
  t.equal(notificationFrame({ id: 7, event: 'message', json: '{}' }).bare.toString(), 'id: 7\ndata: {}\n\n')
  t.equal(notificationFrame({ id: 0, event: 'stock', json: '1' }).bare.toString(), 'event: stock\ndata: 1\n\n')
})

t.test('frame, of a sync, carries position and groups whatever they are called', async () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), fc.array(text), cuts, (position, groups, cuts) => {
    const data = { resume: 'complete', replayed: 1, seen: '7', read: '5', unseen: 1, unread: 2, groups, heartbeatSeconds: 15 } as const
    const { id, bare } = syncFrame(position, data)
    const { events: [sync, ...more] } = readBack(bare, cuts)
    return id === position && more.length === 0 && sync?.event === 'sync' && sync.id === String(position) && sync.data === JSON.stringify(data)
  }))
})

t.test('frame, of the stream\'s own words, is what EventSource expects', async (t) => {
  t.strictSame(readBack(pingFrame.bare, []).events, [{ id: undefined, event: 'ping', data: '{}' }], 'a ping has no id')
  t.equal(pingFrame.id, 0)
  const ping = { id: undefined, event: 'ping', data: '{}' }
  t.strictSame(readBack(comeBackFrame(3000).bare, [3]), { events: [ping], retries: [3000] })
  t.strictSame(readBack(Buffer.concat([retryLine(3000).bare, pingFrame.bare]), []), { events: [ping], retries: [3000] })
  for (const event of ['replaced', 'closed'] as const) {
    const frame = terminalFrame(event, { reason: 'logout\n\nid: 1' })
    t.strictSame(readBack(frame.bare, []).events, [{ id: `!${event}`, event, data: JSON.stringify({ reason: 'logout\n\nid: 1' }) }])
    t.equal(frame.id, 0, 'and has no place in the order')
  }
})

const frames = fc.array(notification, { minLength: 1, maxLength: 8 }).map((list) => list.map(notificationFrame))

t.test('batch, of any sequence, is its frames one after the other in both encodings', async () => {
  fc.assert(fc.property(frames, cuts, (frames, cuts) => {
    const batch = frames.reduce((batch, frame) => batch.plus(frame), new Batch())
    const bare = batch.bytes(false)
    return bare.equals(Buffer.concat(frames.map((frame) => frame.bare))) &&
      batch.bytes(true).equals(Buffer.concat(frames.map((frame) => frame.chunked))) &&
      unchunk(batch.bytes(true)).equals(bare) &&
      readBack(bare, cuts).events.length === frames.length
  }))
})

t.test('batch, of nothing, has no bytes', async (t) => {
  t.equal(new Batch().bytes(true).length, 0)
})

t.test('batch, of one frame, is that frame\'s own buffer', async (t) => {
  const frame = notificationFrame({ id: 1, event: 'message', json: '1' })
  t.equal(new Batch().plus(frame).bytes(true), frame.chunked)
  t.equal(new Batch().plus(frame).bytes(false), frame.bare)
})

// As the hub does it: each frame is handed to all who get it before the next one comes.
t.test('batch, shared by streams as a hub does, gives each its own sequence and the same sequence the same buffer', async () => {
  const plan = fc.integer({ min: 1, max: 6 }).chain((streams) => fc.record({
    streams: fc.constant(streams),
    sends: fc.array(fc.tuple(notification, fc.subarray(Array.from({ length: streams }, (_, i) => i))), { minLength: 1, maxLength: 10 })
  }))
  fc.assert(fc.property(plan, fc.boolean(), ({ streams, sends }, chunked) => {
    const root = new Batch()
    const batches: Batch[] = Array.from({ length: streams }, () => root)
    const owed: Frame[][] = Array.from({ length: streams }, () => [])
    for (const [notification, to] of sends) {
      const frame = notificationFrame(notification)
      for (const stream of to) {
        batches[stream] = batches[stream]!.plus(frame)
        owed[stream]!.push(frame)
      }
    }
    const exact = batches.every((batch, i) => batch.bytes(chunked).equals(Buffer.concat(owed[i]!.map((frame) => chunked ? frame.chunked : frame.bare))))
    const shared = batches.every((batch, i) => batches.every((other, j) => {
      const same = owed[i]!.length === owed[j]!.length && owed[i]!.every((frame, at) => frame === owed[j]![at])
      return !same || batch.bytes(chunked) === other.bytes(chunked)
    }))
    return exact && shared
  }), { numRuns: 500 })
})

t.test('frame, of a notification that several streams are owed, is made once', async (t) => {
  const notification = { id: 7, event: 'message', json: '"x"' }
  t.equal(replayedFrame(notification), replayedFrame(notification))
  t.same(replayedFrame(notification), notificationFrame(notification))
  t.not(replayedFrame(notification), replayedFrame({ ...notification }))
})
