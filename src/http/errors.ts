// One shape for every error: what our code throws, what Fastify throws, and what nobody expected.
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FuturePosition, MAX_GROUPS, MAX_MARKS, NoNotification, Revoked, TooManyGroups, TooManyMarks, Uncertain, Unavailable } from '../broker/broker.ts'
import { TidingsError } from '../errors.ts'
import { securityHeaders } from './headers.ts'
import type { Refusals } from './refusals.ts'

/** Seconds after which a publisher may try again when the broker is away. */
const RETRY_AFTER_SECONDS = 2
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']

export function handleErrors (app: FastifyInstance, refusals: Refusals): void {
  app.setErrorHandler<FastifyError>((error, request, reply) => {
    const known = translate(error)
    refusals.count(known.code)
    if (known.code === 'TIDINGS_INTERNAL') request.log.error({ err: error }, 'unexpected error')
    if (known.statusCode === 401) reply.header('www-authenticate', 'Bearer')
    if (known.statusCode === 503) reply.header('retry-after', RETRY_AFTER_SECONDS)
    return reply.code(known.statusCode).send(bodyOf(known))
  })
  app.setNotFoundHandler((request) => { throw notFound(request) })
}

/**
 * `Expect: something` decides nothing (RFC 9110, 10.1.1); by itself Node answers it 417, without any of our headers.
 */
export function ignoreExpectations (app: FastifyInstance): void {
  app.server.on('checkExpectation', (...both) => { app.server.emit('request', ...both) })
}

/** Before the body: a request for nothing is not listened to. */
export function refuseUnknownPaths (app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, done) => { done(request.is404 ? notFound(request) : undefined) })
}

function notFound ({ method, url }: FastifyRequest): TidingsError {
  if (!METHODS.includes(method)) return new TidingsError('TIDINGS_METHOD_NOT_ALLOWED', method)
  return new TidingsError('TIDINGS_NOT_FOUND', `${method} ${url.split('?', 1)[0]!.slice(0, 200)}`)
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

/**
 * Fastify's `clientErrorHandler`: what is not HTTP, or too much of it, on a bare socket. The error is not logged: it
 * carries the bytes of the request, and a token stands in them.
 */
export function handleClientError (error: Error & { code?: string, rawPacket?: unknown }, socket: Socket): void {
  // What arrives too slowly is a passing condition, and may be a stream's request: a line that breaks is tried again
  // by EventSource, a status would end it.
  if (error.code === 'ECONNRESET' || error.code === 'ERR_HTTP_REQUEST_TIMEOUT' || !socket.writable) {
    socket.destroy()
    return
  }
  const known = clientError(error)
  const body = JSON.stringify(bodyOf(known))
  const headers = {
    'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(body), connection: 'close', ...securityHeaders
  }
  socket.end([
    `HTTP/1.1 ${known.statusCode} ${STATUS_CODES[known.statusCode]}`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), '', body
  ].join('\r\n'))
}

function clientError ({ code, rawPacket }: { code?: string, rawPacket?: unknown }): TidingsError {
  if (code === 'HPE_HEADER_OVERFLOW') return new TidingsError('TIDINGS_HEADERS_TOO_LARGE')
  const [, method] = /^([A-Z]{1,20}) \S+ HTTP\/1\.[01]\r\n/.exec(Buffer.isBuffer(rawPacket) ? rawPacket.toString('latin1') : '') ?? []
  if (code === 'HPE_INVALID_METHOD' && method !== undefined) return new TidingsError('TIDINGS_METHOD_NOT_ALLOWED', method)
  return new TidingsError('TIDINGS_BAD_REQUEST', 'it is not HTTP as RFC 9112 has it')
}

function bodyOf ({ statusCode, code, message }: TidingsError): object {
  return { statusCode, code, error: STATUS_CODES[statusCode], message }
}

/** The error of the table for whatever was thrown. */
export function translate (error: Error & { code?: string, validation?: unknown, statusCode?: number }): TidingsError {
  if (error instanceof TidingsError) return error
  if (error instanceof Unavailable) return new TidingsError('TIDINGS_UNAVAILABLE')
  if (error instanceof Uncertain) return new TidingsError('TIDINGS_UNCERTAIN')
  if (error instanceof Revoked) return new TidingsError('TIDINGS_TOKEN_REVOKED')
  if (error instanceof TooManyGroups) return new TidingsError('TIDINGS_TOO_MANY_GROUPS', MAX_GROUPS)
  if (error instanceof FuturePosition) return new TidingsError('TIDINGS_BAD_POSITION', 'it lies in the future')
  if (error instanceof NoNotification) return new TidingsError('TIDINGS_NO_NOTIFICATION')
  if (error instanceof TooManyMarks) return new TidingsError('TIDINGS_TOO_MANY_MARKS', MAX_MARKS)
  if (error.validation !== undefined) return new TidingsError('TIDINGS_BAD_REQUEST', error.message)
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE': return new TidingsError('TIDINGS_BODY_TOO_LARGE')
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE': return new TidingsError('TIDINGS_UNSUPPORTED_MEDIA_TYPE')
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY': return new TidingsError('TIDINGS_BAD_JSON')
  }
  const { statusCode = 500 } = error
  if (statusCode >= 400 && statusCode < 500) return new TidingsError('TIDINGS_BAD_REQUEST', error.message.replace(/\.$/, ''))
  return new TidingsError('TIDINGS_INTERNAL')
}
