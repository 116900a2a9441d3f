// The requests that are under way on each connection: they are limited, and a node that ends waits for their answers.
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { lineOf, takenBytesOf, takeTheRest } from './event-stream.ts'

/**
 * Node parses and starts all requests that one read brings, and keeps their answers in memory until the client takes
 * them. A client that reads nothing would fill the memory (CWE-770).
 */
const MAX_UNDER_WAY = 16
/**
 * Publishers are trusted and their answers are small. Some send hundreds of requests before they read the first answer.
 */
const MAX_UNDER_WAY_OF_PUBLISHER = 1000
/** A connection whose client takes nothing of its answers for this long is cut, at most three times as late. */
const TAKE_MS = 60_000

/**
 * Counted on the socket, and not in a Set of requests, which each request would change. When V8 makes a new table for a
 * Set, the old one keeps its content and refers to the new one. From one such table in the old generation on, no
 * request was freed before the next full collection, and a publish cost a tenth to a sixth more CPU.
 */
interface UnderWay {
  requests: number
  maxRequests: number
  /** How much the client had taken when that was last looked at. */
  takenBytes: number
}

const underWay = Symbol('under way')

declare module 'net' {
  interface Socket {
    [underWay]?: UnderWay
  }
}

/**
 * Call this before the routes are registered. What it returns resolves when no client is owed an answer any more, or
 * bytes of one. To Node a connection is idle as soon as its answer was handed over, and close() cuts it. An open stream
 * does not count: the hub waits for it.
 */
export function watchConnections (app: FastifyInstance, hub: { readonly isDraining: boolean }, takeMs = TAKE_MS): () => Promise<void> {
  const none = Promise.withResolvers<void>()
  let owed = 0
  let isAwaited = false
  const forget = (count: number): void => {
    owed -= count
    if (isAwaited && owed === 0) none.resolve()
  }
  // A client that leaves before it has taken its answers causes no onResponse.
  const onClose = function (this: { [underWay]?: UnderWay }): void {
    forget(this[underWay]!.requests)
    delete this[underWay]
  }

  app.addHook('onRequest', ({ socket }, _reply, done) => {
    let counts = socket[underWay]
    if (counts === undefined) {
      counts = socket[underWay] = { requests: 0, maxRequests: MAX_UNDER_WAY, takenBytes: 0 }
      socket.once('close', onClose)
    }
    owed++
    if (++counts.requests > counts.maxRequests) socket.destroy()
    else done()
  })
  app.addHook('onSend', (request, reply, _payload, done) => {
    const { socket } = request
    takeTheRest(request)
    // Nothing else ends a connection whose client takes nothing. Node sets the timeout of an idle connection instead as
    // soon as the answer is taken. The smallest answer, too, may find the kernel's buffer full of others. One that has
    // to wait for its turn has the timeout of the one before it, or none behind a stream, which may be silent longer.
    if (lineOf(reply) === 'ready' && socket.timeout !== takeMs) socket.setTimeout(takeMs)
    // A proxy keeps connections for later requests, but a draining node will be gone by then. Node ends a connection
    // after an answer with this header, and would drop those of further requests that came with it.
    if (hub.isDraining && socket[underWay]?.requests === 1) reply.header('connection', 'close')
    done()
  })
  // Node itself would look at the progress of a plain connection, but sees none on one with TLS.
  app.server.on('timeout', (socket) => {
    const counts = socket[underWay]
    const takenBytes = takenBytesOf(socket)
    if (counts === undefined || counts.requests === 0 || takenBytes === counts.takenBytes) return socket.destroy()
    counts.takenBytes = takenBytes
    socket.setTimeout(takeMs)
  })
  // Runs when the kernel has taken the whole answer, and when a stream opens (event-stream.ts).
  app.addHook('onResponse', ({ socket }, _reply, done) => {
    const counts = socket[underWay]
    if (counts === undefined) return done()
    counts.requests--
    forget(1)
    done()
  })
  return async () => {
    isAwaited = true
    if (owed > 0) await none.promise
  }
}

/** Raises the limit of requests of a connection for good, once it has proved to be a publisher's. */
export function allowPipelining ({ socket }: FastifyRequest): void {
  const counts = socket[underWay]
  if (counts !== undefined) counts.maxRequests = MAX_UNDER_WAY_OF_PUBLISHER
}
