// Request bodies: how much of one is read, and routes that have none.
import type { FastifyInstance } from 'fastify'

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
