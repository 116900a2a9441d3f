// Makes a node listen: on the port for clients, which it may share with other processes of the host, and on OPS_PORT.
import { once } from 'node:events'
import type { Server } from 'node:http'
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
 * Stops accepting connections, so that the other processes on the port get them. Open ones stay. Otherwise a draining
 * node would still get its share, since no balancer asks it whether it is ready.
 */
export function leavePort ({ server }: { readonly server: Server }): void {
  const { close } = server
  let isClosed = false
  close.call(server, () => { isClosed = true })
  server.close = (done) => {
    if (isClosed) done?.()
    else if (done !== undefined) server.once('close', () => { done() })
    return server
  }
}
