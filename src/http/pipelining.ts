// Limits the unanswered requests of one connection. Node parses and starts all requests that one read brings, and keeps
// their answers in memory until the client takes them. A client that reads nothing would fill the memory (CWE-770).
import type { FastifyInstance, FastifyRequest } from 'fastify'

const MAX_UNDER_WAY = 16
/**
 * Publishers are trusted and their answers are small. Some send hundreds of requests before they read the first answer.
 */
const MAX_UNDER_WAY_OF_PUBLISHER = 1000

interface Line {
  underWay: number
  max: number
}

const lines = new WeakMap<object, Line>()

export function limitPipelining (app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, done) => {
    let line = lines.get(request.socket)
    if (line === undefined) lines.set(request.socket, line = { underWay: 0, max: MAX_UNDER_WAY })
    if (++line.underWay > line.max) request.socket.destroy()
    else done()
  })
  app.addHook('onResponse', (request, _reply, done) => {
    const line = lines.get(request.socket)
    // Nothing is kept for idle connections, of which there are many.
    if (line !== undefined && --line.underWay === 0 && line.max === MAX_UNDER_WAY) lines.delete(request.socket)
    done()
  })
}

/** Raises the limit of a connection for good, once it has proved to be a publisher's. */
export function allowPipelining (request: FastifyRequest): void {
  const line = lines.get(request.socket)
  if (line !== undefined) line.max = MAX_UNDER_WAY_OF_PUBLISHER
}
