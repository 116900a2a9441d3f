// What being counted costs a node's heap: nothing, neither for a notification nor for a delivery.
import { EventEmitter } from 'node:events'
import { GCProfiler, getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { Answer } from '../../src/hub/line.ts'
import type { Hub } from '../../src/hub/hub.ts'
import { metrics } from '../../src/http/metrics.ts'
import { Refusals } from '../../src/http/refusals.ts'
import { startHub } from './rig.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes that the heap is given while it runs: what was used before each collection, less what the one before it left. */
function allocated (run: () => void): number {
  collect()
  const profiler = new GCProfiler()
  profiler.start()
  const start = getHeapStatistics().used_heap_size
  run()
  const end = getHeapStatistics().used_heap_size
  let [bytes, left] = [0, start]
  for (const { beforeGC, afterGC } of profiler.stop()!.statistics) {
    bytes += beforeGC.heapStatistics.usedHeapSize - left
    left = afterGC.heapStatistics.usedHeapSize
  }
  return bytes + end - left
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
  const costs: Array<{ streams: number, uncounted: number, counted: number }> = []
  for (const streams of [1, 100]) {
    const messages = streams === 1 ? 100_000 : 10_000
    const node = { name: 'rig' }
    const { hub, broker } = await startHub(t, { node })
    const close = await openStreams(hub, streams)
    // Later than the streams' beginning, and some with a trace, which is the exemplar then.
    let id = (Date.now() + 1) * 1000
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const run = (): void => {
      for (let i = 0; i < messages; i++) hub.notification('all', { id: id++, event: 'message', json: '1', ...(i % 10 === 0 && { traceparent }) })
    }
    run() // so that it is compiled
    // The least of some: V8 compiles beside us, and makes a number an object where it has not yet.
    let runs = 1
    const least = (enough = 0): number => {
      let bytes = Infinity
      for (let i = 0; i < (enough > 0 ? 20 : 3) && bytes > enough; i++, runs++) bytes = Math.min(bytes, allocated(run) / messages)
      return bytes
    }
    const uncounted = least()
    const { prometheus, close: endCounting } = metrics({ hub, broker, refusals: new Refusals({ info () {} }), node, logCounts: { failedWrites: 0, lostLines: 0 } })
    const from = runs
    const counted = least(uncounted + 20)
    t.equal(hub.stats.delivered, runs * messages * streams)
    costs.push({ streams, uncounted, counted })
    const { body } = await prometheus.text('application/openmetrics-text')
    const [, count] = /^tidings_publish_to_write_seconds_count\S* (\d+)$/m.exec(body)!
    t.ok(Number(count) > (runs - from - 0.5) * messages, 'they are counted, but for the last, which are gathered still')
    t.match(body, 'trace_id="0af7651916cd43dd8448eb211c80319c"')
    endCounting()
    close()
  }
  for (const { streams, uncounted, counted } of costs) {
    t.comment(`${streams} streams: ${uncounted.toFixed(1)} bytes a notification, ${counted.toFixed(1)} with metrics`)
    // Whether it makes times of a write numbers on the heap (16 bytes each, two at most), V8 decides with and without
    // metrics.
    t.ok(counted - uncounted < 36, 'no object a notification')
  }
  const [one, hundred] = costs as [typeof costs[0], typeof costs[0]]
  t.ok((hundred.counted - one.counted) / 99 < 8, 'and next to nothing a delivery')
})
