// Latency when idle: from the moment of publishing to the client, one message at a time, some streams open.
import { pause } from './harness/child.ts'
import { type Client, Crowd } from './harness/crowd.ts'
import { loadMicros, Meter } from './harness/meter.ts'
import { payload } from './harness/payload.ts'
import { Scope } from './harness/scope.ts'
import type { Row } from './rows/row.ts'

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

export async function latency (row: Row, { seconds, client, profileFolder }: { seconds: number, client: Client, profileFolder?: string | undefined }): Promise<LatencyResult> {
  const scope = new Scope()
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
