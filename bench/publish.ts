// Publishing: what a request costs the node beside what Fastify itself costs, what Redis alone does, and many addresses in one call.
import { Meter } from './harness/meter.ts'
import { durable, type Node, redisAbsent, type RedisServer, startNode, startRedis } from './harness/parts.ts'
import { payload } from './harness/payload.ts'
import { Scope } from './harness/scope.ts'
import { percentile } from './harness/stats.ts'
import { secret } from './harness/tokens.ts'
import { Line } from './harness/wire.ts'
import { startScript } from './rows/node-peers.ts'
import { publishRequest } from './rows/tidings.ts'

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

export interface PublishOptions {
  readonly seconds: number
  readonly profileFolder?: string | undefined
}

interface PublishRow {
  readonly name: string
  readonly title: string
  readonly absent: () => string | undefined
  readonly run: (scope: Scope, options: PublishOptions) => Promise<Omit<PublishResult, 'row' | 'title'>>
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
}): Promise<Omit<PublishResult, 'row' | 'title'> & { requests: number }> {
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
  const meter = new Meter({ servers: () => [pid], others: redis === undefined ? {} : { redis: () => [redis.child.pid] } })
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

async function viaNode (scope: Scope, { seconds, profileFolder }: PublishOptions, withRedis: boolean, each = 1) {
  const redis = withRedis ? await startRedis(scope) : undefined
  const node = await startNode(scope, redis, { profileFolder })
  const all = Array.from({ length: ADDRESSES }, (_, i) => `user:${i}`)
  const { requests, ...result } = await hammer(scope, {
    port: node.port,
    pid: node.child.pid,
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

async function viaRedis (scope: Scope, { seconds }: PublishOptions): Promise<Omit<PublishResult, 'row' | 'title'>> {
  const redis = await startRedis(scope)
  await startNode(scope, redis) // loads the functions
  const lines = await Promise.all(Array.from({ length: 4 }, () => Line.open(scope, redis.port, 'resp')))
  const batches = Array.from({ length: 16 }, (_, b) => Array.from({ length: PIPELINE }, (_, i) => durable(`user:${(b * PIPELINE + i) % USERS}`, payload(i))).join(''))
  const meter = new Meter({ servers: () => [redis.child.pid], others: {} })
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

export const publishRows: readonly PublishRow[] = [
  {
    name: 'empty-route',
    title: 'Fastify, empty route, same schema and token check',
    absent: () => undefined,
    run: async (scope, { seconds, profileFolder }) => {
      const { child, port } = await startScript(scope, 'empty-route', { profileFolder, env: { JWT_SECRET: secret } })
      const { requests, ...result } = await hammer(scope, { port, pid: child.pid, seconds, request: (n) => publishRequest(`user:${n % USERS}`, payload(n)) })
      return result
    }
  },
  { name: 'publish-embedded', title: 'Tidings, embedded', absent: () => undefined, run: (scope, options) => viaNode(scope, options, false) },
  { name: 'publish-redis', title: 'Tidings, Redis', absent: redisAbsent, run: (scope, options) => viaNode(scope, options, true) },
  { name: 'publish-1000', title: 'Tidings, Redis, 1,000 addresses a request', absent: redisAbsent, run: (scope, options) => viaNode(scope, options, true, ADDRESSES) },
  { name: 'fcall', title: 'Redis alone, FCALL tidings_publish, pipelined', absent: redisAbsent, run: viaRedis }
]

export async function publish (row: PublishRow, options: PublishOptions): Promise<PublishResult> {
  const scope = new Scope()
  try {
    return { row: row.name, title: row.title, ...await row.run(scope, options) }
  } finally {
    await scope.end()
  }
}
