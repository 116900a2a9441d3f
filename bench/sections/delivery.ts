// What fan-out and burst have in common: the cost of a delivery, the latency, and what was lost.
import type { Crowd, CrowdReport } from '../harness/crowd.ts'
import { type Cost, loadMicros } from '../harness/meter.ts'
import type { Row } from '../rows/row.ts'
import { type Column, counted, strangers, torn } from './section.ts'

export interface DeliveryResult {
  readonly row: string
  readonly title: string
  readonly streams: number
  readonly sent: number
  readonly deliveries: number
  /** Of what was sent in the measured time: passed over, though later ones came. */
  readonly lost: number
  /** Not there when the time to drain was over: a server that cannot keep up, or streams that it ended. */
  readonly behind: number
  readonly duplicates: number
  readonly late: number
  /** Messages whose payload had not the length that was published. */
  readonly torn: number
  /** Streams that the server ended. */
  readonly ended: number
  /** CPU of the server processes. */
  readonly microsPerDelivery: number
  readonly serverCores: number
  readonly wallMicrosPerDelivery: number
  /** redis, nginx: CPU microseconds a delivery. */
  readonly others: Readonly<Record<string, number>>
  readonly loadMicrosPerDelivery: number
  /** CPU that the load clients spent awake, waiting; not in the figure before. */
  readonly loadAwakeSeconds: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Share of the machine's cores that strangers used meanwhile. */
  readonly strangerCores: number
  readonly stolenCores: number
  /** Of the servers' heaps, a message; NaN where it is not counted. */
  readonly bytesPerMessage: number
}

/** Why a warm-up of so many messages ended the measurement: a server that cannot do that has no figures. */
export async function warmUpFault (crowd: Crowd, sent: number, withinMs: number): Promise<Error> {
  const { lost, behind, losers, ended } = await crowd.report(0, sent - 1)
  return new Error(`${lost + behind} of ${crowd.streams * sent} deliveries of the warm-up were missing after ${withinMs / 1000} s (${losers} of ${crowd.streams} streams lack some, ${ended} were ended)`)
}

interface Measured {
  readonly streams: number
  readonly sent: number
  readonly cost: Cost
  readonly report: CrowdReport
  readonly allocated?: number | undefined
}

export function deliveryResult (row: Row, { streams, sent, cost, report, allocated = NaN }: Measured): DeliveryResult {
  const deliveries = streams * sent - report.lost - report.behind
  const micros = (seconds: number): number => seconds * 1e6 / deliveries
  return {
    row: row.name,
    title: row.title,
    streams,
    sent,
    deliveries,
    lost: report.lost,
    behind: report.behind,
    duplicates: report.duplicates,
    late: report.late,
    torn: report.torn,
    ended: report.ended,
    microsPerDelivery: micros(cost.serverSeconds),
    serverCores: cost.serverSeconds / cost.wallSeconds,
    wallMicrosPerDelivery: micros(cost.wallSeconds),
    others: Object.fromEntries(Object.entries(cost.others).map(([name, seconds]) => [name, micros(seconds)])),
    loadMicrosPerDelivery: loadMicros(cost, report.awakeSeconds, deliveries),
    loadAwakeSeconds: report.awakeSeconds,
    p50Ms: report.latency.percentileMs(50),
    p99Ms: report.latency.percentileMs(99),
    strangerCores: cost.strangerSeconds / cost.wallSeconds,
    stolenCores: cost.stolenSeconds / cost.wallSeconds,
    bytesPerMessage: allocated / sent
  }
}

export const deliveryFaults = ({ lost, behind, duplicates, late, torn, ended }: DeliveryResult): string[] =>
  counted({ lost, 'not delivered in time': behind, duplicates, late, torn, ended })

export const deliveryColumns: ReadonlyArray<Column<DeliveryResult>> = [
  { head: 'CPU µs/delivery', value: (result) => result.microsPerDelivery, digits: 2, isCost: true },
  { head: 'cores', value: (result) => result.serverCores, digits: 2 },
  { head: 'p50 ms', value: (result) => result.p50Ms, digits: 1, isCost: true },
  { head: 'p99 ms', value: (result) => result.p99Ms, digits: 1, isCost: true },
  { head: 'lost', value: (result) => result.lost, digits: 0 },
  { head: 'behind', value: (result) => result.behind, digits: 0 },
  { head: 'dup', value: (result) => result.duplicates, digits: 0 },
  { head: 'late', value: (result) => result.late, digits: 0 },
  torn,
  { head: 'ended', value: (result) => result.ended, digits: 0 },
  { head: 'redis µs', value: (result) => result.others['redis'] ?? NaN, digits: 2, isCost: true },
  { head: 'nginx µs', value: (result) => result.others['nginx'] ?? NaN, digits: 2, isCost: true },
  { head: 'load µs', value: (result) => result.loadMicrosPerDelivery, digits: 2 },
  strangers
]
