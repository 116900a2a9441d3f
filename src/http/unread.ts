// Answers that a client has been sent and has not read: they stay in the memory of the node until it reads them, or is
// gone. A user who reads nothing, on one connection after the other, would fill the node (CWE-770).
import type { FastifyInstance, FastifyRequest } from 'fastify'

type Socket = FastifyRequest['socket']

/** Of one user on this node. A page of the inbox can have 100 times MAX_DATA_BYTES, and a slow client needs a while. */
const ROOM_BYTES = 16_777_216

interface Answer {
  readonly userId: string
  readonly bytes: number
  readonly socket: Socket
}

/** The answers of one user, the oldest first. */
interface Waiting {
  bytes: number
  readonly answers: Set<Answer>
}

/** Beyond the room that a user has, the connections with the oldest answers are cut. The newest always goes out. */
export class Unread {
  readonly #log: FastifyInstance['log']
  readonly #users = new Map<string, Waiting>()
  readonly #requests = new WeakMap<FastifyRequest, Answer>()
  readonly #sockets = new WeakMap<Socket, Set<Answer>>()

  /** Counts for the routes of this app. */
  constructor (app: FastifyInstance) {
    this.#log = app.log
    // The kernel has taken all of it.
    app.addHook('onResponse', (request, _reply, done) => {
      const answer = this.#requests.get(request)
      if (answer !== undefined) this.#remove(answer)
      done()
    })
  }

  /** An answer of so many bytes is about to be sent. */
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
    const known = this.#sockets.get(socket)
    if (known !== undefined) return known
    const answers = new Set<Answer>()
    this.#sockets.set(socket, answers)
    // Nothing else tells of those that are not finished.
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
