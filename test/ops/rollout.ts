// A rollout of the chart, with streams open and notifications under way: who lost what, and how many came back in a second.
// (`npm run rollout`: rollout-command.ts.)
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { connect, type Client } from '../fixtures/client.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import type { Scope } from '../fixtures/wait.ts'
import { find, render } from './chart.ts'
import { Deployment, type Leaving, type Timings } from './deployment.ts'

/** Timers may be early by a little. */
const EARLY_MS = 10

export interface RolloutOptions {
  /** Name of the value file. */
  values: string
  nodes: number
  streams: number
  /** Notifications a second to everybody, over HTTP through whichever node the gateway picks. */
  publishesPerSecond: number
}

export interface RolloutResult {
  timings: Timings
  leavings: Leaving[]
  published: number
  /** Publishes that were not answered 202 the first time. */
  refused: string[]
  /** Tabs whose EventSource is closed, and statuses other than 200. */
  dead: number
  statuses: number[]
  /** What the `sync`s after the first said. */
  resumes: Record<string, number>
  reconnects: number
  /** Streams opened in the worst second of the rollout. */
  peakPerSecond: number
  /** Answers that were 200 and "come back later". */
  sentBack: number
  /** Longest and 99th percentile of the time that a tab had no live stream, in milliseconds. */
  awayMs: { max: number, p99: number }
  faults: ReturnType<Ledger['faults']>
  seconds: number
  /** Longest time in which this very process did nothing: what came meanwhile counts as one moment. */
  stalledMs: number
}

export async function playRollout (t: Scope, { values, nodes, streams, publishesPerSecond }: RolloutOptions): Promise<RolloutResult> {
  const redis = await startRedis(t)
  const issuer = createIssuer()
  const deployment = new Deployment(t, find(render(values), 'Deployment', 'tidings'), { ...redis.env, ...issuer.env })
  await deployment.start(nodes)

  // What a gateway does that knows nothing of load: any endpoint.
  const pick = () => deployment.endpoints[Math.floor(Math.random() * deployment.endpoints.length)]!
  const ledger = new Ledger(t)
  const clients: Client[] = []
  for (let i = 0; i < streams; i++) {
    const sub = `user-${i >> 1}`
    clients.push(connect(t, { url: pick, token: issuer.token({ sub, groups: [groupOf(i)] }), name: `${sub} #${i & 1}` }))
    // As many at a time as a server takes in: this is not what is measured.
    if (i % 100 === 99) await Promise.all(clients.slice(-100).map(async (client) => await client.live(1, 60_000)))
  }
  await Promise.all(clients.map(async (client) => await client.live(1, 60_000)))
  for (const [i, client] of clients.entries()) ledger.open(client, [`group:${groupOf(i)}`])

  const startedAt = performance.now()
  const stalls = monitorEventLoopDelay({ resolution: 10 })
  stalls.enable()
  const token = issuer.token({ sub: 'back end', scope: PUBLISH })
  const refused: string[] = []
  let published = 0
  let isOver = false
  const publishing = (async () => {
    while (!isOver) {
      const to = published % 3 === 0 ? 'all' : `group:g${published % 10}`
      const data = { mark: ledger.mark() }
      const answer = await fetch(`${pick()}/api/notifications`, {
        method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify({ to, data })
      }).catch((error: Error) => ({ status: 0, json: async () => ({ message: String(error.cause ?? error) }) }))
      const body = await answer.json() as { message?: string, notifications: { id: string }[] }
      if (answer.status === 202) ledger.sent({ to, id: String(body.notifications[0]!.id), data })
      else refused.push(`${answer.status} ${body.message}`)
      published++
      await new Promise((resolve) => { setTimeout(resolve, 1000 / publishesPerSecond) })
    }
  })()
  await deployment.rollOut()
  const endedAt = performance.now()
  // Those of the last drain are still on their way.
  await Promise.all(clients.map(async (client) => await client.live(client.connection.number, 30_000)))
  isOver = true
  await publishing
  await ledger.settled(30_000).catch(() => {})
  return {
    timings: deployment.timings, leavings: deployment.leavings, published, refused, ...measure(clients, startedAt), faults: ledger.faults(), seconds: (endedAt - startedAt) / 1000, stalledMs: Math.round(stalls.max / 1e6)
  }
}

function measure (clients: readonly Client[], startedAt: number): Pick<RolloutResult, 'dead' | 'statuses' | 'resumes' | 'reconnects' | 'peakPerSecond' | 'sentBack' | 'awayMs'> {
  const later = clients.flatMap(({ connections }) => connections.filter((connection) => connection.startedAt >= startedAt))
  const opened = later.map((connection) => connection.openedAt).filter((at) => at !== undefined).sort((a, b) => a - b)
  let peak = 0
  for (let first = 0, last = 0; last < opened.length; last++) {
    while (opened[last]! - opened[first]! > 1000) first++
    peak = Math.max(peak, last - first + 1)
  }
  const away = clients.flatMap(({ syncs, connections }) => syncs.slice(1).map(({ at, connection }) => {
    // From the end of the stream that was live before this one.
    const before = syncs.findLast((sync) => sync.connection < connection)!
    return at - connections[before.connection - 1]!.endedAt!
  })).sort((a, b) => a - b)
  const resumes: Record<string, number> = {}
  for (const { syncs } of clients) for (const { json: { resume } } of syncs.slice(1)) resumes[resume] = (resumes[resume] ?? 0) + 1
  return {
    dead: clients.filter(({ state }) => state === 'closed').length,
    statuses: later.flatMap(({ status }) => status === undefined || status === 200 ? [] : [status]),
    resumes,
    reconnects: later.length,
    peakPerSecond: peak,
    sentBack: later.length - Object.values(resumes).reduce((sum, count) => sum + count, 0),
    awayMs: { max: Math.round(away.at(-1) ?? 0), p99: Math.round(away[Math.floor(away.length * 0.99)] ?? 0) }
  }
}

/** Two tabs are one user's, and in one group. */
const groupOf = (tab: number): string => `g${(tab >> 1) % 10}`

/** What a rollout must not do, as sentences; none when all is well. */
export function complaints (result: RolloutResult, streams: number): string[] {
  const { timings: { drainSeconds, preStopSeconds }, leavings, refused, dead, statuses, resumes, peakPerSecond, faults, stalledMs } = result
  const largest = Math.max(...leavings.map((leaving) => leaving.streams))
  // Each node's streams come back over its drain, each after a wait of its own; chance makes some seconds busier than others.
  const mean = (1 + 2 * stalledMs / 1000) * largest / drainSeconds
  const bound = Math.ceil(mean + 6 * Math.sqrt(mean) + 5)
  const ordered = [...leavings].sort((a, b) => a.decidedAt - b.decidedAt)
  return [
    ...(dead > 0 || statuses.length > 0 ? [`${dead} tabs are dead; statuses ${statuses.join(' ')}`] : []),
    ...(faults.length > 0 ? [`${faults.length} of ${streams} streams did not get what they were owed: ${JSON.stringify(faults[0])}`] : []),
    ...(refused.length > 0 ? [`publishers were told ${refused.join(', ')}`] : []),
    ...(Object.keys(resumes).some((resume) => resume !== 'complete') ? [`resumes ${JSON.stringify(resumes)}`] : []),
    ...(peakPerSecond > bound ? [`${peakPerSecond} streams came back in one second, more than ${bound}: ${largest} on a node, over ${drainSeconds} s`] : []),
    ...leavings.filter(({ wasKilled, code }) => wasKilled || code !== 0).map(({ name, code, wasKilled }) => `${name} ended with ${code}${wasKilled ? ', killed when its grace was over' : ''}`),
    ...leavings.filter(({ decidedAt, drainedAt }) => drainedAt - decidedAt < preStopSeconds * 1000 - EARLY_MS).map(({ name }) => `${name} drained before its pause was over`),
    ...ordered.slice(1).flatMap(({ name, drainedAt }, index) => drainedAt < ordered[index]!.goneAt ? [`${name} drained while ${ordered[index]!.name} did`] : [])
  ]
}
