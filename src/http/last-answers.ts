// Answers that are on their way when the node ends. To Node a connection is idle as soon as its answer was handed over,
// and close() cuts it, though the client has yet to take most of it.
import type { FastifyInstance, FastifyRequest } from 'fastify'

/**
 * Call this before the routes are registered. What it returns resolves when no client is owed bytes of an answer any
 * more. Streams do not count: their replies are hijacked, and the hub waits for them.
 */
export function followAnswers (app: FastifyInstance): () => Promise<void> {
  const unfinished = new Set<FastifyRequest>()
  const finished = Promise.withResolvers<void>()
  let isAwaited = false
  app.addHook('onSend', (request, _reply, _payload, done) => {
    unfinished.add(request)
    done()
  })
  // Runs when the kernel has taken the whole answer, or the connection is gone.
  app.addHook('onResponse', (request, _reply, done) => {
    unfinished.delete(request)
    if (isAwaited && unfinished.size === 0) finished.resolve()
    done()
  })
  return async () => {
    isAwaited = true
    if (unfinished.size > 0) await finished.promise
  }
}
