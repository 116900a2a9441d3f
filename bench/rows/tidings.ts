// Tidings itself: embedded, on Redis with one or more nodes, and behind the project's nginx. Everything on.
import type { StreamRequest } from '../harness/crowd.ts'
import { durable, keptBytes, nginxAbsent, type Node, redisAbsent, startNginx, startNode, startRedis } from '../harness/parts.ts'
import { tree } from '../harness/proc.ts'
import { token } from '../harness/tokens.ts'
import { httpPost, Line } from '../harness/wire.ts'
import type { Row, Running } from './row.ts'

/** The group that all streams are in. */
export const GROUP = 'bench'

const tokens: string[] = []

/** Stream `i` belongs to a user of its own, spread over the nodes in turn. */
export function subscribe (i: number, ports: readonly number[]): StreamRequest {
  tokens[i] ??= token({ sub: `user-${i}`, groups: [GROUP] })
  return { port: ports[i % ports.length]!, path: '/api/notifications/subscribe', headers: [`Authorization: Bearer ${tokens[i]}`] }
}

/** The request that publishes `json` to an address (or several) over HTTP. */
export function publishRequest (to: string | readonly string[], json: string): string {
  return httpPost('/api/notifications', publishHeaders, `{"to":${JSON.stringify(to)},"data":${json}}`)
}

const publishHeaders = ['Content-Type: application/json', `Authorization: Bearer ${token({ sub: 'bench', scope: 'notifications:publish' })}`]

function memoryOf (nodes: readonly Node[]): Required<Pick<Running, 'settle' | 'kept'>> {
  return {
    settle: () => { for (const { child } of nodes) child.signal('SIGWINCH') },
    kept: () => nodes.reduce((sum, node) => sum + keptBytes(node), 0)
  }
}

const embedded: Row = {
  name: 'tidings',
  title: 'Tidings, embedded',
  kind: 'tidings',
  absent: () => undefined,
  start: async (scope, { profileFolder }) => {
    const node = await startNode(scope, undefined, { profileFolder })
    const line = await Line.open(scope, node.port, 'http')
    return {
      request: (i) => subscribe(i, [node.port]),
      liveOn: 'sync',
      publish: (json) => { line.send(publishRequest(`group:${GROUP}`, json)) },
      check: () => { line.check() },
      servers: () => [node.child.pid],
      others: {},
      ...memoryOf([node])
    }
  }
}

/** Published as another service does it: FCALL on Redis, so what a node does is only to deliver. */
export function onRedis (count: number, { nginx = false } = {}): Row {
  return {
    name: `tidings-redis-${count}${nginx ? '-nginx' : ''}`,
    title: `Tidings, Redis, ${count} node${count > 1 ? 's' : ''}${nginx ? ', nginx' : ''}`,
    kind: 'tidings',
    absent: () => redisAbsent() ?? (nginx ? nginxAbsent() : undefined),
    start: async (scope, { profileFolder }): Promise<Running> => {
      const redis = await startRedis(scope)
      const nodes: Node[] = []
      for (let i = 0; i < count; i++) nodes.push(await startNode(scope, redis, { profileFolder }))
      const front = nginx ? await startNginx(scope, nodes) : undefined
      const ports = front === undefined ? nodes.map(({ port }) => port) : [front.port]
      return {
        request: (i) => subscribe(i, ports),
        liveOn: 'sync',
        publish: (json) => { redis.line.send(durable(`group:${GROUP}`, json)) },
        check: () => { redis.line.check() },
        servers: () => nodes.map(({ child }) => child.pid),
        others: {
          redis: () => [redis.child.pid],
          ...(front !== undefined && { nginx: () => tree(front.child.pid) })
        },
        ...memoryOf(nodes)
      }
    }
  }
}

/** Published over HTTP at one node, received on another. */
export const acrossNodes: Row = {
  name: 'tidings-across',
  title: 'Tidings, HTTP on one node, stream on another',
  kind: 'tidings',
  absent: redisAbsent,
  start: async (scope, { profileFolder }) => {
    const redis = await startRedis(scope)
    const [here, there] = [await startNode(scope, redis, { profileFolder }), await startNode(scope, redis, { profileFolder })]
    const line = await Line.open(scope, here.port, 'http')
    return {
      request: (i) => subscribe(i, [there.port]),
      liveOn: 'sync',
      publish: (json) => { line.send(publishRequest(`group:${GROUP}`, json)) },
      check: () => { line.check() },
      servers: () => [here.child.pid, there.child.pid],
      others: { redis: () => [redis.child.pid] },
      ...memoryOf([here, there])
    }
  }
}

export const tidings: readonly Row[] = [embedded, onRedis(1), onRedis(3), onRedis(3, { nginx: true })]
