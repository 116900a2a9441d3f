// Peers that are packages for Node, each in a small server of its own (servers/) in the way its README shows.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Scope } from '../../test/fixtures/wait.ts'
import { redisAbsent, startRedis } from '../harness/parts.ts'
import { startScript } from '../harness/start.ts'
import { httpPost, Line } from '../harness/wire.ts'
import type { Row, Running, StartOptions } from '../rows/row.ts'

const server = (name: string): string => fileURLToPath(new URL(`servers/${name}.ts`, import.meta.url))

export function packagesAbsent (): string | undefined {
  return existsSync(new URL('node_modules', import.meta.url)) ? undefined : 'its package is not installed; npm ci --prefix bench/peers'
}

interface Shape {
  readonly name: string
  readonly title: string
  readonly path: string
  readonly headers?: readonly string[]
  readonly withRedis?: boolean
}

function nodePeer ({ name, title, path, headers = ['Accept: text/event-stream'], withRedis = false }: Shape): Row {
  return {
    name,
    title,
    kind: 'peer',
    absent: () => packagesAbsent() ?? (withRedis ? redisAbsent() : undefined),
    start: async (scope: Scope, { profileFolder }: StartOptions): Promise<Running> => {
      const redis = withRedis ? await startRedis(scope) : undefined
      const { child, port } = await startScript(scope, server(name.replace('.', '-').replace('@', '')), {
        profileFolder, ...(redis !== undefined && { env: { REDIS_PORT: String(redis.port) } })
      })
      const line = await Line.open(scope, port, 'http')
      return {
        request: () => ({ port, path, headers }),
        liveOn: 'head',
        publish: (json) => { line.send(httpPost('/publish', ['Content-Type: application/json'], json)) },
        check: () => { line.check() },
        servers: () => [child.pid],
        others: redis === undefined ? {} : { redis: () => [redis.pid] },
        settle: () => { child.signal('SIGWINCH') }
      }
    }
  }
}

export const nodePeers: readonly Row[] = [
  nodePeer({ name: 'better-sse', title: 'better-sse', path: '/events' }),
  nodePeer({ name: 'fastify-sse', title: '@fastify/sse', path: '/events' }),
  nodePeer({ name: 'fastify-sse-v2', title: 'fastify-sse-v2, plain', path: '/events' }),
  nodePeer({
    name: 'socket.io',
    title: 'Socket.IO, Redis adapter (WebSocket)',
    path: '/socket.io/?EIO=4&transport=websocket',
    headers: ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='],
    withRedis: true
  })
]
