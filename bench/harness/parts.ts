// What a measurement stands on: Redis, nginx with the project's own file, and nodes of the service.
import { accessSync, closeSync, constants, fstatSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { answers, type Child, freePort, pause, startChild } from './child.ts'
import { Line, respCommand } from './wire.ts'
import { makeFolder, type Scope } from './scope.ts'
import { secret } from './tokens.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const settle = fileURLToPath(new URL('../servers/settle.ts', import.meta.url))

/** Debian keeps servers where only root's PATH looks. */
export function findProgram (...names: readonly string[]): string | undefined {
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/usr/local/bin', '/usr/bin']) {
    for (const name of names) {
      try {
        accessSync(join(folder, name), constants.X_OK)
        return join(folder, name)
      } catch {}
    }
  }
  return undefined
}

export interface RedisServer {
  readonly port: number
  readonly child: Child
  /** A connection of the bench's own. */
  readonly line: Line
}

export function redisAbsent (): string | undefined {
  return findProgram('redis-server', 'valkey-server') === undefined ? 'no redis-server; apt-get install redis-server' : undefined
}

export async function startRedis (scope: Scope): Promise<RedisServer> {
  const folder = makeFolder(scope)
  const port = await freePort()
  const child = startChild(scope, findProgram('redis-server', 'valkey-server')!, [
    '--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder, '--maxclients', '10000'
  ], { name: 'redis', logFile: join(folder, 'redis.log') })
  for (let attempt = 0; ; attempt++) {
    try {
      const line = await Line.open(scope, port, 'resp')
      return { port, child, line }
    } catch (error) {
      if (attempt > 200 || !child.running) throw child.running ? error : new Error(await child.exited)
      await pause(25)
    }
  }
}

export interface Node {
  readonly port: number
  readonly child: Child
  readonly logFile: string
}

export interface NodeOptions {
  readonly env?: Record<string, string>
  readonly profileFolder?: string | undefined
}

/** What --set asks for; every node gets it. */
export const nodeSettings: Record<string, string> = {}

/** A node as an operator would run it: authentication, history, metrics, the log at `info` into a file. */
export async function startNode (scope: Scope, redis: RedisServer | undefined, { env = {}, profileFolder }: NodeOptions = {}): Promise<Node> {
  const folder = makeFolder(scope)
  const port = await freePort()
  const profile = profileFolder === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profileFolder]
  const logFile = join(folder, 'log')
  const child = startChild(scope, process.execPath, [...profile, '--import', settle, 'src/server.ts'], {
    name: 'node of Tidings',
    cwd: root,
    logFile,
    env: {
      PORT: String(port),
      JWT_SECRET: secret,
      PUBLISH_PER_MINUTE: '0',
      DRAIN_SECONDS: '0',
      ...nodeSettings,
      ...(redis !== undefined && { REDIS_URL: `redis://127.0.0.1:${redis.port}` }),
      ...env
    }
  })
  await answers(`http://127.0.0.1:${port}/readyz`, child)
  return { port, child, logFile }
}

/** What the node's heap and buffers held after its last SIGWINCH (bench/servers/settle.ts), from the end of a log that may be long. */
export function keptBytes ({ logFile }: Node): number {
  const file = openSync(logFile, 'r')
  try {
    const tail = Buffer.alloc(65_536)
    const end = readSync(file, tail, 0, tail.length, Math.max(0, fstatSync(file).size - tail.length))
    const said = /settled (\d+)\n(?![^]*settled)/.exec(tail.toString('latin1', 0, end))
    if (said === null) throw new Error('the node has not said what it keeps')
    return Number(said[1])
  } finally {
    closeSync(file)
  }
}

export function nginxAbsent (): string | undefined {
  return findProgram('nginx') === undefined ? 'no nginx; apt-get install nginx' : undefined
}

/** The project's own nginx.conf; only addresses and the places of its files are replaced. */
export async function startNginx (scope: Scope, nodes: readonly Node[]): Promise<{ port: number, child: Child }> {
  const folder = makeFolder(scope)
  const port = await freePort()
  const text = readFileSync(join(root, 'nginx.conf'), 'utf8')
    .replaceAll('/tmp/', `${folder}/`)
    .replace('/dev/stdout', join(folder, 'access.log'))
    .replace(/^( *)server node:3000\b(.*);$/gm, (_, indent: string, rest: string) => nodes.map((node) => `${indent}server 127.0.0.1:${node.port}${rest};`).join('\n'))
    .replace(/^( *)listen 8080 /m, `$1listen 127.0.0.1:${port} `)
    // A process of the bench's user has no more files than that user may open.
    .replace(/^worker_rlimit_nofile .*$/m, '')
    .replace(/worker_connections \d+/, 'worker_connections 19000')
  const child = await startOwnNginx(scope, folder, port, text)
  return { port, child }
}

export async function startOwnNginx (scope: Scope, folder: string, port: number, text: string): Promise<Child> {
  writeFileSync(join(folder, 'nginx.conf'), text)
  const child = startChild(scope, findProgram('nginx')!, ['-p', folder, '-c', join(folder, 'nginx.conf'), '-g', 'daemon off;'], {
    name: 'nginx', logFile: join(folder, 'nginx.log')
  })
  for (let attempt = 0; ; attempt++) {
    try {
      await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(1000) })
      return child
    } catch (error) {
      if (attempt > 100 || !child.running) throw child.running ? error : new Error(await child.exited)
      await pause(50)
    }
  }
}

/** A durable publish as another service does it, without a library. */
export function durable (address: string, json: string): string {
  return respCommand('FCALL', 'tidings_publish', '1', 'tidings', address, 'message', json)
}
