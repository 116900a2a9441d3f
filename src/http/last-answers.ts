// Answers that are on their way when the node ends. To Node a connection is idle as soon as its answer was handed over,
// and close() cuts it, though the client has yet to take most of it.
import type { Server } from 'node:http'
import type { FastifyRequest } from 'fastify'

type Socket = FastifyRequest['socket']

const LOOK_MS = 20

/** To be called before the server listens. What it gives resolves when nobody is owed bytes of an answer any more. */
export function followAnswers (server: Server, isTls: boolean): () => Promise<void> {
  const sockets = new Set<Socket>()
  server.on(isTls ? 'secureConnection' : 'connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => { sockets.delete(socket) })
  })
  return async () => {
    // No event tells that the kernel has taken a small rest.
    while ([...sockets].some(({ writableLength, destroyed }) => writableLength > 0 && !destroyed)) {
      await new Promise((resolve) => { setTimeout(resolve, LOOK_MS) })
    }
  }
}
