// Where a node listens: the port for clients, alone or with others of the same host, and the one for operations.
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { FastifyInstance } from 'fastify'

/**
 * Connections that may wait to be accepted; the system cuts it to what it allows (net.core.somaxconn). When a node
 * dies, its clients come to the others in one moment: whoever finds the queue full is not told, and knocks again after
 * 1, 3, 7, 15 seconds.
 */
const BACKLOG = 65_535

export interface ListenOptions {
  readonly host: string
  readonly port: number
  /** Other processes may listen there too, and the kernel deals connections out to all. */
  readonly sharesPort: boolean
  readonly opsPort: number | undefined
}

/**
 * The port for operations first: who probes it must not be refused by a node that clients reach. Rejects if one is
 * taken.
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
 * New connections go to the other processes on the port from here on; those that are open stay. Without it a node that
 * drains would get its share of them, as no balancer asks it whether it is ready.
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
