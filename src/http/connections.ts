// What is under way on each connection: requests, which are limited, and answers, which are waited for at the end.
import type { FastifyInstance, FastifyRequest } from 'fastify'

/**
 * Node parses and starts all requests that one read brings, and keeps their answers in memory until the client takes
 * them. A client that reads nothing would fill the memory (CWE-770).
 */
const MAX_UNDER_WAY = 16
/**
 * Publishers are trusted and their answers are small. Some send hundreds of requests before they read the first answer.
 */
const MAX_UNDER_WAY_OF_PUBLISHER = 1000

/**
 * Counted on the socket, and not in a Set of requests, which each request would change. When V8 makes a new table for a
 * Set, the old one keeps its content and refers to the new one. From one such table in the old generation on, no
 * request was freed before the next full collection, and a publish cost a tenth to a sixth more CPU.
 */
interface UnderWay {
  requests: number
  maxRequests: number
  /** Handed to Node, and not yet taken by the kernel as a whole. Undefined before the first one: a stream has none. */
  answers: number | undefined
}

const underWay = Symbol('under way')

declare module 'net' {
  interface Socket {
    [underWay]?: UnderWay
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** It is one of the answers that are under way. */
    isAnswering: boolean
  }
}

/**
 * Call this before the routes are registered. What it returns resolves when no client is owed bytes of an answer any
 * more: to Node a connection is idle as soon as its answer was handed over, and close() cuts it. Streams do not count.
 * Their replies are hijacked, and the hub waits for them.
 */
export function watchConnections (app: FastifyInstance, hub: { readonly isDraining: boolean }): () => Promise<void> {
  const taken = Promise.withResolvers<void>()
  let answers = 0
  let isAwaited = false
  const forget = (counts: UnderWay, count: number): void => {
    counts.answers! -= count
    answers -= count
    if (isAwaited && answers === 0) taken.resolve()
  }

  app.decorateRequest('isAnswering', false)
  app.addHook('onRequest', ({ socket }, _reply, done) => {
    const counts = socket[underWay] ??= { requests: 0, maxRequests: MAX_UNDER_WAY, answers: undefined }
    if (++counts.requests > counts.maxRequests) socket.destroy()
    else done()
  })
  app.addHook('onSend', (request, reply, _payload, done) => {
    const { socket } = request
    const counts = socket[underWay]
    // A proxy keeps connections for later requests, but a draining node will be gone by then. Node ends a connection
    // after an answer with this header, and would drop those of further requests that came with it.
    if (hub.isDraining && (counts === undefined || counts.requests === 1)) reply.header('connection', 'close')
    // It runs again if the answer could not be serialised, for the error.
    if (counts === undefined || request.isAnswering || socket.destroyed) return done()
    // A client that leaves before its answer was taken causes no onResponse.
    if (counts.answers === undefined) socket.once('close', () => { forget(counts, counts.answers!) })
    request.isAnswering = true
    counts.answers = (counts.answers ?? 0) + 1
    answers++
    done()
  })
  // Runs when the kernel has taken the whole answer.
  app.addHook('onResponse', (request, _reply, done) => {
    const counts = request.socket[underWay]
    if (counts === undefined) return done()
    counts.requests--
    if (request.isAnswering && counts.answers! > 0) forget(counts, 1)
    done()
  })
  return async () => {
    isAwaited = true
    if (answers > 0) await taken.promise
  }
}

/** Raises the limit of requests of a connection for good, once it has proved to be a publisher's. */
export function allowPipelining ({ socket }: FastifyRequest): void {
  const counts = socket[underWay]
  if (counts !== undefined) counts.maxRequests = MAX_UNDER_WAY_OF_PUBLISHER
}
