// Latency when idle: from the moment of publishing to the client, one message at a time, some streams open.
import { Undo } from '../../test/fixtures/undo.ts'
import { Crowd } from '../harness/crowd.ts'
import { loadMicros, Meter } from '../harness/meter.ts'
import { payload } from '../harness/payload.ts'
import { pause } from '../harness/start.ts'
import type { Row } from '../rows/row.ts'
import { everyRow } from '../rows/rows.ts'
import { acrossNodes, tidings } from '../rows/tidings.ts'
import { type Asked, counted, type Section, strangers, torn } from './section.ts'

/** So few that the last one hardly waits for the others. */
const STREAMS = 10
const PER_SECOND = 50
const WARM_UP = 100

export interface LatencyResult {
  readonly row: string
  readonly title: string
  readonly sent: number
  readonly lost: number
  readonly torn: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  /** CPU of the load's side for each delivery, and what its clients spent awake, waiting, beside that. */
  readonly loadMicrosPerDelivery: number
  readonly loadAwakeSeconds: number
  readonly strangerCores: number
}

async function measure (row: Row, { seconds, client, profileFolder }: Asked): Promise<LatencyResult> {
  const scope = new Undo()
  try {
    const running = await row.start(scope, { streams: STREAMS, profileFolder })
    const crowd = new Crowd(scope, { requests: Array.from({ length: STREAMS }, (_, i) => running.request(i)), liveOn: running.liveOn, client })
    await crowd.open(running.openAtOnce)
    const send = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n++) {
        running.publish(payload(n))
        // Not in step with any timer of a server.
        await pause(1000 / PER_SECOND * (0.5 + Math.random()))
      }
      await crowd.reach(count - 1, 10_000)
      running.check()
    }
    await send(Math.min(WARM_UP, seconds * PER_SECOND))
    await crowd.reset()
    const meter = new Meter(running)
    const sent = Math.ceil(seconds * PER_SECOND)
    await send(sent)
    const cost = meter.read()
    const report = await crowd.report(0, sent - 1)
    const lost = report.lost + report.behind
    return {
      row: row.name,
      title: row.title,
      sent,
      lost,
      torn: report.torn,
      p50Ms: report.latency.percentileMs(50),
      p99Ms: report.latency.percentileMs(99),
      maxMs: report.latency.percentileMs(100),
      loadMicrosPerDelivery: loadMicros(cost, report.awakeSeconds, STREAMS * sent - lost),
      loadAwakeSeconds: report.awakeSeconds,
      strangerCores: cost.strangerSeconds / cost.wallSeconds
    }
  } finally {
    await scope.end()
  }
}

export const latency: Section<LatencyResult> = {
  name: 'latency',
  takes: { seconds: [5, 0.5], rounds: 2, peers: true, client: true, profile: true },
  title: ({ seconds }) => `Latency when idle: publish to client, ${PER_SECOND} a second, ${STREAMS} streams, ${seconds} s`,
  rows: (field) => [...everyRow(field), ...tidings(field.services, acrossNodes)],
  notInSmoke: ['c-floor', 'node-floor', 'tidings-redis-1', 'tidings-redis-3', 'tidings-redis-3-nginx'],
  run: measure,
  columns: [
    { head: 'p50 ms', value: (result) => result.p50Ms, digits: 2, isCost: true },
    { head: 'p99 ms', value: (result) => result.p99Ms, digits: 2, isCost: true },
    { head: 'max ms', value: (result) => result.maxMs, digits: 2, isCost: true },
    { head: 'lost', value: (result) => result.lost, digits: 0 },
    torn,
    { head: 'load µs', value: (result) => result.loadMicrosPerDelivery, digits: 0 },
    strangers
  ],
  base: 'c-floor',
  faults: ({ lost, torn }) => counted({ lost, torn })
}
