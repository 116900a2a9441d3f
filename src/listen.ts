// Makes a node listen: on the port for clients, which it may share with other processes of the host, and on OPS_PORT.
import { once } from 'node:events'
import type { Server } from 'node:http'
import net from 'node:net'
import type { FastifyInstance } from 'fastify'

/**
 * The most connections that may wait to be accepted; the system caps it (net.core.somaxconn). When a node dies, its
 * clients come to the others at the same moment. A client that finds the queue full gets no answer and retries after 1,
 * 3, 7 and 15 seconds.
 */
const BACKLOG = 65_535

export interface ListenOptions {
  readonly host: string
  readonly port: number
  /** Other processes may listen on this port too; the kernel distributes connections among them. */
  readonly sharesPort: boolean
  readonly opsPort: number | undefined
}

/**
 * Listens on OPS_PORT first, so that probes are never refused by a node that clients reach. Rejects if a port is taken.
 */
export async function listen (app: FastifyInstance, { host, port, sharesPort, opsPort }: ListenOptions): Promise<void> {
  const { opsServer } = app
  if (opsServer !== undefined && opsPort !== undefined) {
    opsServer.listen({ host, port: opsPort })
    await once(opsServer, 'listening')
  }
  await app.listen({ host, port, backlog: BACKLOG, ...(sharesPort && { reusePort: true }) })
}

/**
 * Stops accepting connections, and resolves when none is open any more. Open ones stay and can bring requests, until
 * the app is closed.
 */
export async function leavePort ({ server }: { readonly server: Server }): Promise<void> {
  const isEmpty = new Promise<void>((resolve) => { server.once('close', resolve) })
  // Node's close() of an HTTP server would also cut idle connections: one that was just opened, with a request on its
  // way, is idle too.
  net.Server.prototype.close.call(server)
  server.close = (done) => {
    server.closeIdleConnections()
    void isEmpty.then(() => done?.())
    return server
  }
  await isEmpty
}
