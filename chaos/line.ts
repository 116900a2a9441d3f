// The line between one node and Redis: a TCP proxy that can be cut, stall, lose what is on it without a word, or lose
// messages.
import net from 'node:net'
import { PushFilter } from './push-filter.ts'

interface Pair {
  readonly near: net.Socket
  readonly far: net.Socket
  /** Half-open: what either side sends is gone, and neither is told. */
  isDead: boolean
  /** Only what the server says is gone. */
  isMute: boolean
  /** Only what is said to the server is gone. */
  isUnheard: boolean
}

export class Line {
  readonly #server: net.Server
  readonly #pairs = new Set<Pair>()
  readonly #filter: PushFilter | undefined
  #target: number
  #isStalled = false
  port = 0

  /** `dropsEach`: of so many notifications to all one is dropped; undefined drops none. */
  constructor (target: number, { dropsEach }: { dropsEach?: number | undefined } = {}) {
    this.#target = target
    this.#filter = dropsEach === undefined ? undefined : new PushFilter(dropsEach)
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => { this.#join(near) })
  }

  /** Listens on a free port of 127.0.0.1, or on the one given. */
  async listen (port = 0): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, '127.0.0.1', resolve)
    })
    this.port = (this.#server.address() as net.AddressInfo).port
  }

  #join (near: net.Socket): void {
    const far = net.connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    const pair: Pair = { near, far, isDead: false, isMute: false, isUnheard: false }
    this.#pairs.add(pair)
    this.#pass(pair, near, far)
    this.#pass(pair, far, near, this.#filter)
    if (this.#isStalled) this.#hold(pair)
  }

  #pass (pair: Pair, from: net.Socket, to: net.Socket, filter?: PushFilter): void {
    from.on('data', (piece) => {
      if (pair.isDead || (from === pair.far ? pair.isMute : pair.isUnheard)) return
      // Backpressure is passed on, or what Redis keeps for a slow node would stand here instead.
      if (!to.write(filter === undefined ? piece : filter.pass(piece))) from.pause()
    })
    to.on('drain', () => { if (!this.#isStalled) from.resume() })
    from.on('end', () => { if (!pair.isDead) to.end() })
    from.on('error', () => {})
    from.on('close', (hadError) => {
      if (pair.isDead) return
      if (hadError) to.destroy()
      if (from.destroyed && to.destroyed) this.#pairs.delete(pair)
    })
  }

  #hold ({ near, far }: Pair): void {
    near.pause()
    far.pause()
  }

  /** New connections go to another server. */
  retarget (port: number): void {
    this.#target = port
  }

  /** Every connection is reset. */
  cut (): void {
    for (const pair of this.#pairs) {
      pair.near.resetAndDestroy()
      pair.far.resetAndDestroy()
    }
    this.#pairs.clear()
  }

  /** Half-open: the connections that there are carry nothing any more, and nobody is told. New ones work. */
  loseAll (): void {
    for (const pair of this.#pairs) pair.isDead = true
  }

  /** What is asked arrives, and the answer is gone: on the connections that there are. */
  loseAnswers (): void {
    for (const pair of this.#pairs) pair.isMute = true
  }

  /** What is asked is gone, and what comes unasked arrives: on the connections that there are. */
  loseQuestions (): void {
    for (const pair of this.#pairs) pair.isUnheard = true
  }

  /** Nothing moves, on new connections neither, and nothing is lost: Redis has to keep what it sends. */
  stall (): void {
    this.#isStalled = true
    for (const pair of this.#pairs) this.#hold(pair)
  }

  flow (): void {
    this.#isStalled = false
    for (const { near, far } of this.#pairs) {
      near.resume()
      far.resume()
    }
  }

  /** Ends what half-open connections are left over, as TCP's keepalive would at last. */
  tidy (): void {
    for (const pair of this.#pairs) {
      if (!pair.isDead) continue
      pair.near.destroy()
      pair.far.destroy()
      this.#pairs.delete(pair)
    }
  }

  close (): void {
    this.#server.close()
    this.cut()
  }
}
