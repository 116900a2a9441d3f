// What is measured in each section: rows, sizes, columns, and what must hold whatever the speed.
import { burst } from './burst.ts'
import type { DeliveryResult } from './delivery.ts'
import { fanout } from './fanout.ts'
import { footprint } from './footprint.ts'
import { churn, type ChurnResult, idle } from './idle.ts'
import { latency } from './latency.ts'
import type { Options, Section } from './options.ts'
import { publish, publishRows } from './publish.ts'
import type { Row } from './rows/row.ts'
import { latencyRows, ownRows, peers, scalingRows } from './rows/rows.ts'
import { onRedis } from './rows/tidings.ts'
import { storm } from './storm.ts'

export interface Column<R> {
  readonly head: string
  readonly value: (result: R) => number
  readonly digits: number
}

export interface Entry<R> {
  readonly name: string
  readonly title: string
  /** Somebody else's: may be absent, and is chosen by --peers. */
  readonly isPeer: boolean
  readonly absent: () => string | undefined
  readonly run: () => Promise<R>
}

export interface Plan<R> {
  readonly section: string
  /** What it is and how large, for people. */
  readonly title: string
  readonly rounds: number
  readonly entries: ReadonlyArray<Entry<R>>
  /** The first column is the one that is compared. */
  readonly columns: ReadonlyArray<Column<R>>
  /** The row that others are a multiple of, in the first column; where it has no result, the first that has one. */
  readonly base?: string
  /** What is wrong with a result, whatever its figures; a smoke run fails by it. */
  readonly faults: (result: R) => string[]
}

/** Plans of different results in one list; each plan's own functions read its own. */
export type AnyPlan = Plan<any>

const counted = (what: Record<string, number>): string[] => Object.entries(what).filter(([, count]) => count !== 0).map(([name, count]) => `${count} ${name}`)

const deliveryFaults = ({ lost, behind, duplicates, late, torn, ended }: DeliveryResult): string[] =>
  counted({ lost, 'not delivered in time': behind, duplicates, late, torn, ended })

const strangers = { head: 'strangers', value: (result: { strangerCores: number }) => result.strangerCores, digits: 2 }
/** A column that is not there as long as all is well. */
const torn = { head: 'torn', value: (result: { torn: number }) => result.torn || NaN, digits: 0 }

const deliveryColumns: ReadonlyArray<Column<DeliveryResult>> = [
  { head: 'CPU µs/delivery', value: (result) => result.microsPerDelivery, digits: 2 },
  { head: 'cores', value: (result) => result.serverCores, digits: 2 },
  { head: 'p50 ms', value: (result) => result.p50Ms, digits: 1 },
  { head: 'p99 ms', value: (result) => result.p99Ms, digits: 1 },
  { head: 'lost', value: (result) => result.lost, digits: 0 },
  { head: 'behind', value: (result) => result.behind, digits: 0 },
  { head: 'dup', value: (result) => result.duplicates, digits: 0 },
  { head: 'late', value: (result) => result.late, digits: 0 },
  torn,
  { head: 'ended', value: (result) => result.ended, digits: 0 },
  { head: 'redis µs', value: (result) => result.others['redis'] ?? NaN, digits: 2 },
  { head: 'nginx µs', value: (result) => result.others['nginx'] ?? NaN, digits: 2 },
  { head: 'load µs', value: (result) => result.loadMicrosPerDelivery, digits: 2 },
  strangers
]

/** All rows that each section has, whatever --rows says. */
export function plans (options: Options): Array<{ section: Section, plans: AnyPlan[] }> {
  const { smoke, client, profile: profileFolder } = options
  // A smoke run has a minute: what another row covers is left out.
  const brief = (of: readonly Row[], ...without: string[]): readonly Row[] => of.filter(({ name }) => !smoke || !without.includes(name))
  const size = (usual: number, small: number): number => options.streams ?? (smoke ? small : usual)
  const time = (usual: number, small: number): number => options.seconds ?? (smoke ? small : usual)
  const rounds = (usual: number): number => options.rounds ?? (smoke ? 1 : usual)
  const rows = [...ownRows, ...peers.filter(({ name }) => options.peers.includes(name))]
  const entries = <R>(of: readonly Row[], run: (row: Row) => Promise<R>): Array<Entry<R>> =>
    of.map((row) => ({ name: row.name, title: row.title, isPeer: row.kind === 'peer', absent: row.absent, run: () => run(row) }))

  const make: Record<Section, () => AnyPlan[]> = {
    fanout: () => {
      const [streams, seconds] = [size(5000, 200), time(5, 0.3)]
      return [{
        section: 'fanout',
        title: `Fan-out: one message to ${streams} streams, again and again, ${seconds} s`,
        rounds: rounds(3),
        entries: entries(brief(rows, 'tidings-redis-1'), (row) => fanout(row, { streams, seconds, client, profileFolder })),
        columns: deliveryColumns,
        base: 'c-floor',
        faults: deliveryFaults
      }]
    },
    burst: () => {
      const [streams, seconds, { rate }] = [size(2000, 100), time(5, 0.5), options]
      return [{
        section: 'burst',
        title: `Burst: ${rate} messages a second to ${streams} streams, ${seconds} s`,
        rounds: rounds(3),
        entries: entries(brief(rows, 'tidings-redis-1', 'tidings-redis-3-nginx'), (row) => burst(row, { streams, seconds, rate, client, profileFolder })),
        columns: deliveryColumns,
        base: 'c-floor',
        faults: deliveryFaults
      }]
    },
    idle: () => {
      const [streams, standSeconds, restSeconds] = [size(15_000, 300), smoke ? 0.5 : 20, smoke ? 0.5 : 15]
      // Behind nginx each stream would be two of its open files, and what a node keeps is the same.
      const of = brief(rows, 'c-floor', 'tidings-redis-1', 'tidings-redis-3').filter(({ name }) => !name.endsWith('-nginx'))
      return [{
        section: 'idle',
        title: `Idle: ${streams} open streams, after ${standSeconds} s`,
        rounds: rounds(1),
        entries: entries(of, (row) => idle(row, { streams, standSeconds, restSeconds, client })),
        columns: [
          { head: 'RSS KB/stream', value: (result) => result.rssKB, digits: 1 },
          { head: 'after gc', value: (result) => result.settledKB, digits: 1 },
          { head: 'base MB', value: (result) => result.baseMB, digits: 0 },
          { head: 'CPU µs to open', value: (result) => result.openMicros, digits: 0 },
          { head: 'load µs to open', value: (result) => result.loadMicrosToOpen, digits: 0 },
          { head: 'open all s', value: (result) => result.openSeconds, digits: 1 },
          { head: 'idle cores', value: (result) => result.idleCores, digits: 3 },
          { head: 'ended', value: (result) => result.ended, digits: 0 }
        ],
        base: 'tidings',
        faults: ({ ended }) => counted({ ended })
      }]
    },
    churn: () => {
      const connects = smoke ? 1000 : options.connects
      const of = rows.filter(({ name }) => name === 'tidings' || name === 'tidings-redis-1')
      return [{
        section: 'churn',
        title: `Churn: ${connects} connects and disconnects`,
        rounds: rounds(1),
        entries: entries(of, (row) => churn(row, { connects, client })),
        columns: [
          { head: 'bytes left/connect', value: (result) => result.bytesPerConnect, digits: 1 },
          { head: 'connects/s', value: (result) => result.perSecond, digits: 0 },
          ...[0, 1, 5, 10].map((step) => ({ head: `kept MB, ${step}/10`, value: (result: ChurnResult) => result.keptMB[step]!, digits: 1 })),
          ...[0, 1, 5, 10].map((step) => ({ head: `RSS MB, ${step}/10`, value: (result: ChurnResult) => result.residentMB[step]!, digits: 1 })),
          { head: 'load µs/connect', value: (result) => result.loadMicrosPerConnect, digits: 0 },
          { head: 'failed', value: (result) => result.failed, digits: 0 }
        ],
        faults: ({ failed }) => counted({ failed })
      }]
    },
    latency: () => {
      const seconds = time(5, 0.5)
      const of = [...brief(rows, 'c-floor', 'node-floor', 'tidings-redis-1', 'tidings-redis-3', 'tidings-redis-3-nginx'), ...latencyRows]
      return [{
        section: 'latency',
        title: `Latency when idle: publish to client, 50 a second, 10 streams, ${seconds} s`,
        rounds: rounds(2),
        entries: entries(of, (row) => latency(row, { seconds, client, profileFolder })),
        columns: [
          { head: 'p50 ms', value: (result) => result.p50Ms, digits: 2 },
          { head: 'p99 ms', value: (result) => result.p99Ms, digits: 2 },
          { head: 'max ms', value: (result) => result.maxMs, digits: 2 },
          { head: 'lost', value: (result) => result.lost, digits: 0 },
          torn,
          { head: 'load µs', value: (result) => result.loadMicrosPerDelivery, digits: 0 },
          strangers
        ],
        base: 'c-floor',
        faults: ({ lost, torn }) => counted({ lost, torn })
      }]
    },
    storm: () => {
      const streams = size(10_000, 200)
      return [{
        section: 'storm',
        title: `Storm: one of three nodes is killed, its ${streams} clients reconnect at once with Last-Event-ID`,
        rounds: rounds(2),
        entries: entries([onRedis(3)], () => storm({ streams, client, profileFolder })),
        columns: [
          { head: 'all live s', value: (result) => result.allLiveSeconds, digits: 2 },
          { head: 'p50 s', value: (result) => result.p50Seconds, digits: 2 },
          { head: 'nodes CPU s', value: (result) => result.nodeCpuSeconds, digits: 2 },
          { head: 'µs/client', value: (result) => result.nodeMicrosPerClient, digits: 0 },
          { head: 'redis CPU s', value: (result) => result.redisCpuSeconds, digits: 2 },
          { head: 'others p99 ms', value: (result) => result.othersP99Ms, digits: 1 },
          { head: 'before', value: (result) => result.othersP99BeforeMs, digits: 1 },
          { head: 'lost', value: (result) => result.lost + result.othersLost, digits: 0 },
          { head: 'dup', value: (result) => result.duplicates, digits: 0 },
          { head: 'incomplete', value: (result) => result.incomplete, digits: 0 },
          torn,
          { head: 'retries', value: (result) => result.retries, digits: 0 },
          { head: 'load CPU s', value: (result) => result.loadCpuSeconds, digits: 2 },
          strangers
        ],
        faults: (result) => [
          ...counted({ lost: result.lost, duplicates: result.duplicates, late: result.late, torn: result.torn, incomplete: result.incomplete, 'lost by others': result.othersLost }),
          ...result.clients === streams ? [] : [`${result.clients} of ${streams} reconnected`]
        ]
      }]
    },
    publish: () => {
      const seconds = time(5, 0.5)
      return [{
        section: 'publish',
        title: `Publish: requests on 32 keep-alive connections, ${seconds} s`,
        rounds: rounds(3),
        entries: publishRows.map((row) => ({ ...row, isPeer: false, run: () => publish(row, { seconds, profileFolder }) })),
        columns: [
          { head: 'CPU µs/notification', value: (result) => result.micros, digits: 1 },
          { head: 'load µs', value: (result) => result.loadMicros, digits: 1 },
          { head: 'per second', value: (result) => result.perSecond, digits: 0 },
          { head: 'redis µs', value: (result) => result.redisMicros || NaN, digits: 1 },
          { head: 'cores', value: (result) => result.serverCores, digits: 2 },
          { head: 'p50 ms', value: (result) => result.p50Ms, digits: 2 },
          { head: 'p99 ms', value: (result) => result.p99Ms, digits: 2 },
          strangers
        ],
        base: 'empty-route',
        faults: ({ published }) => published > 0 ? [] : ['nothing was published']
      }]
    },
    scaling: () => {
      const [streams, seconds] = [size(5000, 150), time(5, 0.3)]
      return [{
        section: 'scaling',
        title: `Scaling: fan-out to ${streams} streams spread over one, two, three nodes (or bare loops), ${seconds} s`,
        rounds: rounds(3),
        entries: entries(scalingRows, (row) => fanout(row, { streams, seconds, client, profileFolder })),
        columns: deliveryColumns,
        base: 'tidings-redis-1',
        faults: deliveryFaults
      }, {
        section: 'scaling-burst',
        title: `Scaling: ${options.rate} messages a second to ${size(2000, 100)} streams spread over one, two, three nodes, ${seconds} s`,
        rounds: rounds(3),
        entries: entries(scalingRows.filter(({ kind }) => kind === 'tidings'), (row) => burst(row, { streams: size(2000, 100), seconds, rate: options.rate, client, profileFolder })),
        columns: deliveryColumns,
        base: 'tidings-redis-1',
        faults: deliveryFaults
      }, {
        section: 'footprint',
        title: `Footprint: bytes for each of ${streams} users, on Redis and on a node`,
        rounds: 1,
        entries: entries([onRedis(1)], () => footprint({ streams, client })),
        columns: [],
        faults: () => []
      }]
    }
  }
  return options.only.map((section) => ({ section, plans: make[section]() }))
}
