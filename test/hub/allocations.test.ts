// What being counted costs a node's heap: nothing, neither for a notification nor for a delivery.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { EventEmitter } from 'node:events'
import { Session } from 'node:inspector/promises'
import { setFlagsFromString } from 'node:v8'
import t from 'tap'
import type { Answer } from '../../src/hub/line.ts'
import type { Hub } from '../../src/hub/hub.ts'
import { metrics } from '../../src/http/metrics.ts'
import { Refusals } from '../../src/http/refusals.ts'
import { startHub } from './rig.ts'

// Interpreted, each object that the source makes is made, and by itself: compiled, V8 leaves out what it can, as it has
// compiled by then.
for (const compiler of ['sparkplug', 'maglev', 'turbofan']) setFlagsFromString(`--no-${compiler}`)

/** A number with a point, which the interpreter makes of each calculation; whatever else there is, is larger. */
const NUMBER_BYTES = 16

/** How many objects are made while it runs. */
async function objectsMade (run: () => Promise<void>): Promise<number> {
  const session = new Session()
  session.connect()
  // A sample is taken a byte after the last one: of each.
  await session.post('HeapProfiler.startSampling', { samplingInterval: 1, includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true })
  await run()
  const { profile } = await session.post('HeapProfiler.stopSampling')
  session.disconnect()
  const { samples } = profile as typeof profile & { samples: Array<{ size: number }> } // which its types leave out
  return samples.filter(({ size }) => size > NUMBER_BYTES).length
}

/** A stream whose socket takes everything at once: what is counted is the hub's. */
async function openStreams (hub: Hub, count: number): Promise<() => void> {
  const responses: EventEmitter[] = []
  for (let i = 0; i < count; i++) {
    const socket = Object.assign(new EventEmitter(), {
      destroyed: false,
      writableLength: 0,
      writableCorked: 0,
      _write: (_bytes: Buffer, _encoding: string, taken: () => void) => { taken() },
      write: (_bytes: Buffer, taken?: () => void) => {
        taken?.()
        return true
      },
      cork () {},
      uncork () {},
      destroy () {}
    })
    const response = Object.assign(new EventEmitter(), { headersSent: true, socket, chunkedEncoding: true, end () {} })
    responses.push(response)
    const owner = { userId: `u${i}`, groups: [], admittedAt: Number.MAX_SAFE_INTEGER, issuedAtSeconds: 1, expiresAtSeconds: Infinity, reconnectsFrom: 'fresh' as const }
    const opening = hub.open(() => response as unknown as Answer, owner, 'fresh')
    if (!('opened' in opening)) throw new Error('not opened')
    await opening.opened
  }
  return () => { for (const response of responses) response.emit('close') }
}

t.test('metrics, of messages to 1 or to 100 streams, are counted without an object for a notification or for a delivery', async (t) => {
  const messages = 300
  for (const streams of [1, 100]) {
    const node = { name: 'rig' }
    // Node's own performance.now() makes an array when it is interpreted.
    const clock = { nowMs: () => 0.5, wallMs: Date.now }
    const { hub, broker } = await startHub(t, { node, clock, coalesceMs: 0 })
    const close = await openStreams(hub, streams)
    // Later than the streams' beginning, and some with a trace, which is the exemplar then.
    let id = (Date.now() + 1) * 1000
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    let runs = 0
    const run = async (): Promise<void> => {
      runs++
      for (let i = 0; i < messages; i++) {
        hub.notification('all', { id: id++, event: 'message', json: '1', ...(i % 10 === 0 && { traceparent }) })
        await undefined // each is written before the next is heard
      }
    }
    /** Of each message. Once before, so that what is made once is there. */
    const made = async (): Promise<number> => {
      await run()
      return await objectsMade(run) / messages
    }
    const uncounted = await made()
    const { prometheus, close: endCounting } = metrics({ hub, broker, refusals: new Refusals({ info () {} }), node, logCounts: { failedWrites: 0, lostLines: 0 }, publishCounts: { published: 0 } })
    const from = runs
    const counted = await made()
    t.equal(hub.stats.delivered, runs * messages * streams)
    const { body } = await prometheus.text('application/openmetrics-text')
    const [, count] = /^tidings_publish_to_write_seconds_count\S* (\d+)$/m.exec(body)!
    t.equal(Number(count), (runs - from) * messages)
    t.match(body, 'trace_id="0af7651916cd43dd8448eb211c80319c"')
    // One of a single field for each message is seen: so sharp is the measure.
    const seen: object[] = []
    const look = (): void => { seen.push({ id }) }
    subscribe('tracing:tidings:deliver:start', look)
    const looked = await made()
    unsubscribe('tracing:tidings:deliver:start', look)
    t.comment(`${streams} streams: ${uncounted.toFixed(2)} objects a notification, ${counted.toFixed(2)} with metrics, ${looked.toFixed(2)} with one more`)
    t.ok(Math.abs(counted - uncounted) < 0.5, 'no object a notification, and none a delivery')
    t.ok(looked - counted > 0.5, 'where one would be seen')
    endCounting()
    close()
  }
})
