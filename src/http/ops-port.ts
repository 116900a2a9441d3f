// A separate port for /livez, /readyz and /metrics: plain HTTP without a PROXY header, for probes and Prometheus. The
// public port does not serve them then. Behind nginx, nginx hides them instead.
import http from 'node:http'
import type { FastifyInstance } from 'fastify'
import { TidingsError } from '../errors.ts'

const PATHS: ReadonlySet<string | undefined> = new Set(['/livez', '/readyz', '/metrics'])
const REQUEST_TIMEOUT_MS = 20_000

/** Returns the server of that port. The caller makes it listen; the app closes it. */
export function opsServer (app: FastifyInstance): http.Server {
  const insiders = new WeakSet<object>()
  const server = http.createServer({ requestTimeout: REQUEST_TIMEOUT_MS, requireHostHeader: false }, (request, response) => { app.routing(request, response) })
  // What is no request for a route is answered as on the other port (unrouted.ts).
  for (const event of ['clientError', 'checkExpectation']) for (const listener of app.server.listeners(event)) server.on(event, listener as () => void)
  server.on('connection', (socket) => { insiders.add(socket) })
  app.addHook('onRequest', (request, _reply, done) => {
    if (PATHS.has(request.routeOptions.url) === insiders.has(request.socket)) return done()
    done(new TidingsError('TIDINGS_NOT_FOUND', `${request.method} ${request.url.split('?', 1)[0]!.slice(0, 200)}`))
  })
  app.addHook('onClose', async () => {
    server.close()
    server.closeAllConnections()
  })
  return server
}
