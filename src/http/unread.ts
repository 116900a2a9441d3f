// Bounds the answers of each user that were sent but not read yet. They stay in the node's memory until the client
// reads them or is gone, so a user who opens connections and reads nothing would fill it (CWE-770).
import type { FastifyInstance, FastifyRequest } from 'fastify'

type Socket = FastifyRequest['socket']

/**
 * Unread bytes of one user on this node. A page of the inbox may have 100 × MAX_DATA_BYTES, and slow clients need a
 * while.
 */
const ROOM_BYTES = 16_777_216

interface Answer {
  readonly userId: string
  readonly bytes: number
  readonly socket: Socket
}

/** The unread answers of one user, oldest first. */
interface Waiting {
  bytes: number
  readonly answers: Set<Answer>
}

/**
 * Past ROOM_BYTES of a user, the connections with the oldest answers are cut. The newest answer is sent, unless it is
 * on one of these.
 */
export class Unread {
  readonly #log: FastifyInstance['log']
  readonly #users = new Map<string, Waiting>()
  readonly #requests = new WeakMap<FastifyRequest, Answer>()
  readonly #sockets = new WeakMap<Socket, Set<Answer>>()

  /** Counts the answers of this app's routes. */
  constructor (app: FastifyInstance) {
    this.#log = app.log
    // The kernel has taken the whole answer.
    app.addHook('onResponse', (request, _reply, done) => {
      const answer = this.#requests.get(request)
      if (answer !== undefined) this.#remove(answer)
      done()
    })
  }

  /** Call this before an answer of this many bytes is sent. */
  add (request: FastifyRequest, userId: string, bytes: number): void {
    const { socket } = request
    if (socket.destroyed) return
    const answer: Answer = { userId, bytes, socket }
    const waiting = this.#users.get(userId) ?? { bytes: 0, answers: new Set() }
    this.#users.set(userId, waiting)
    waiting.bytes += bytes
    waiting.answers.add(answer)
    this.#requests.set(request, answer)
    this.#answersOn(socket).add(answer)
    while (waiting.bytes > ROOM_BYTES && waiting.answers.size > 1) this.#cut([...waiting.answers][0]!)
  }

  #answersOn (socket: Socket): Set<Answer> {
    const existing = this.#sockets.get(socket)
    if (existing !== undefined) return existing
    const answers = new Set<Answer>()
    this.#sockets.set(socket, answers)
    // Unfinished answers have no 'onResponse'.
    socket.once('close', () => { for (const answer of answers) this.#remove(answer) })
    return answers
  }

  #cut ({ userId, socket }: Answer): void {
    this.#log.info({ userId }, 'a connection was cut: its answers were not read')
    for (const answer of this.#answersOn(socket)) this.#remove(answer)
    socket.destroy()
  }

  #remove (answer: Answer): void {
    this.#sockets.get(answer.socket)?.delete(answer)
    const waiting = this.#users.get(answer.userId)
    if (waiting?.answers.delete(answer) !== true) return
    waiting.bytes -= answer.bytes
    if (waiting.answers.size === 0) this.#users.delete(answer.userId)
  }
}
