// What a measurement stands on, from test/fixtures: Redis, nginx with the project's own file, and nodes of the service.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import * as fixtures from '../../test/fixtures/nginx.ts'
import { startNode as startTestNode, type TestNode } from '../../test/fixtures/node.ts'
import { isOnPath } from '../../test/fixtures/parts.ts'
import { freePort, makeFolder } from '../../test/fixtures/process.ts'
import { startRedis as startTestRedis } from '../../test/fixtures/redis.ts'
import { createIssuer, type Claims } from '../../test/fixtures/tokens.ts'
import type { Scope } from '../../test/fixtures/wait.ts'
import type { Service } from './service.ts'
import { pause, profiling, settle } from './start.ts'
import { Line, respCommand } from './wire.ts'

/** Keys are as long as an operator's: memory is weighed. */
export const PREFIX = 'tidings'
const issuer = createIssuer()
export const secret = issuer.env['JWT_SECRET']!
/** Good for a day: some runs are long. */
export const token = (claims: Claims): string => issuer.token({ exp: Math.floor(Date.now() / 1000) + 86_400, ...claims })

export interface RedisServer {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** A connection of the bench's own. */
  readonly line: Line
}

export const redisAbsent = (): string | undefined => isOnPath('redis') ? undefined : 'no redis-server; apt-get install redis-server'

export async function startRedis (scope: Scope): Promise<RedisServer> {
  const { url, port, pid } = await startTestRedis(scope, { own: true, args: ['--maxclients', '10000'] })
  return { url, port, pid: pid!, line: await Line.open(scope, port, 'resp') }
}

/** A durable publish as another service does it, without a library, under this prefix. */
export function durableIn (prefix: string, address: string, json: string, ...more: readonly string[]): string {
  return respCommand('FCALL', 'tidings_publish', '1', prefix, address, 'message', json, ...more)
}

export function durable (address: string, json: string, ...more: readonly string[]): string {
  return durableIn(PREFIX, address, json, ...more)
}

export interface Node extends TestNode {
  readonly logFile: string
}

/** A node as an operator would run it: authentication, history, metrics, the log at `info` into a file. */
export async function startNode (
  scope: Scope, service: Service, redis: RedisServer | undefined, profileFolder?: string, port?: number, imports: readonly string[] = []
): Promise<Node> {
  const logFile = join(makeFolder(scope), 'log')
  const node = await startTestNode(scope, {
    root: service.root,
    port: port ?? await freePort(),
    logFile,
    nodeArgs: [...profiling(profileFolder), ...[settle, ...imports].flatMap((path) => ['--import', path])],
    env: {
      ...issuer.env,
      PUBLISH_PER_MINUTE: '0',
      DRAIN_SECONDS: '0',
      ...service.settings,
      ...(redis !== undefined && { REDIS_URL: redis.url })
    }
  })
  return Object.assign(node, { logFile })
}

/**
 * What the node's heap and buffers held after its last SIGWINCH (bench/servers/settle.ts), from the end of a log that
 * may be long.
 */
export function keptBytes (node: Node): number {
  const said = /settled (\d+)\n(?![^]*settled)/.exec(tailOf(node))
  if (said === null) throw new Error('the node has not said what it keeps')
  return Number(said[1])
}

/** What its heap was given since it was last asked (bench/servers/allocations.ts). */
export async function allocatedBytes (node: Node): Promise<number> {
  const said = (): RegExpExecArray[] => [...tailOf(node).matchAll(/allocated (\d+)\n/g)]
  const before = said().length
  node.signal('SIGURG')
  for (let tries = 0; said().length <= before; tries++) {
    if (tries > 1000) throw new Error('the node does not say what it was given')
    await pause(5)
  }
  return Number(said().at(-1)![1])
}

function tailOf ({ logFile }: Node): string {
  const file = openSync(logFile, 'r')
  try {
    const tail = Buffer.alloc(65_536)
    const end = readSync(file, tail, 0, tail.length, Math.max(0, fstatSync(file).size - tail.length))
    return tail.toString('latin1', 0, end)
  } finally {
    closeSync(file)
  }
}

export const nginxAbsent = (): string | undefined => isOnPath('nginx') ? undefined : 'no nginx; apt-get install nginx'

/** The project's own nginx.conf, but that a process of the bench's user has no more files than that user may open. */
export async function startNginx (scope: Scope, nodes: readonly Node[], snippets: Record<string, string> = {}): Promise<fixtures.Nginx> {
  const edit = (conf: string): string => conf.replace(/^worker_rlimit_nofile .*$/m, '').replace(/worker_connections \d+/, 'worker_connections 19000')
  return await fixtures.startNginx(scope, { nodes: nodes.map(({ port }) => port), edit, snippets })
}
