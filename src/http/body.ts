// Request bodies: how much of one is read, and routes that have none.
import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { TidingsError } from '../errors.ts'

/** What a route may be sent that says nothing else. A body is read before it is known what stands in it. */
export const MAX_BODY_BYTES = 16_384

/**
 * For routes without a body: whatever is sent as one is neither read nor looked at, and Content-Type decides nothing.
 * (Node drops what is left of it, and the server's requestTimeout ends what has no end.)
 */
export function ignoreBodies (app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, done) => {
    delete request.headers['content-type'] // a malformed one is refused before any parser
    done()
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => { done(null) })
}

/**
 * A body as text. Throws TIDINGS_UNSUPPORTED_MEDIA_TYPE for what is compressed (RFC 9110, 8.4), and TIDINGS_BAD_JSON:
 * decoding would put U+FFFD in the place of what is no UTF-8, in silence, so that data were changed and two names
 * became one.
 */
export function textOf ({ headers }: FastifyRequest, body: Buffer): string {
  if (!/^(identity)?$/i.test(headers['content-encoding'] ?? '')) throw new TidingsError('TIDINGS_UNSUPPORTED_MEDIA_TYPE')
  if (!isUtf8(body)) throw new TidingsError('TIDINGS_BAD_JSON')
  return body.toString()
}

/** We speak JSON; Fastify would take plain text too. */
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
