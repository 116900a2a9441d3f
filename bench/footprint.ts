// What things cost in memory: a user, a group, a kept notification, on Redis (used_memory) and on a node (heap in use, buffers
// included; what is resident grows in steps, see idle for that). For docs/capacity.md.
import net from 'node:net'
import { pause } from './harness/child.ts'
import { type Client, Crowd } from './harness/crowd.ts'
import { durable, keptBytes, type Node, type RedisServer, startNode, startRedis } from './harness/parts.ts'
import { payload } from './harness/payload.ts'
import { Scope } from './harness/scope.ts'
import { token } from './harness/tokens.ts'

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
  node.child.signal('SIGWINCH')
  await pause(1500)
  return { redis: await usedMemory(redis), node: keptBytes(node) }
}

/** The same users three times on a fresh Redis and node: with no group, with one that all share, with groups of their own. */
async function weigh (users: number, groupsOf: (i: number) => string[], client: Client, withLogs = false) {
  const scope = new Scope()
  try {
    const redis = await startRedis(scope)
    const node = await startNode(scope, redis)
    const requests = Array.from({ length: users }, (_, i) => ({
      port: node.port,
      path: '/api/notifications/subscribe',
      headers: [`Authorization: Bearer ${token({ sub: `user-${i}`, groups: groupsOf(i) })}`]
    }))
    // Code and pools that serve all streams are not charged to the first ones.
    const warm = new Scope()
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

export async function footprint ({ streams: users, client }: { streams: number, client: Client }): Promise<FootprintResult> {
  const none = await weigh(users, () => [], client, true)
  const shared = await weigh(users, () => ['shared'], client)
  const own = await weigh(users, (i) => Array.from({ length: GROUPS_EACH }, (_, g) => `group-${i}-${g}`), client)
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
