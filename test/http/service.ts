// One node in this very process, on a real port and the embedded broker, and the ways in which a test speaks to it.
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import pino from 'pino'
import { buildApp } from '../../src/app.ts'
import type { Broker } from '../../src/broker/broker.ts'
import { MemoryBroker } from '../../src/broker/memory/memory.ts'
import { MemoryBus } from '../../src/broker/memory/bus.ts'
import { Certificate } from '../../src/certificate.ts'
import { historyLimits, parseConfig } from '../../src/config.ts'
import { type ErrorCode, errorTable } from '../../src/errors.ts'
import { makeCertificate } from '../fixtures/certificate.ts'
import { connect, type Client, type ClientOptions } from '../fixtures/client.ts'
import type { Ledger } from '../fixtures/ledger.ts'
import { watchErrors } from '../fixtures/declared-errors.ts'
import { createIssuer, MANAGE, PUBLISH, type Claims, type Issuer } from '../fixtures/tokens.ts'
import { Signal, type Scope } from '../fixtures/wait.ts'
import { exchange, type Ending, type Head, type WireRequest } from '../fixtures/wire.ts'

/** Where Fastify tells of each request that it hands to a route. */
export const HANDLED = 'tracing:fastify.request.handler:start'

export interface Answer {
  status: number
  headers: Headers
  text: string
  /** The JSON body; undefined where it is none. */
  body: any
}

export interface CallOptions {
  /** Default: the operator's; null sends none. */
  token?: string | null
  /** Sent as JSON; a string or a Buffer is sent as it is. */
  body?: unknown
  headers?: Record<string, string>
}

export interface Service {
  app: FastifyInstance
  url: string
  bus: MemoryBus
  broker: Broker
  issuer: Issuer
  /** A token that may publish and manage. */
  operator: string
  token: (claims?: Claims) => string
  call: (method: string, path: string, options?: CallOptions) => Promise<Answer>
  /** POST /api/notifications with the operator's token. */
  publish: (to: string | string[], data: unknown, more?: object) => Promise<Answer>
  /** Publishes to one address and enters it into the ledger. */
  send: (ledger: Ledger, to: string, value?: unknown) => Promise<void>
  client: (t: Scope, claims?: Claims, options?: Partial<ClientOptions>) => Client
  /** A request on a raw socket; resolves with its answer when that has ended. */
  raw: (request: Omit<WireRequest, 'url'> & { path: string }) => Promise<{ head: Head | undefined, body: string, ending: Ending }>
  /** One value of /metrics; `label` as in `reason="slow"`. */
  metric: (name: string, label?: string) => Promise<number>
  /** Every line that pino wrote, at level trace. */
  lines: string[]
  /** The first log entry that fits, written already or still to come. */
  logged: (fits: (entry: Record<string, any>) => boolean, what?: string) => Promise<Record<string, any>>
  /** Resolves when so many connections from this address have come and every one of them is gone. */
  gone: (localAddress: string, count: number) => Promise<void>
}

export interface ServiceOptions {
  env?: Record<string, string>
  issuer?: Issuer
  /** Share one to have several nodes. */
  bus?: MemoryBus
  /** Given the real broker, puts in what a test needs to be different. */
  alter?: (broker: MemoryBroker) => void
  /** It ends TLS itself. */
  isTls?: boolean
  /** Given the app before it listens. */
  prepare?: (app: FastifyInstance) => void
}

export async function startService (t: Scope, { env = {}, issuer = createIssuer(), bus, alter, isTls = false, prepare }: ServiceOptions = {}): Promise<Service> {
  const config = parseConfig({ RETRY_MS: '20', ...issuer.env, ...env }, 'node-under-test')
  bus ??= new MemoryBus(historyLimits(config))
  const broker = new MemoryBroker(bus)
  alter?.(broker)
  const lines: string[] = []
  const entries: Record<string, any>[] = []
  const written = new Signal()
  const logger = pino({ level: 'trace' }, {
    write: (line: string) => {
      lines.push(line)
      entries.push(JSON.parse(line))
      written.notify()
    }
  })
  const app = await buildApp({ config, broker, logger, certificate: isTls ? new Certificate(makeCertificate(t)) : undefined })
  prepare?.(app)
  const allDeclared = watchErrors(app)
  const arrivals = watchArrivals(app)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(async () => {
    await app.hub.drain(0)
    await app.close()
    allDeclared()
  })

  const operator = issuer.token({ sub: 'operator', scope: `${PUBLISH} ${MANAGE}` })
  const call: Service['call'] = async (method, path, { token = operator, body, headers = {} } = {}) => {
    const plain = typeof body === 'string' || Buffer.isBuffer(body)
    const answer = await fetch(new URL(path, url), {
      method,
      redirect: 'manual',
      headers: {
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers
      },
      ...(body !== undefined && { body: plain ? body as string : JSON.stringify(body) })
    })
    const text = await answer.text()
    return { status: answer.status, headers: answer.headers, text, body: parse(text) }
  }
  const publish: Service['publish'] = async (to, data, more = {}) => await call('POST', '/api/notifications', { body: { to, data, ...more } })

  return {
    app,
    url,
    bus,
    broker,
    issuer,
    operator,
    token: (claims) => issuer.token(claims),
    call,
    publish,
    send: async (ledger, to, value) => {
      const data = { mark: ledger.mark(), value: value ?? null }
      const { status, text, body } = await publish(to, data)
      if (status !== 202) throw new Error(`${status} ${text}`)
      ledger.sent({ to, id: body.notifications[0].id, data })
    },
    client: (t, claims, options = {}) => connect(t, { url, token: issuer.token(claims), retryCapMs: 50, ...options }),
    raw: ({ path, ...request }) => new Promise((resolve) => {
      let head: Head | undefined
      let body = ''
      exchange({
        ...request,
        url: new URL(path, url),
        onHead: (found) => { head = found },
        onBody: (piece) => { body += piece.toString() },
        onEnding: (ending) => { resolve({ head, body, ending }) }
      })
    }),
    metric: async (name, label = '') => {
      const line = (await call('GET', '/metrics')).text.split('\n').find((line) => line.startsWith(`${name}{`) && line.includes(label))
      return line === undefined ? NaN : Number(line.split(' ').at(-1))
    },
    lines,
    logged: (fits, what = String(fits)) => written.until(() => entries.find(fits), {
      what: `a log line: ${what}`, describe: () => lines.slice(-20).join('')
    }),
    gone: arrivals
  }
}

/** Counts connections by the address that they come from, so that a test knows when all of its own are gone. */
function watchArrivals (app: FastifyInstance): Service['gone'] {
  const counts = new Map<string, { came: number, open: number }>()
  const changed = new Signal()
  app.server.on('connection', (socket: Socket) => {
    const { remoteAddress = '' } = socket
    const count = counts.get(remoteAddress) ?? { came: 0, open: 0 }
    counts.set(remoteAddress, count)
    count.came++
    count.open++
    socket.on('close', () => {
      count.open--
      changed.notify()
    })
  })
  return async (localAddress, expected) => {
    await changed.until(() => {
      const { came = 0, open = 0 } = counts.get(localAddress) ?? {}
      return came >= expected && open === 0 ? true : undefined
    }, { what: `${expected} connections from ${localAddress} to have come and gone`, describe: () => JSON.stringify([...counts]) })
  }
}

function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A value as the name of an assertion: short, and printable whatever is in it. */
export function show (value: unknown): string {
  return JSON.stringify(value).slice(0, 60).replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** One assertion: status, code, sentence and shape of an error, and the headers that go with its status. */
export function assertError (t: { match: (found: unknown, pattern: any, message: string) => unknown }, answer: Answer, code: ErrorCode, message: string = code): void {
  const { status, headers, body } = answer
  const [wanted, sentence] = errorTable[code]
  const pattern = sentence.split('%s').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('[^]*')
  const found = {
    status,
    keys: Object.keys(body ?? {}).join(),
    body,
    type: headers.get('content-type'),
    challenge: headers.get('www-authenticate') ?? '',
    retryAfter: headers.get('retry-after') ?? ''
  }
  t.match(found, {
    status: wanted,
    keys: 'statusCode,code,error,message',
    body: { statusCode: wanted, code, error: STATUS_CODES[wanted], message: new RegExp(`^${pattern}$`) },
    type: /^application\/json(;|$)/,
    challenge: wanted === 401 ? /^Bearer/ : '', // RFC 9110, 15.5.2
    retryAfter: wanted === 503 || wanted === 429 ? /^[1-9]\d*$/ : ''
  }, message === code ? `${wanted} ${code}` : `${message}: ${wanted} ${code}`)
}
