// Tidings itself: embedded, on Redis with one or more nodes, and behind the project's nginx. Everything on.
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import type { StreamRequest } from '../harness/crowd.ts'
import { durableIn, keptBytes, nginxAbsent, type Node, PREFIX, redisAbsent, startNginx, startNode, startRedis, token } from '../harness/parts.ts'
import { tree } from '../harness/proc.ts'
import type { Service } from '../harness/service.ts'
import { httpPost, Line } from '../harness/wire.ts'
import type { Row, Running } from './row.ts'

export interface TidingsRow extends Row {
  readonly service: Service
}

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
    settle: () => { for (const node of nodes) node.signal('SIGWINCH') },
    kept: () => nodes.reduce((sum, node) => sum + keptBytes(node), 0)
  }
}

type Make = (service: Service) => TidingsRow

function row (service: Service, name: string, title: string, rest: Pick<Row, 'absent' | 'start'>): TidingsRow {
  return { ...named(service, name, title), kind: 'tidings', service, ...rest }
}

/** Names of a row of this checkout, or of its twin of another one. */
export function named ({ tag }: Service, name: string, title: string): Pick<Row, 'name' | 'title' | 'twin'> {
  return { name: `${name}${tag}`, title: tag === '' ? title : `${title} ${tag}`, ...(tag !== '' && { twin: name }) }
}

export const embedded: Make = (service) => row(service, 'tidings', 'Tidings, embedded', {
  absent: () => undefined,
  start: async (scope, { profileFolder }) => {
    const node = await startNode(scope, service, undefined, profileFolder)
    const line = await Line.open(scope, node.port, 'http')
    return {
      request: (i) => subscribe(i, [node.port]),
      liveOn: 'sync',
      publish: (json) => { line.send(publishRequest(`group:${GROUP}`, json)) },
      check: () => { line.check() },
      servers: () => [node.pid],
      others: {},
      ...memoryOf([node])
    }
  }
})

/** Published as another service does it: FCALL on Redis, so what a node does is only to deliver. */
export const onRedis = (count: number, { nginx = false, partitions = 1 } = {}): Make => (service) => {
  const name = `tidings-redis-${count}${nginx ? '-nginx' : ''}${partitions > 1 ? `-p${partitions}` : ''}`
  const divided = partitions === 1 ? service : { ...service, settings: { ...service.settings, REDIS_PARTITIONS: `${partitions}` } }
  const home = partitions === 1 ? PREFIX : `${PREFIX}:{${tagsOf(partitions)[partitionOf(GROUP, partitions)]!}}`
  return row(service, name, `Tidings, Redis, ${count} node${count > 1 ? 's' : ''}${nginx ? ', nginx' : ''}${partitions > 1 ? `, ${partitions} partitions` : ''}`, {
    absent: () => redisAbsent() ?? (nginx ? nginxAbsent() : undefined),
    start: async (scope, { profileFolder }): Promise<Running> => {
      const redis = await startRedis(scope)
      const nodes: Node[] = []
      for (let i = 0; i < count; i++) nodes.push(await startNode(scope, divided, redis, profileFolder))
      const front = nginx ? await startNginx(scope, nodes) : undefined
      const ports = front === undefined ? nodes.map(({ port }) => port) : [front.port]
      return {
        request: (i) => subscribe(i, ports),
        liveOn: 'sync',
        publish: (json) => { redis.line.send(durableIn(home, `group:${GROUP}`, json)) },
        check: () => { redis.line.check() },
        servers: () => nodes.map(({ pid }) => pid),
        others: {
          redis: () => [redis.pid],
          ...(front !== undefined && { nginx: () => tree(front.pid) })
        },
        ...memoryOf(nodes)
      }
    }
  })
}

/** Published over HTTP at one node, received on another. */
export const acrossNodes: Make = (service) => row(service, 'tidings-across', 'Tidings, HTTP on one node, stream on another', {
  absent: redisAbsent,
  start: async (scope, { profileFolder }) => {
    const redis = await startRedis(scope)
    const [here, there] = [await startNode(scope, service, redis, profileFolder), await startNode(scope, service, redis, profileFolder)]
    const line = await Line.open(scope, here.port, 'http')
    return {
      request: (i) => subscribe(i, [there.port]),
      liveOn: 'sync',
      publish: (json) => { line.send(publishRequest(`group:${GROUP}`, json)) },
      check: () => { line.check() },
      servers: () => [here.pid, there.pid],
      others: { redis: () => [redis.pid] },
      ...memoryOf([here, there])
    }
  }
})

/** Each in every checkout, side by side. */
export function tidings (services: readonly Service[], ...make: readonly Make[]): TidingsRow[] {
  return make.flatMap((one) => services.map((service) => one(service)))
}

export const usual = [embedded, onRedis(1), onRedis(3), onRedis(3, { nginx: true })] as const
