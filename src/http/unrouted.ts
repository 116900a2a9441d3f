// What no route gets to see: what is not HTTP, or too much of it, paths that are not there, and methods that a path
// does not have.
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { TidingsError } from '../errors.ts'
import { bodyOf } from './errors.ts'
import { comeBackAnswer, isHttp11, STREAM_PATH } from './event-stream.ts'
import type { Refusals } from './refusals.ts'

/** Of all routes; for a method that Node does not know, whose path is not looked at. */
const ALL_METHODS = 'DELETE, GET, HEAD, POST, PUT'

/** Every path that has a route, with its methods. */
type Paths = ReadonlyMap<string, { readonly pattern: RegExp, readonly methods: ReadonlySet<string> }>

/**
 * `Expect: something` decides nothing (RFC 9110, 10.1.1); by itself Node answers it 417, without any of our headers.
 */
export function ignoreExpectations (app: FastifyInstance): void {
  app.server.on('checkExpectation', (...both) => { app.server.emit('request', ...both) })
}

/** To be called before any route is registered. */
export function rememberPaths (app: FastifyInstance): Paths {
  const paths = new Map<string, { pattern: RegExp, methods: Set<string> }>()
  app.addHook('onRoute', ({ url, method }) => {
    // That of CORS, which answers for all paths.
    if (url === '*') return
    const known = paths.get(url) ?? { pattern: patternOf(url), methods: new Set() }
    for (const one of [method].flat()) known.methods.add(one)
    paths.set(url, known)
  })
  app.setNotFoundHandler((request) => { throw notFound(request) })
  return paths
}

/**
 * Before the body: a request for nothing is not listened to. A path that is there says by `Allow` what it takes
 * (RFC 9110, 15.5.6).
 */
export function refuseUnknownPaths (app: FastifyInstance, paths: Paths): void {
  app.addHook('onRequest', (request, reply, done) => {
    if (!request.is404) return done()
    const path = pathOf(request)
    const methods = new Set([...paths.values()].flatMap(({ pattern, methods }) => pattern.test(path) ? [...methods] : []))
    if (methods.size === 0) return done(notFound(request))
    reply.header('allow', [...methods].sort().join(', '))
    done(new TidingsError('TIDINGS_METHOD_NOT_ALLOWED', request.method))
  })
}

const pathOf = ({ url }: FastifyRequest): string => url.split('?', 1)[0]!

function notFound (request: FastifyRequest): TidingsError {
  return new TidingsError('TIDINGS_NOT_FOUND', `${request.method} ${pathOf(request).slice(0, 200)}`)
}

/** `/a/:b/*`, as Fastify writes a path. */
function patternOf (url: string): RegExp {
  const parts = url.split(/(:\w+|\*)/).map((part) => part === '*' ? '.*' : part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('')}$`)
}

/** RFC 9112, 3.2; Node's own answer would be a bare 400. HTTP/1.0 knows no Host, and a proxy may speak it. */
export function refuseWithoutHost (app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    if (!isHttp11(request) || request.headers.host !== undefined) return done()
    reply.header('connection', 'close')
    done(new TidingsError('TIDINGS_BAD_REQUEST', 'HTTP/1.1 needs a Host header'))
  })
}

/**
 * Fastify's `frameworkErrors`: a URL that cannot be read, before any route or hook. `headers` are those of every
 * answer.
 */
export function frameworkErrorHandler (headers: (request: FastifyRequest) => Record<string, string>, refusals: Refusals) {
  return (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void => {
    const known = new TidingsError('TIDINGS_BAD_REQUEST', error.code === 'FST_ERR_MAX_PARAM_LENGTH' ? 'a part of the path is too long' : 'the path is not well encoded')
    refusals.count(known.code)
    request.log.debug({ code: error.code }, 'not a path')
    reply.code(known.statusCode).headers(headers(request)).send(bodyOf(known))
  }
}

export interface BareAnswers {
  /** Those of every answer. */
  readonly headers: (request: { headers: { origin?: string | undefined } }) => Record<string, string>
  readonly refusals: Refusals
  /** When a stream comes back, jittered by as much as half. */
  readonly retryMs: number
}

/**
 * Fastify's `clientErrorHandler`: what is not HTTP, or too much of it, on a bare socket. The error is not logged: it
 * carries the bytes of the request, and a token stands in them.
 */
export function clientErrorHandler ({ headers, refusals, retryMs }: BareAnswers) {
  return (error: Error & { code?: string, rawPacket?: unknown }, socket: Socket): void => {
    // What arrives too slowly is a passing condition, and may be a stream's request: a line that breaks is tried again
    // by EventSource, a status would end it.
    if (error.code === 'ECONNRESET' || error.code === 'ERR_HTTP_REQUEST_TIMEOUT' || !socket.writable) {
      socket.destroy()
      return
    }
    // Only the last piece that came. A request of one piece is there as a whole.
    const packet = Buffer.isBuffer(error.rawPacket) ? error.rawPacket.toString('latin1') : ''
    const { method, path = '' } = requestLineOf(packet)
    const known = clientError(error.code, method)
    refusals.count(known.code)
    const [, origin] = /^origin: *(\S+)\r$/im.exec(packet) ?? []
    const answer = (status: number, more: Record<string, string>, body: string): void => {
      const all = { ...more, 'content-length': Buffer.byteLength(body), connection: 'close', ...headers({ headers: { origin } }) }
      socket.end([`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...Object.entries(all).map(([name, value]) => `${name}: ${value}`), '', body].join('\r\n'))
    }
    if (known.code === 'TIDINGS_HEADERS_TOO_LARGE') {
      // Cookies grow past any limit, and shrink again.
      if (path.startsWith(STREAM_PATH)) {
        const hint = comeBackAnswer(retryMs * (0.5 + Math.random()))
        return answer(200, hint.headers, hint.body)
      }
      // The piece with its path is gone; it may be a stream's.
      if (method === undefined) {
        socket.destroy()
        return
      }
    }
    answer(known.statusCode, {
      'content-type': 'application/json; charset=utf-8', ...(known.statusCode === 405 && { allow: ALL_METHODS })
    }, JSON.stringify(bodyOf(known)))
  }
}

/** By its parts: a pattern that may begin again at each character of 64 KB would hold up everybody else for seconds. */
function requestLineOf (packet: string): { method?: string, path?: string } {
  const [method = '', url = '', version = '', ...more] = packet.slice(0, Math.max(0, packet.indexOf('\r\n'))).split(' ')
  const isOne = /^[A-Z]{1,20}$/.test(method) && url !== '' && /^HTTP\/1\.[01]$/.test(version) && more.length === 0
  return isOne ? { method, path: url.split('?', 1)[0]! } : {}
}

function clientError (code: string | undefined, method: string | undefined): TidingsError {
  if (code === 'HPE_HEADER_OVERFLOW') return new TidingsError('TIDINGS_HEADERS_TOO_LARGE')
  if (code === 'HPE_INVALID_METHOD' && method !== undefined) return new TidingsError('TIDINGS_METHOD_NOT_ALLOWED', method)
  return new TidingsError('TIDINGS_BAD_REQUEST', 'it is not HTTP as RFC 9112 has it')
}
