// Publishing: what a request costs the node beside what Fastify itself costs, what Redis alone does, and many addresses
// in one call.
import { fileURLToPath } from 'node:url'
import { Undo } from '../../test/fixtures/undo.ts'
import type { Scope } from '../../test/fixtures/wait.ts'
import { Meter } from '../harness/meter.ts'
import { durable, type Node, redisAbsent, type RedisServer, secret, startNode, startRedis } from '../harness/parts.ts'
import { payload } from '../harness/payload.ts'
import { startScript } from '../harness/start.ts'
import { percentile } from '../harness/stats.ts'
import { Line } from '../harness/wire.ts'
import type { Named } from '../rows/row.ts'
import { named, publishRequest } from '../rows/tidings.ts'
import type { Service } from '../harness/service.ts'
import { type Asked, type Section, strangers } from './section.ts'

const emptyRoute = fileURLToPath(new URL('../servers/empty-route.ts', import.meta.url))

const CONNECTIONS = 32
/** Users that the notifications are for; nobody is online, so that only publishing is measured. */
const USERS = 1000
const ADDRESSES = 1000
const PIPELINE = 128

export interface PublishResult {
  readonly row: string
  readonly title: string
  /** Notifications published, one for each address of each request. */
  readonly published: number
  readonly perSecond: number
  /** CPU of the node (of Redis in the row that has no node) for one notification. */
  readonly micros: number
  readonly redisMicros: number
  readonly serverCores: number
  /** The load's side, which is the bench's own process. */
  readonly loadMicros: number
  /** From a request to its answer. */
  readonly p50Ms: number
  readonly p99Ms: number
  /** What the server itself says that it published; undefined where it does not count. */
  readonly counted?: number
  readonly strangerCores: number
}

type Figures = Omit<PublishResult, 'row' | 'title'>

interface PublishRow extends Named {
  readonly run: (scope: Scope, asked: Asked) => Promise<Figures>
}

/** Requests one after another on each of several connections, for some seconds. */
async function hammer (scope: Scope, { port, pid, redis, seconds, request, each = 1, connections = CONNECTIONS }: {
  port: number
  pid: number
  redis?: RedisServer | undefined
  seconds: number
  request: (n: number) => string
  each?: number
  connections?: number
}): Promise<Figures & { requests: number }> {
  const lines = await Promise.all(Array.from({ length: connections }, () => Line.open(scope, port, 'http')))
  let requests = 0
  const took: number[] = []
  const run = async (endMs: number): Promise<void> => {
    await Promise.all(lines.map(async (line) => {
      while (performance.now() < endMs) {
        const startedMs = performance.now()
        await line.call(request(requests++))
        took.push(performance.now() - startedMs)
      }
    }))
  }
  await run(performance.now() + Math.min(1000, seconds * 500))
  const warm = requests
  took.length = 0
  const meter = new Meter({ servers: () => [pid], others: redis === undefined ? {} : { redis: () => [redis.pid] } })
  await run(performance.now() + seconds * 1000)
  const cost = meter.read()
  const published = (requests - warm) * each
  return {
    requests,
    published,
    perSecond: published / cost.wallSeconds,
    micros: cost.serverSeconds * 1e6 / published,
    redisMicros: (cost.others['redis'] ?? 0) * 1e6 / published,
    serverCores: cost.serverSeconds / cost.wallSeconds,
    loadMicros: cost.benchSeconds * 1e6 / published,
    p50Ms: percentile(took, 50),
    p99Ms: percentile(took, 99),
    strangerCores: cost.strangerSeconds / cost.wallSeconds
  }
}

/** What the node's own metrics say. */
async function countedBy ({ port }: Node): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  return Number(/^tidings_published_total\S* (\d+)/m.exec(text)?.[1] ?? NaN)
}

async function viaNode (scope: Scope, service: Service, { seconds, profileFolder }: Asked, withRedis: boolean, each = 1): Promise<Figures> {
  const redis = withRedis ? await startRedis(scope) : undefined
  const node = await startNode(scope, service, redis, profileFolder)
  const all = Array.from({ length: ADDRESSES }, (_, i) => `user:${i}`)
  const { requests, ...result } = await hammer(scope, {
    port: node.port,
    pid: node.pid,
    redis,
    seconds,
    each,
    ...(each > 1 && { connections: 1 }),
    request: (n) => publishRequest(each > 1 ? all : `user:${n % USERS}`, payload(n))
  })
  const counted = await countedBy(node)
  if (counted !== requests * each) throw new Error(`the node counted ${counted} published notifications, ${requests * each} were answered`)
  return { ...result, counted }
}

async function viaRedis (scope: Scope, service: Service, { seconds }: Asked): Promise<Figures> {
  const redis = await startRedis(scope)
  await startNode(scope, service, redis) // loads the functions
  const lines = await Promise.all(Array.from({ length: 4 }, () => Line.open(scope, redis.port, 'resp')))
  const batches = Array.from({ length: 16 }, (_, b) => Array.from({ length: PIPELINE }, (_, i) => durable(`user:${(b * PIPELINE + i) % USERS}`, payload(i))).join(''))
  const meter = new Meter({ servers: () => [redis.pid], others: {} })
  const endMs = performance.now() + seconds * 1000
  const took: number[] = []
  await Promise.all(lines.map(async (line) => {
    for (let b = 0; performance.now() < endMs; b++) {
      const startedMs = performance.now()
      const target = line.answered + PIPELINE
      await line.callUntil(batches[b % batches.length]!, target)
      took.push(performance.now() - startedMs)
    }
  }))
  const cost = meter.read()
  const published = lines.reduce((total, { answered }) => total + answered, 0)
  const micros = cost.serverSeconds * 1e6 / published
  return {
    published,
    perSecond: published / cost.wallSeconds,
    micros,
    redisMicros: micros,
    serverCores: cost.serverSeconds / cost.wallSeconds,
    loadMicros: cost.benchSeconds * 1e6 / published,
    p50Ms: percentile(took, 50),
    p99Ms: percentile(took, 99),
    strangerCores: cost.strangerSeconds / cost.wallSeconds
  }
}

const emptyRouteRow: PublishRow = {
  name: 'empty-route',
  title: 'Fastify, empty route, same schema and token check',
  kind: 'floor',
  absent: () => undefined,
  run: async (scope, { seconds, profileFolder }) => {
    const { child, port } = await startScript(scope, emptyRoute, { profileFolder, env: { JWT_SECRET: secret } })
    const { requests, ...result } = await hammer(scope, { port, pid: child.pid, seconds, request: (n) => publishRequest(`user:${n % USERS}`, payload(n)) })
    return result
  }
}

type Run = (scope: Scope, service: Service, asked: Asked) => Promise<Figures>

function rowOf (name: string, title: string, run: Run, absent: Named['absent'] = redisAbsent): (service: Service) => PublishRow {
  return (service) => ({ ...named(service, name, title), kind: 'tidings', absent, run: (scope, asked) => run(scope, service, asked) })
}

const ours = [
  rowOf('publish-embedded', 'Tidings, embedded', (scope, service, asked) => viaNode(scope, service, asked, false), () => undefined),
  rowOf('publish-redis', 'Tidings, Redis', (scope, service, asked) => viaNode(scope, service, asked, true)),
  rowOf('publish-1000', 'Tidings, Redis, 1,000 addresses a request', (scope, service, asked) => viaNode(scope, service, asked, true, ADDRESSES)),
  rowOf('fcall', 'Redis alone, FCALL tidings_publish, pipelined', viaRedis)
]

async function measure ({ name, title, run }: PublishRow, asked: Asked): Promise<PublishResult> {
  const scope = new Undo()
  try {
    return { row: name, title, ...await run(scope, asked) }
  } finally {
    await scope.end()
  }
}

export const publish: Section<PublishResult, PublishRow> = {
  name: 'publish',
  takes: { seconds: [5, 0.5], rounds: 3, profile: true },
  title: ({ seconds }) => `Publish: requests on ${CONNECTIONS} keep-alive connections, ${seconds} s`,
  rows: ({ services }) => [emptyRouteRow, ...ours.flatMap((make) => services.map(make))],
  run: measure,
  columns: [
    { head: 'CPU µs/notification', value: (result) => result.micros, digits: 1, isCost: true },
    { head: 'load µs', value: (result) => result.loadMicros, digits: 1 },
    { head: 'per second', value: (result) => result.perSecond, digits: 0 },
    { head: 'redis µs', value: (result) => result.redisMicros || NaN, digits: 1, isCost: true },
    { head: 'cores', value: (result) => result.serverCores, digits: 2 },
    { head: 'p50 ms', value: (result) => result.p50Ms, digits: 2, isCost: true },
    { head: 'p99 ms', value: (result) => result.p99Ms, digits: 2, isCost: true },
    strangers
  ],
  base: 'empty-route',
  faults: ({ published }) => published > 0 ? [] : ['nothing was published']
}
