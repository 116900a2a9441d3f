// Several nodes in this very process, on one broker of either kind, so that a rule is shown on both and time can be turned.
import type { FastifyInstance } from 'fastify'
import pino from 'pino'
import { buildApp } from '../../src/app.ts'
import type { Broker } from '../../src/broker/broker.ts'
import { MemoryBroker } from '../../src/broker/memory/memory.ts'
import { MemoryBus } from '../../src/broker/memory/bus.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import { parseConfig } from '../../src/config.ts'
import { connect, type Client, type ClientOptions } from '../fixtures/client.ts'
import type { Redis } from '../fixtures/redis.ts'
import { watchErrors } from '../fixtures/declared-errors.ts'
import { createIssuer, MANAGE, PUBLISH, type Claims, type Issuer } from '../fixtures/tokens.ts'
import { eventually, type Scope } from '../fixtures/wait.ts'

export type Kind = 'memory' | 'redis'
export const KINDS: readonly Kind[] = ['memory', 'redis']

export interface Node {
  app: FastifyInstance
  url: string
  broker: Broker
  /** What pino wrote, at level trace. */
  lines: string[]
}

export interface Answer {
  status: number
  headers: Headers
  body: any
}

export interface CallOptions {
  /** Which node is asked; default the first. */
  node?: number
  /** Default: the operator's; null sends none. */
  token?: string | null
  body?: unknown
  headers?: Record<string, string>
}

export interface Nodes {
  nodes: Node[]
  issuer: Issuer
  /** First part of the keys in Redis. */
  prefix: string
  /** May publish and manage. */
  operator: string
  token: (claims?: Claims) => string
  call: (method: string, path: string, options?: CallOptions) => Promise<Answer>
  /** A ticket of this user, asked for at a node. */
  ticket: (claims?: Claims, node?: number) => Promise<string>
  /** A client of this user at a node, by default the first; it reconnects within 50 ms whatever `retry:` says. */
  client: (t: Scope, claims?: Claims, options?: Partial<ClientOptions> & { node?: number }) => Client
  /** A client that brings no token of its own. */
  bare: (t: Scope, options?: Partial<ClientOptions> & { node?: number }) => Client
  /** What is kept for a while in the broker (tickets, sessions) is so much nearer to its end. */
  pass: (seconds: number) => Promise<void>
}

export interface NodesOptions {
  count?: number
  env?: Record<string, string>
  /** Settings of one node alone. */
  envOf?: (node: number) => Record<string, string>
  issuer?: Issuer
  /** Where node n finds Redis; default: where it is. */
  redisUrl?: (node: number) => string
  /** Given the real broker, puts in what a test needs to be different. */
  alter?: (broker: Broker, node: number) => void
}

let made = 0

/** `redis`: needed for the kind of that name. */
export async function startNodes (t: Scope, kind: Kind, redis: Redis, { count = 2, env = {}, envOf = () => ({}), issuer = createIssuer(), redisUrl = () => redis.url, alter }: NodesOptions = {}): Promise<Nodes> {
  const prefix = `${redis.prefix}:${++made}`
  let aheadMs = 0
  const limits = { historyLength: 1000, groupHistoryLength: 1000, historySeconds: 86_400, maxDataBytes: 65_536 }
  const bus = new MemoryBus({ ...limits, nowMs: () => Date.now() + aheadMs, steadyMs: () => performance.now() + aheadMs })
  const nodes = await Promise.all(Array.from({ length: count }, (_, n) => start(n)))

  async function start (n: number): Promise<Node> {
    const config = parseConfig({ RETRY_MS: '20', ...issuer.env, ...env, ...envOf(n) }, `node-${n}`)
    const lines: string[] = []
    const logger = pino({ level: 'trace' }, { write: (line: string) => { lines.push(line) } })
    const broker: Broker = kind === 'memory'
      ? new MemoryBroker(bus)
      : new RedisBroker({ url: redisUrl(n), prefix, nodeName: config.NODE_NAME, log: logger, ...limits })
    alter?.(broker, n)
    const app = await buildApp({ config, broker, logger })
    const allDeclared = watchErrors(app)
    const url = await app.listen({ host: '127.0.0.1', port: 0 })
    t.teardown(async () => {
      await app.hub.drain(0)
      await app.close()
      allDeclared()
    })
    await eventually(async () => broker.state(), ({ up }) => up, { what: `the broker of node ${n} is up`, describe: () => lines.join('') })
    return { app, url, broker, lines }
  }

  const operator = issuer.token({ sub: 'operator', scope: `${PUBLISH} ${MANAGE}` })
  const urlOf = (node = 0): string => nodes[node]!.url
  const call: Nodes['call'] = async (method, path, { node, token = operator, body, headers = {} } = {}) => {
    const answer = await fetch(new URL(path, urlOf(node)), {
      method,
      headers: { ...(token !== null && { authorization: `Bearer ${token}` }), ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000)
    })
    const text = await answer.text()
    return { status: answer.status, headers: answer.headers, body: text.startsWith('{') ? JSON.parse(text) : text }
  }
  const bare: Nodes['bare'] = (t, { node, ...options } = {}) => connect(t, { url: urlOf(node), retryMs: 20, retryCapMs: 50, ...options })
  return {
    nodes,
    issuer,
    prefix,
    operator,
    token: (claims) => issuer.token(claims),
    call,
    ticket: async (claims, node) => {
      const { status, body } = await call('POST', '/api/notifications/tickets', { token: issuer.token(claims), ...(node !== undefined && { node }) })
      if (status !== 201) throw new Error(`${status} ${JSON.stringify(body)}`)
      return body.ticket
    },
    bare,
    client: (t, claims, options = {}) => bare(t, { token: issuer.token(claims), ...options }),
    pass: async (seconds) => {
      aheadMs += seconds * 1000
      if (kind === 'redis') await hasten(redis, prefix, seconds)
    }
  }
}

async function hasten (redis: Redis, prefix: string, seconds: number): Promise<void> {
  for (const key of await redis.cli('KEYS', `${prefix}:*`) as string[]) {
    const restMs = Number(await redis.cli('PTTL', key))
    if (restMs > 0) await redis.cli('PEXPIRE', key, Math.max(0, restMs - seconds * 1000))
  }
}

/** Registers the same test for either broker. */
export function onBoth (test: { test: (name: string, run: (t: any) => Promise<void>) => unknown }, name: string, run: (t: any, kind: Kind) => Promise<void>): void {
  for (const kind of KINDS) test.test(`${name} (${kind})`, async (t) => { await run(t, kind) })
}

/** The one cookie that the first answer to a ticket set. */
export function passOf ({ connection: { headers } }: Client): { name: string, value: string, attributes: string[] } {
  const [pair = '', ...attributes] = (headers['set-cookie'] ?? '').split('; ')
  const at = pair.indexOf('=')
  if (at < 1) throw new Error(`no pass in ${JSON.stringify(headers)}`)
  return { name: pair.slice(0, at), value: pair.slice(at + 1), attributes }
}
