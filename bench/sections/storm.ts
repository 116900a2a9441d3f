// Storm: a node is killed and all its clients come back to the others at once, each with its Last-Event-ID.
import { Undo } from '../../test/fixtures/undo.ts'
import { Crowd } from '../harness/crowd.ts'
import { Meter } from '../harness/meter.ts'
import { durable, startNode, startRedis, token } from '../harness/parts.ts'
import { payload } from '../harness/payload.ts'
import { pause } from '../harness/start.ts'
import { onRedis, tidings, type TidingsRow } from '../rows/tidings.ts'
import { type Asked, counted, type Section, strangers, torn } from './section.ts'

/** Messages a second to all who reconnect: each is owed to every one of them, before, during and after. */
const TO_ALL_PER_SECOND = 2
/** Messages a second to those who were connected to the other nodes all the time. */
const TO_OTHERS_PER_SECOND = 50
const OTHERS = 200

export interface StormResult {
  readonly clients: number
  /** From the first end that a client noticed until the last one had its sync. */
  readonly allLiveSeconds: number
  /** From the end of its stream to its sync, of the single client. */
  readonly p50Seconds: number
  readonly p99Seconds: number
  /** Connections that were refused or broken and had to be tried again. */
  readonly retries: number
  /** CPU seconds of the nodes that took them, until all were live. */
  readonly nodeCpuSeconds: number
  readonly nodeMicrosPerClient: number
  readonly redisCpuSeconds: number
  /** Of the load's side, meanwhile, and what its clients spent awake, waiting, beside that. */
  readonly loadCpuSeconds: number
  readonly loadAwakeSeconds: number
  /** Messages to the clients of the killed node, over the whole time. */
  readonly owedEach: number
  readonly lost: number
  readonly duplicates: number
  readonly late: number
  readonly torn: number
  /** Resumes that were answered "incomplete". */
  readonly incomplete: number
  /**
   * For those who were connected to the other nodes all the time; the latencies of what was published until all were
   * live.
   */
  readonly othersLost: number
  readonly othersP50Ms: number
  readonly othersP99Ms: number
  readonly othersP99BeforeMs: number
  readonly strangerCores: number
}

async function measure ({ service }: TidingsRow, { streams, client, profileFolder }: Asked): Promise<StormResult> {
  const scope = new Undo()
  try {
    const redis = await startRedis(scope)
    const doomed = await startNode(scope, service, redis)
    const left = [await startNode(scope, service, redis, profileFolder), await startNode(scope, service, redis, profileFolder)]
    const ask = (group: string, ports: readonly number[]) => (_: unknown, i: number) => ({
      port: ports[i % ports.length]!,
      path: '/api/notifications/subscribe',
      headers: [`Authorization: Bearer ${token({ sub: `${group}-${i}`, groups: [group] })}`]
    })
    const others = new Crowd(scope, { requests: Array.from({ length: OTHERS }, ask('others', left.map(({ port }) => port))), liveOn: 'sync', client })
    await others.open()
    const crowd = new Crowd(scope, { requests: Array.from({ length: streams }, ask('crowd', [doomed.port])), liveOn: 'sync', client })
    await crowd.open()

    const sent = { crowd: 0, others: 0 }
    const publish = (group: 'crowd' | 'others'): void => { redis.line.send(durable(`group:${group}`, payload(sent[group]++))) }
    const toOthers = (): NodeJS.Timeout => setInterval(() => { publish('others') }, 1000 / TO_OTHERS_PER_SECOND)
    const timers = { crowd: setInterval(() => { publish('crowd') }, 1000 / TO_ALL_PER_SECOND), others: toOthers() }
    const stop = (): void => { Object.values(timers).forEach(clearInterval) }
    scope.teardown(stop)
    await pause(2000)
    const before = await others.report(0, -1)
    await others.reset()
    const firstOther = sent.others

    crowd.follow(left.map(({ port }) => port))
    const awake = async (): Promise<number> => (await crowd.report(0, -1)).awakeSeconds + (await others.report(0, -1)).awakeSeconds
    const awakeBefore = await awake()
    const meter = new Meter({ servers: () => left.map(({ pid }) => pid), others: { redis: () => [redis.pid] } })
    await doomed.kill()
    // Some clients hear of it a moment later than others.
    for (let ended = 0; ended < streams; await pause(20)) ended = (await crowd.report(0, -1)).ended
    const again = await crowd.again()
    const cost = meter.read()
    // Latency is read when all of this has come and nothing else is under way; the calm second after it is for the
    // ledger alone.
    clearInterval(timers.others)
    const loadAwakeSeconds = await awake() - awakeBefore
    await others.reach(sent.others - 1, 20_000)
    const meanwhile = await others.report(0, -1)
    timers.others = toOthers()
    await pause(1000)
    stop()
    const lastOther = sent.others - 1
    await others.reach(lastOther, 20_000)
    await crowd.reach(sent.crowd - 1, 20_000)
    redis.line.check()
    const report = await crowd.report(0, sent.crowd - 1)
    const there = await others.report(firstOther, lastOther)
    return {
      clients: again.streams,
      allLiveSeconds: again.ms / 1000,
      p50Seconds: again.p50 / 1000,
      p99Seconds: again.p99 / 1000,
      retries: again.retries,
      nodeCpuSeconds: cost.serverSeconds,
      nodeMicrosPerClient: cost.serverSeconds * 1e6 / streams,
      redisCpuSeconds: cost.others['redis']!,
      loadCpuSeconds: Math.max(0, cost.loadSeconds - loadAwakeSeconds),
      loadAwakeSeconds,
      owedEach: sent.crowd,
      lost: report.lost + report.behind,
      duplicates: report.duplicates,
      late: report.late,
      torn: report.torn + there.torn,
      incomplete: report.incomplete,
      othersLost: there.lost + there.behind,
      othersP50Ms: meanwhile.latency.percentileMs(50),
      othersP99Ms: meanwhile.latency.percentileMs(99),
      othersP99BeforeMs: before.latency.percentileMs(99),
      strangerCores: cost.strangerSeconds / cost.wallSeconds
    }
  } finally {
    await scope.end()
  }
}

export const storm: Section<StormResult, TidingsRow> = {
  name: 'storm',
  takes: { streams: [10_000, 200], rounds: 2, client: true, profile: true },
  title: ({ streams }) => `Storm: one of three nodes is killed, its ${streams} clients reconnect at once with Last-Event-ID`,
  rows: ({ services }) => tidings(services, onRedis(3)),
  run: measure,
  columns: [
    { head: 'all live s', value: (result) => result.allLiveSeconds, digits: 2, isCost: true },
    { head: 'p50 s', value: (result) => result.p50Seconds, digits: 2, isCost: true },
    { head: 'nodes CPU s', value: (result) => result.nodeCpuSeconds, digits: 2, isCost: true },
    { head: 'µs/client', value: (result) => result.nodeMicrosPerClient, digits: 0 },
    { head: 'redis CPU s', value: (result) => result.redisCpuSeconds, digits: 2, isCost: true },
    { head: 'others p99 ms', value: (result) => result.othersP99Ms, digits: 1, isCost: true },
    { head: 'before', value: (result) => result.othersP99BeforeMs, digits: 1 },
    { head: 'lost', value: (result) => result.lost + result.othersLost, digits: 0 },
    { head: 'dup', value: (result) => result.duplicates, digits: 0 },
    { head: 'incomplete', value: (result) => result.incomplete, digits: 0 },
    torn,
    { head: 'retries', value: (result) => result.retries, digits: 0 },
    { head: 'load CPU s', value: (result) => result.loadCpuSeconds, digits: 2 },
    strangers
  ],
  faults: ({ lost, duplicates, late, torn, incomplete, othersLost, clients }, { streams }) => [
    ...counted({ lost, duplicates, late, torn, incomplete, 'lost by others': othersLost }),
    ...clients === streams ? [] : [`${clients} of ${streams} reconnected`]
  ]
}
