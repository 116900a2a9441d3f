// Answers every error in one shape: our own, Fastify's, and unexpected ones.
import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyInstance } from 'fastify'
import { MAX_GROUPS, Revoked, TooManyGroups, Uncertain, Unavailable } from '../broker/broker.ts'
import { FuturePosition, MAX_MARKS, NoNotification, TooManyMarks } from '../broker/inbox.ts'
import { type ErrorCode, TidingsError } from '../errors.ts'
import type { Refusals } from './refusals.ts'
import { requestOf } from './request-log.ts'

/** The errors of a route that asks the broker, for the OpenAPI document. */
export const BROKER_ERRORS: readonly ErrorCode[] = ['TIDINGS_UNAVAILABLE', 'TIDINGS_UNCERTAIN']

/** Retry-After of refusals that pass by themselves. */
export const RETRY_AFTER_SECONDS = 2

export function handleErrors (app: FastifyInstance, refusals: Refusals): void {
  app.setErrorHandler<FastifyError>((error, request, reply) => {
    const refusal = translate(error)
    refusals.count(refusal.code, refusal.reason)
    if (refusal.code === 'TIDINGS_INTERNAL') request.log.error({ ...requestOf(request), err: error }, 'unexpected error; report it, with the stack')
    if (refusal.statusCode === 401) reply.header('www-authenticate', 'Bearer')
    if (refusal.statusCode === 503) reply.header('retry-after', RETRY_AFTER_SECONDS)
    return reply.code(refusal.statusCode).send(bodyOf(refusal))
  })
}

/** The JSON body of every error. */
export function bodyOf ({ statusCode, code, message }: TidingsError): object {
  return { statusCode, code, error: STATUS_CODES[statusCode], message }
}

/** Maps whatever was thrown to an error of the table. */
export function translate (error: Error & { code?: string, validation?: FastifyError['validation'], statusCode?: number }): TidingsError {
  if (error instanceof TidingsError) return error
  if (error instanceof Unavailable) return new TidingsError('TIDINGS_UNAVAILABLE')
  if (error instanceof Uncertain) return new TidingsError('TIDINGS_UNCERTAIN')
  if (error instanceof Revoked) return new TidingsError('TIDINGS_TOKEN_REVOKED')
  if (error instanceof TooManyGroups) return new TidingsError('TIDINGS_TOO_MANY_GROUPS', MAX_GROUPS)
  if (error instanceof FuturePosition) return new TidingsError('TIDINGS_BAD_POSITION', 'it lies in the future')
  if (error instanceof NoNotification) return new TidingsError('TIDINGS_NO_NOTIFICATION')
  if (error instanceof TooManyMarks) return new TidingsError('TIDINGS_TOO_MANY_MARKS', MAX_MARKS)
  if (error.validation !== undefined) return new TidingsError('TIDINGS_BAD_REQUEST', faultOf(error.message, error.validation))
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

/** Ajv's sentence about a constant does not say which one. */
function faultOf (message: string, [fault]: NonNullable<FastifyError['validation']>): string {
  return fault?.keyword === 'const' ? message.replace('equal to constant', JSON.stringify(fault.params.allowedValue)) : message
}
