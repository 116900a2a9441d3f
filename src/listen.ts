// Makes a node listen: on the port for clients, which it may share with other processes of the host, and on OPS_PORT.
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import type { Server } from 'node:http'
import net from 'node:net'
import { setImmediate } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'

/**
 * The most connections that may wait to be accepted; the system caps it (net.core.somaxconn). When a node dies, its
 * clients come to the others at the same moment. A client that finds the queue full gets no answer and retries after 1,
 * 3, 7 and 15 seconds.
 */
const BACKLOG = 65_535
/** How long a node that leaves its port accepts those who wait in the queue. */
const ACCEPTING_MS = 500

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
export async function listen (app: FastifyInstance, { host: name, port, sharesPort, opsPort }: ListenOptions): Promise<void> {
  const { opsServer } = app
  // For this name Fastify would make a second server for IPv6, which nothing else here knows of.
  const host = name === 'localhost' ? (await lookup(name)).address : name
  if (opsServer !== undefined && opsPort !== undefined) {
    opsServer.listen({ host, port: opsPort })
    await once(opsServer, 'listening')
  }
  await app.listen({ host, port, backlog: BACKLOG, ...(sharesPort && { reusePort: true }) })
}

/** What to do if `listen` rejects with this code. */
export function listenAdvice (code: string | undefined): string {
  switch (code) {
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
    case 'EINVAL':
    case 'ENOTFOUND': return 'this machine has no such address. Set HOST to one of its own, or to 0.0.0.0 for all'
    case 'EAI_AGAIN': return 'the name in HOST cannot be looked up now. Set HOST to an address'
    case 'EACCES': return 'the user of the process may not take this port. Set PORT and OPS_PORT to 1024 or more'
    default: return 'is the port taken? Set PORT, OPS_PORT or HOST'
  }
}

/**
 * Stops accepting connections. Open ones stay and can bring requests until the app is closed. Resolves with a promise
 * of the moment when none is open any more.
 */
export async function leavePort ({ server }: { readonly server: Server }): Promise<{ readonly empty: Promise<void> }> {
  const empty = new Promise<void>((resolve) => { server.once('close', resolve) })
  if (server.listening) await acceptWaiting(server)
  // Node's close() of an HTTP server would also cut the connections that are idle.
  net.Server.prototype.close.call(server)
  server.close = (done) => {
    server.closeIdleConnections()
    void empty.then(() => done?.())
    return server
  }
  return { empty }
}

/**
 * Accepts the connections that wait for it. The kernel would reset them, and their clients may have sent a request.
 */
async function acceptWaiting (server: Server): Promise<void> {
  let isBusy = true
  const onConnection = (): void => { isBusy = true }
  server.on('connection', onConnection)
  // With a queue of this length the kernel ignores those who come now. They ask again after a second, and are refused
  // then, or get another process on this port. There is no public way to change the length of a queue.
  Reflect.get(server, '_handle')?.listen(0)
  const endsAt = performance.now() + ACCEPTING_MS
  // A turn of the event loop accepts one connection.
  for (; isBusy && performance.now() < endsAt; await setImmediate()) {
    isBusy = false
    await setImmediate()
  }
  server.off('connection', onConnection)
}
