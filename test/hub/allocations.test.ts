// What being looked at costs a node's heap: something for each notification, only if somebody listens; nothing for each delivery.
import { EventEmitter } from 'node:events'
import { GCProfiler, getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { Answer } from '../../src/hub/line.ts'
import type { Hub } from '../../src/hub/hub.ts'
import { deliveries } from '../../src/tracing.ts'
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

t.test('tracing, of messages to 1 or to 100 streams, gives the heap something for each while it is heard, and nothing for a delivery', async (t) => {
  const MESSAGES = 10_000
  const costs: Array<{ streams: number, unheard: number, heard: number }> = []
  for (const streams of [1, 100]) {
    const { hub } = await startHub(t)
    const close = await openStreams(hub, streams)
    let id = 4e15
    const run = (): void => { for (let i = 0; i < MESSAGES; i++) hub.notification('all', { id: id++, event: 'message', json: '1' }) }
    run() // so that it is compiled
    // The least of three: now and then V8 compiles something anew meanwhile.
    const least = (): number => Math.min(...Array.from({ length: 3 }, () => allocated(run))) / MESSAGES
    const before = hub.stats.delivered
    const unheard = least()
    t.equal(hub.stats.delivered - before, 3 * MESSAGES * streams)
    let told = 0
    const listener = (): void => { told++ }
    deliveries.asyncEnd.subscribe(listener)
    run()
    const heard = least()
    deliveries.asyncEnd.unsubscribe(listener)
    costs.push({ streams, unheard, heard })
    close()
    t.ok(told > 0)
  }
  for (const { streams, unheard, heard } of costs) t.comment(`${streams} streams: ${unheard.toFixed(1)} bytes a notification unheard, ${heard.toFixed(1)} heard`)
  const [one, hundred] = costs as [typeof costs[0], typeof costs[0]]
  const ofTracing = (cost: typeof one): number => cost.heard - cost.unheard
  t.ok(ofTracing(one) > 0 && ofTracing(one) < 500, 'an object a notification')
  t.ok(Math.abs(ofTracing(hundred) - ofTracing(one)) / 99 < 8, 'and nothing a delivery: the smallest object has 12 bytes')
  t.ok((hundred.unheard - one.unheard) / 99 < 16, 'of which the hub itself gives the heap next to nothing')
})
