// One shape for every error: what our code throws, what Fastify throws, and what nobody expected.
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { MAX_GROUPS, Revoked, TooManyGroups, Uncertain, Unavailable } from '../broker/broker.ts'
import { errorTable, fail } from '../errors.ts'

/** Seconds after which a publisher may try again when Redis is away. */
const RETRY_AFTER_SECONDS = 2

export function handleErrors (app: FastifyInstance): void {
  app.setErrorHandler<FastifyError>((error, request, reply) => {
    const known = translate(error)
    const { statusCode = 500, code, message } = known
    if (code === 'TIDINGS_INTERNAL') request.log.error({ err: error }, 'unexpected error')
    if (statusCode === 401) reply.header('www-authenticate', 'Bearer')
    if (statusCode === 503) reply.header('retry-after', RETRY_AFTER_SECONDS)
    return reply.code(statusCode).send({ statusCode, code, error: STATUS_CODES[statusCode], message })
  })
  app.setNotFoundHandler((request) => { throw fail('TIDINGS_NOT_FOUND', `${request.method} ${request.url.split('?', 1)[0]!.slice(0, 200)}`) })
}

/** Fastify's `frameworkErrors`: a URL that cannot be read, before any route or hook. */
export function handleFrameworkError (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const { code, message } = fail('TIDINGS_BAD_REQUEST', error.code === 'FST_ERR_MAX_PARAM_LENGTH' ? 'a part of the path is too long' : 'the path is not well encoded')
  request.log.debug({ code: error.code }, 'not a path')
  reply.code(400).send({ statusCode: 400, code, error: STATUS_CODES[400], message })
}

/**
 * Fastify's `clientErrorHandler`: what is not HTTP, or too much of it, on a bare socket. The error is not logged: it carries the
 * bytes of the request, and a token stands in them.
 */
export function handleClientError (error: Error & { code?: string, rawPacket?: unknown }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const known = clientError(error)
  const { statusCode = 400, code, message } = known
  const body = JSON.stringify({ statusCode, code, error: STATUS_CODES[statusCode], message })
  socket.end(`HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode]}\r\nContent-Type: application/json; charset=utf-8\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`)
}

function clientError ({ code, rawPacket }: { code?: string, rawPacket?: unknown }): Error & { code: string, statusCode?: number } {
  if (code === 'HPE_HEADER_OVERFLOW') return fail('TIDINGS_HEADERS_TOO_LARGE')
  const [, method] = /^([A-Z]{1,20}) \S+ HTTP\/1\.[01]\r\n/.exec(Buffer.isBuffer(rawPacket) ? rawPacket.toString('latin1') : '') ?? []
  if (code === 'HPE_INVALID_METHOD' && method !== undefined) return fail('TIDINGS_METHOD_NOT_ALLOWED', method)
  return fail('TIDINGS_BAD_REQUEST', code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'it took too long to arrive' : 'it is not HTTP as RFC 9112 has it')
}

function translate (error: FastifyError): Error & { code: string, statusCode?: number } {
  if (error.code in errorTable) return error
  if (error instanceof Unavailable) return fail('TIDINGS_UNAVAILABLE')
  if (error instanceof Uncertain) return fail('TIDINGS_UNCERTAIN')
  if (error instanceof Revoked) return fail('TIDINGS_TOKEN_REVOKED')
  if (error instanceof TooManyGroups) return fail('TIDINGS_TOO_MANY_GROUPS', MAX_GROUPS)
  if (error.validation !== undefined) return fail('TIDINGS_BAD_REQUEST', error.message)
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE': return fail('TIDINGS_BODY_TOO_LARGE')
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE': return fail('TIDINGS_UNSUPPORTED_MEDIA_TYPE')
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY': return fail('TIDINGS_BAD_JSON')
  }
  const { statusCode = 500 } = error
  if (statusCode >= 400 && statusCode < 500) return fail('TIDINGS_BAD_REQUEST', error.message.replace(/\.$/, ''))
  return fail('TIDINGS_INTERNAL')
}
