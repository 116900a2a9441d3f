// The line between one node and Redis, with a hand on it: it can be cut, and it can lose exactly the takeover messages.
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import type { Redis } from '../fixtures/redis.ts'
import type { Scope } from '../fixtures/wait.ts'

export interface RedisLine {
  /** What the node is given as REDIS_URL. */
  url: string
  /** While true, every takeover message that Redis sends to this node arrives as nonsense, which the node drops. */
  losesTakeovers: boolean
  /** How many it has lost. */
  readonly lost: number
  /** Cuts every connection; with `refuse`, new ones fail until `mend`. */
  cut: (options?: { refuse?: boolean }) => void
  mend: () => void
}

// The same length, so that Redis' framing still holds. Nothing but the payload has these letters.
const [TAKEOVER, NONSENSE] = [Buffer.from('"takeover"'), Buffer.from('"lost-it!"')]

export async function startRedisLine (t: Scope, redis: Redis): Promise<RedisLine> {
  const sockets = new Set<Socket>()
  let refuses = false
  let lost = 0
  const server = net.createServer((near) => {
    if (refuses) {
      near.destroy()
      return
    }
    const far = net.connect(redis.port, '127.0.0.1')
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
    near.on('data', (piece) => far.write(piece))
    far.on('data', (piece) => {
      if (line.losesTakeovers) {
        for (let at = 0; (at = piece.indexOf(TAKEOVER, at)) >= 0; lost++) NONSENSE.copy(piece, at)
      }
      near.write(piece)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    line.cut()
    server.close()
  })
  const line: RedisLine = {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    losesTakeovers: false,
    get lost () { return lost },
    cut: ({ refuse = false } = {}) => {
      refuses = refuse
      for (const socket of sockets) socket.destroy()
    },
    mend: () => { refuses = false }
  }
  return line
}
