// What things cost in memory: a user, a group, a kept notification, on Redis (used_memory) and on a node (heap in use,
// buffers included; what is resident grows in steps, see idle for that). For docs/capacity.md.
import net from 'node:net'
import { Undo } from '../../test/fixtures/undo.ts'
import { Crowd } from '../harness/crowd.ts'
import { durable, keptBytes, type Node, type RedisServer, startNode, startRedis, token } from '../harness/parts.ts'
import { payload } from '../harness/payload.ts'
import { pause } from '../harness/start.ts'
import { onRedis, tidings, type TidingsRow } from '../rows/tidings.ts'
import type { Asked, Section } from './section.ts'

/** Groups of their own that each user is in, in the second step. */
const GROUPS_EACH = 10
/** Notifications that each log gets on top of its first. */
const ENTRIES_EACH = 20

export interface FootprintResult {
  readonly users: number
  /** Bytes on Redis and on the node for each. */
  readonly costs: ReadonlyArray<{ readonly thing: string, readonly redisBytes: number, readonly nodeBytes: number }>
}

async function usedMemory ({ port }: RedisServer): Promise<number> {
  const socket = net.connect({ port, host: '127.0.0.1' })
  socket.write('INFO memory\r\n')
  let text = ''
  for await (const chunk of socket.setEncoding('latin1')) {
    text += String(chunk)
    if (text.includes('used_memory_human')) break
  }
  return Number(/used_memory:(\d+)/.exec(text)![1])
}

async function settled (redis: RedisServer, node: Node): Promise<{ redis: number, node: number }> {
  await pause(1500)
  node.signal('SIGWINCH')
  await pause(1500)
  return { redis: await usedMemory(redis), node: keptBytes(node) }
}

/**
 * The same users three times on a fresh Redis and node: with no group, with one that all share, with groups of their
 * own.
 */
async function weigh ({ service }: TidingsRow, { streams: users, client }: Asked, groupsOf: (i: number) => string[], withLogs = false) {
  const scope = new Undo()
  try {
    const redis = await startRedis(scope)
    const node = await startNode(scope, service, redis)
    const requests = Array.from({ length: users }, (_, i) => ({
      port: node.port,
      path: '/api/notifications/subscribe',
      headers: [`Authorization: Bearer ${token({ sub: `user-${i}`, groups: groupsOf(i) })}`]
    }))
    // Code and pools that serve all streams are not charged to the first ones.
    const warm = new Undo()
    await new Crowd(warm, {
      requests: Array.from({ length: 100 }, (_, i) => ({ ...requests[0]!, headers: [`Authorization: Bearer ${token({ sub: `warm-${i}`, groups: [`warm-${i}`] })}`] })), liveOn: 'sync', client
    }).churn(500, 50)
    await warm.end()
    const before = await settled(redis, node)
    const crowd = new Crowd(scope, { requests, liveOn: 'sync', client })
    await crowd.open()
    const open = await settled(redis, node)
    const fill = async (times: number): Promise<{ redis: number, node: number }> => {
      for (let n = 0; n < times; n++) {
        const target = redis.line.answered + users
        await redis.line.callUntil(Array.from({ length: users }, (_, i) => durable(`user:user-${i}`, payload(n))).join(''), target)
      }
      return await settled(redis, node)
    }
    const first = withLogs ? await fill(1) : open
    const more = withLogs ? await fill(ENTRIES_EACH) : open
    return {
      open: { redis: open.redis - before.redis, node: open.node - before.node },
      first: first.redis - open.redis,
      more: more.redis - first.redis
    }
  } finally {
    await scope.end()
  }
}

async function measure (row: TidingsRow, asked: Asked): Promise<FootprintResult> {
  const { streams: users } = asked
  const none = await weigh(row, asked, () => [], true)
  const shared = await weigh(row, asked, () => ['shared'])
  const own = await weigh(row, asked, (i) => Array.from({ length: GROUPS_EACH }, (_, g) => `group-${i}-${g}`))
  return {
    users,
    costs: [
      { thing: 'user online, no group: stream, channel', redisBytes: none.open.redis / users, nodeBytes: none.open.node / users },
      { thing: 'membership in a group that all share', redisBytes: (shared.open.redis - none.open.redis) / users, nodeBytes: (shared.open.node - none.open.node) / users },
      {
        thing: 'group with one member: membership, channel',
        redisBytes: (own.open.redis - none.open.redis) / users / GROUPS_EACH,
        nodeBytes: (own.open.node - none.open.node) / users / GROUPS_EACH
      },
      { thing: 'log with its first notification (180 bytes)', redisBytes: none.first / users, nodeBytes: 0 },
      { thing: 'each further notification in a log', redisBytes: none.more / users / ENTRIES_EACH, nodeBytes: 0 }
    ]
  }
}

const whole = (bytes: number): string => bytes.toLocaleString('en-US', { maximumFractionDigits: 0 })

export const footprint: Section<FootprintResult, TidingsRow> = {
  name: 'footprint',
  partOf: 'scaling',
  isLong: true,
  takes: { streams: [5000, 150], client: true },
  title: ({ streams }) => `Footprint: bytes for each of ${streams} users, on Redis and on a node`,
  rows: ({ services }) => tidings(services, onRedis(1)),
  run: measure,
  columns: [],
  faults: () => [],
  table: ({ costs }) => [
    ['', 'bytes on Redis', 'bytes on the node'],
    ...costs.map(({ thing, redisBytes, nodeBytes }) => [thing, whole(redisBytes), whole(nodeBytes)])
  ]
}
