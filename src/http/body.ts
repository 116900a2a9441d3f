// Request bodies: their size limit, reading them as text, and routes that take none.
import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type ErrorCode, TidingsError } from '../errors.ts'

/** The body limit of routes that set none. A body is read before its content is checked. */
export const MAX_BODY_BYTES = 16_384

/** The errors of a route that takes a body, for the OpenAPI document. */
export const BODY_ERRORS: readonly ErrorCode[] = ['TIDINGS_BAD_JSON', 'TIDINGS_BODY_TOO_LARGE', 'TIDINGS_UNSUPPORTED_MEDIA_TYPE']

/**
 * For routes that take no body: one that is sent is neither read nor checked, and any Content-Type is accepted. (Node
 * discards the rest of it, and requestTimeout ends one without an end.)
 */
export function ignoreBodies (app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, done) => {
    delete request.headers['content-type'] // Fastify refuses a malformed one before any parser runs
    done()
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => { done(null) })
}

/**
 * Returns a body as text. Throws TIDINGS_UNSUPPORTED_MEDIA_TYPE if it is compressed (RFC 9110, 8.4), and
 * TIDINGS_BAD_JSON if it is not UTF-8. Decoding would silently put U+FFFD in place of invalid bytes, so data would
 * change and two names could become one.
 */
export function textOf ({ headers }: FastifyRequest, body: Buffer): string {
  if (!/^(identity)?$/i.test(headers['content-encoding'] ?? '')) throw new TidingsError('TIDINGS_UNSUPPORTED_MEDIA_TYPE')
  if (!isUtf8(body)) throw new TidingsError('TIDINGS_BAD_JSON')
  return body.toString()
}

/** Takes JSON bodies only. Fastify would take plain text too. */
export function takeJson (app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeContentTypeParser(['text/plain', 'application/json'])
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      void parse(request, textOf(request, body), done)
    } catch (error) {
      done(error as Error)
    }
  })
}
