// The reader of the stream against the standard (WHATWG HTML, 9.2.6) and against another reader, cut at every place.
import t from 'tap'
import fc from 'fast-check'
import { createParser } from 'eventsource-parser'
import { createReader, type Received } from '../../client/src/events.ts'

function read (pieces: string[]): { events: Received[], retries: number[] } {
  const events: Received[] = []
  const retries: number[] = []
  const feed = createReader({ onEvent: (event) => { events.push(event) }, retry: (ms) => { retries.push(ms) } })
  for (const piece of pieces) feed(piece)
  return { events, retries }
}

t.test('blocks: fields, names without a value, comments, several lines of data', async (t) => {
  t.same(read(['retry: 3000\nid: 7\ndata: {"a":1}\n\n: a comment\nevent: stock\ndata:x\ndata:  y\n\ndata\n\nid: 8\n\nevent:ping\ndata: {}\n\nretry: soon\nkeep: replay\ndata: 1:2\u2028\n\n']), {
    events: [
      { id: '7', event: 'message', data: '{"a":1}' },
      { id: undefined, event: 'stock', data: 'x\n y' },
      { id: undefined, event: 'message', data: '' },
      { id: undefined, event: 'ping', data: '{}' },
      { id: undefined, event: 'message', data: '1:2\u2028' }
    ],
    retries: [3000]
  })
})

t.test('cut at any place, with any line end: the same as eventsource-parser reads', async () => {
  const line = fc.oneof(
    fc.tuple(fc.constantFrom('data', 'id', 'event', 'other', ''), fc.constantFrom(':', ': ', ''), fc.constantFrom('', 'x', ' y', '{"a":"ü"}', ':', '9')).map((parts) => parts.join('')),
    fc.constant('')
  )
  fc.assert(fc.property(fc.array(line, { maxLength: 30 }), fc.constantFrom('\n', '\r\n', '\r'), fc.array(fc.nat(200), { maxLength: 10 }), (lines, end, cuts) => {
    const text = lines.map((one) => one + end).join('') + end + 'data: last' + end + end + ':'
    const places = [...new Set([0, ...cuts.filter((cut) => cut < text.length), text.length])].sort((a, b) => a - b)
    const pieces = places.slice(1).map((place, index) => text.slice(places[index], place))
    const wanted: Received[] = []
    const parser = createParser({ onEvent: ({ id, event, data }) => { wanted.push({ id, event: event || 'message', data }) } })
    parser.feed(text)
    parser.reset({ consume: true })
    const { events } = read(pieces)
    return JSON.stringify(events) === JSON.stringify(wanted)
  }))
})
