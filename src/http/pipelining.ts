// How many requests may be under way on one connection. Node parses and starts all requests that one read brings, and
// keeps their answers in memory until the client takes them, so a client that reads nothing would fill the node
// (CWE-770).
import type { FastifyInstance, FastifyRequest } from 'fastify'

const MAX_UNDER_WAY = 16
/** Publishers are trusted, their answers are small, and some send hundreds before they look at the first answer. */
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
    // Idle streams are many: nothing is kept of them.
    if (line !== undefined && --line.underWay === 0 && line.max === MAX_UNDER_WAY) lines.delete(request.socket)
    done()
  })
}

/** From here on the connection is one of a publisher. */
export function allowPipelining (request: FastifyRequest): void {
  const line = lines.get(request.socket)
  if (line !== undefined) line.max = MAX_UNDER_WAY_OF_PUBLISHER
}
