// One shape for every error: what our code throws, what Fastify throws, and what nobody expected.
import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyInstance } from 'fastify'
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
