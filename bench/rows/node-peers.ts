// Peers that are packages for Node, each in a small server of its own (servers/) in the way its README shows.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { startChild } from '../harness/child.ts'
import { redisAbsent, startRedis } from '../harness/parts.ts'
import type { Scope } from '../harness/scope.ts'
import { httpPost, Line } from '../harness/wire.ts'
import type { Row, Running, StartOptions } from './row.ts'

const bench = fileURLToPath(new URL('..', import.meta.url))
const settle = fileURLToPath(new URL('../servers/settle.ts', import.meta.url))

export function packagesAbsent (): string | undefined {
  return existsSync(`${bench}node_modules`) ? undefined : 'its package is not installed; npm ci --prefix bench'
}

/** Starts a Node server of servers/ that prints its port. */
export async function startScript (scope: Scope, script: string, { profileFolder, env = {} }: { profileFolder?: string | undefined, env?: Record<string, string> } = {}) {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const profile = profileFolder === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profileFolder]
  const child = startChild(scope, process.execPath, [...profile, '--import', settle, `${bench}servers/${script}.ts`], {
    name: script,
    env: { NODE_ENV: 'production', ...env },
    onLine: (line) => { if (line.startsWith('listening on ')) resolve(Number(line.slice(13))) }
  })
  void child.exited.then((how) => { reject(new Error(how)) })
  return { child, port: await promise }
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
      const { child, port } = await startScript(scope, name.replace('.', '-').replace('@', ''), {
        profileFolder, ...(redis !== undefined && { env: { REDIS_PORT: String(redis.port) } })
      })
      const line = await Line.open(scope, port, 'http')
      return {
        request: () => ({ port, path, headers }),
        liveOn: 'head',
        publish: (json) => { line.send(httpPost('/publish', ['Content-Type: application/json'], json)) },
        check: () => { line.check() },
        servers: () => [child.pid],
        others: redis === undefined ? {} : { redis: () => [redis.child.pid] },
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
