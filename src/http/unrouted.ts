// Answers what reaches no route: bytes that are not HTTP, headers that are too large, unknown paths, and methods that a
// path does not have.
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { TidingsError } from '../errors.ts'
import { bodyOf } from './errors.ts'
import { comeBackAnswer, endBehindAnswer, hasTwoHosts, isHttp11, STREAM_PATH } from './event-stream.ts'
import type { Refusals } from './refusals.ts'
import { requestOf } from './request-log.ts'

/** The methods of all routes: the answer to a method that Node does not know, whose path is not looked at. */
const ALL_METHODS = 'DELETE, GET, HEAD, POST, PUT'

/** Every path that has a route, with its methods. */
type Paths = ReadonlyMap<string, { readonly pattern: RegExp, readonly methods: ReadonlySet<string> }>

/**
 * Serves requests with an unknown `Expect` header as if it were absent, which RFC 9110, 10.1.1 allows. Node itself
 * would answer 417 without any of our headers.
 */
export function ignoreExpectations (app: FastifyInstance): void {
  app.server.on('checkExpectation', (...both) => { app.server.emit('request', ...both) })
}

/** Call this before any route is registered. */
export function rememberPaths (app: FastifyInstance): Paths {
  const paths = new Map<string, { pattern: RegExp, methods: Set<string> }>()
  app.addHook('onRoute', ({ url, method }) => {
    // The CORS plugin registers `*`, which answers for all paths.
    if (url === '*') return
    const path = paths.get(url) ?? { pattern: patternOf(url), methods: new Set() }
    for (const name of [method].flat()) path.methods.add(name)
    paths.set(url, path)
  })
  app.setNotFoundHandler((request) => { throw notFound(request) })
  return paths
}

/**
 * Refuses unknown paths and methods before the body is read. For a known path `Allow` lists its methods (RFC 9110,
 * 15.5.6).
 */
export function refuseUnknownPaths (app: FastifyInstance, paths: Paths): void {
  app.addHook('onRequest', (request, reply, done) => { done(request.is404 ? refusalOf(request, reply, paths) : undefined) })
}

/** To be called before CORS, which answers every OPTIONS: one that is no preflight it refuses in a shape of its own. */
export function refuseOptions (app: FastifyInstance, paths: Paths): void {
  app.addHook('onRequest', (request, reply, done) => {
    const { method, headers } = request
    const isPreflight = Boolean(headers.origin && headers['access-control-request-method'])
    done(method === 'OPTIONS' && !isPreflight ? refusalOf(request, reply, paths) : undefined)
  })
}

function refusalOf (request: FastifyRequest, reply: FastifyReply, paths: Paths): TidingsError {
  const path = pathOf(request.url)
  const methods = new Set([...paths.values()].flatMap(({ pattern, methods }) => pattern.test(path) ? [...methods] : []))
  if (methods.size === 0) return notFound(request)
  reply.header('allow', [...methods].sort().join(', '))
  return new TidingsError('TIDINGS_METHOD_NOT_ALLOWED', request.method)
}

/** A request may name the whole URL (RFC 9112, 3.2.2). */
const pathOf = (target: string): string => target.replace(/^https?:\/\/[^/?]*/, '').split('?', 1)[0]!

function notFound (request: FastifyRequest): TidingsError {
  return new TidingsError('TIDINGS_NOT_FOUND', `${request.method} ${pathOf(request.url).slice(0, 200)}`)
}

/** Turns a path as Fastify writes it (`/a/:b/*`) into a regular expression. */
function patternOf (url: string): RegExp {
  const parts = url.split(/(:\w+|\*)/).map((part) => part === '*' ? '.*' : part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('')}$`)
}

/** A name or an IPv4 address, or an IPv6 address in brackets; and a port (RFC 3986, 3.2.2). */
const HOST = /^(?:[\w.~%!$&'()*+,;=-]*|\[[\w:.%~-]+\])(?::\d*)?$/

/**
 * Refuses HTTP/1.1 without Host, and more than one or a malformed one (RFC 9112, 3.2). Node itself would answer the
 * first with a bare 400, and take the others. HTTP/1.0 has no Host, and a proxy may speak it.
 */
export function refuseWithoutHost (app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    const fault = hostFault(request)
    if (fault === undefined) return done()
    reply.header('connection', 'close')
    done(new TidingsError('TIDINGS_BAD_REQUEST', fault))
  })
}

function hostFault (request: FastifyRequest): string | undefined {
  const { host } = request.headers
  if (host === undefined) return isHttp11(request) ? 'HTTP/1.1 needs a Host header' : undefined
  if (hasTwoHosts(request)) return 'only one Host header is allowed'
  return HOST.test(host) ? undefined : 'the Host header is not a host'
}

/**
 * Fastify's `frameworkErrors`: answers a URL that cannot be parsed, which happens before any route or hook. `headers`:
 * those of every answer.
 */
export function frameworkErrorHandler (headers: (request: FastifyRequest) => Record<string, string>, refusals: Refusals) {
  return (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void => {
    const refusal = new TidingsError('TIDINGS_BAD_REQUEST', error.code === 'FST_ERR_MAX_PARAM_LENGTH' ? 'a part of the path is too long' : 'the path is not well encoded')
    refusals.count(refusal.code)
    request.log.debug({ ...requestOf(request), code: error.code }, 'not a path')
    reply.code(refusal.statusCode).headers(headers(request)).send(bodyOf(refusal))
  }
}

export interface BareAnswers {
  /** The headers of every answer. */
  readonly headers: (request: { headers: { origin?: string | undefined } }) => Record<string, string>
  readonly refusals: Refusals
  /** When a refused stream shall reconnect, jittered by up to half. */
  readonly retryMs: number
}

/**
 * Fastify's `clientErrorHandler`: answers on the bare socket what is not HTTP, or has headers that are too large. The
 * error is not logged, since it carries the bytes of the request, and a token may be among them.
 */
export function clientErrorHandler ({ headers, refusals, retryMs }: BareAnswers) {
  const answered = new WeakSet<Socket>()
  return (error: Error & { code?: string, rawPacket?: unknown }, socket: Socket): void => {
    // The rest of what was answered already. It is taken and thrown away until headersTimeout, since a reset might
    // overtake the answer, and nginx takes one for a fault of the node.
    if (error.code?.startsWith('HPE_') === true && answered.has(socket)) return
    // A request that arrives too slowly may be a stream's. The socket is closed without a status: EventSource retries
    // after a broken connection, but a status would end it for good.
    if (error.code === 'ECONNRESET' || error.code === 'ERR_HTTP_REQUEST_TIMEOUT' || !socket.writable) {
      socket.destroy()
      return
    }
    // What is wrong came behind a request. An answer to it would be taken for that one's, also if it published
    // something, or stand in the middle of its stream.
    if (endBehindAnswer(socket)) {
      answered.add(socket)
      refusals.count(clientError(error.code, undefined).code)
      return
    }
    // Only the last packet is kept. A request that came in one packet is there as a whole.
    const packet = Buffer.isBuffer(error.rawPacket) ? error.rawPacket.toString('latin1') : ''
    const { method, path = '' } = requestLineOf(packet)
    const refusal = clientError(error.code, method)
    refusals.count(refusal.code)
    const [, origin] = /^origin: *(\S+)\r$/im.exec(packet) ?? []
    const answer = (status: number, more: Record<string, string>, body: string): void => {
      answered.add(socket)
      const all = { ...headers({ headers: { origin } }), ...more, 'content-length': Buffer.byteLength(body), connection: 'close' }
      socket.end([`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...Object.entries(all).map(([name, value]) => `${name}: ${value}`), '', body].join('\r\n'))
    }
    if (refusal.code === 'TIDINGS_HEADERS_TOO_LARGE') {
      // The cookies of a site may exceed the limit and shrink again later, so the stream is told to come back.
      if (path.startsWith(STREAM_PATH)) {
        const hint = comeBackAnswer(retryMs * (0.5 + Math.random()))
        return answer(200, hint.headers, hint.body)
      }
      // The packet with the path is gone. It may be a stream's request, so it gets no status.
      if (method === undefined) {
        socket.destroy()
        return
      }
    }
    answer(refusal.statusCode, {
      'content-type': 'application/json; charset=utf-8', ...(refusal.statusCode === 405 && { allow: ALL_METHODS })
    }, JSON.stringify(bodyOf(refusal)))
  }
}

/**
 * Splits the line instead of matching it with one pattern, which could backtrack over 64 KB and block the node for
 * seconds.
 */
function requestLineOf (packet: string): { method?: string, path?: string } {
  const [method = '', url = '', version = '', ...more] = packet.slice(0, Math.max(0, packet.indexOf('\r\n'))).split(' ')
  const isOne = /^[A-Z]{1,20}$/.test(method) && url !== '' && /^HTTP\/1\.[01]$/.test(version) && more.length === 0
  return isOne ? { method, path: pathOf(url) } : {}
}

function clientError (code: string | undefined, method: string | undefined): TidingsError {
  if (code === 'HPE_HEADER_OVERFLOW') return new TidingsError('TIDINGS_HEADERS_TOO_LARGE')
  if (code === 'HPE_INVALID_METHOD' && method !== undefined) return new TidingsError('TIDINGS_METHOD_NOT_ALLOWED', method)
  return new TidingsError('TIDINGS_BAD_REQUEST', 'it is not HTTP as RFC 9112 has it')
}
