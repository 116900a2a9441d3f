// A client with a connection that does exactly what a test says: how much its kernel takes, and when it reads on.
import { EventEmitter } from 'node:events'
import { Writable } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { Answer } from '../../src/hub/line.ts'
import type { Stream } from '../../src/hub/stream.ts'
import type { ResumeFrom } from '../../src/notification.ts'
import { readFrames } from '../fixtures/frames.ts'

// A socket of this world says itself whether it is one of TLS.
Object.defineProperty(TLSSocket, Symbol.hasInstance, { value: (socket: object) => (socket as { isTls?: boolean }).isTls === true })

/** The server's end of a connection: the kernel takes so much while the client does not read. */
class Socket extends Writable {
  /** TLS says a turn later that something was taken. */
  readonly isTls: boolean
  readonly #page: Page
  /** Writes that the kernel has not taken, as libuv keeps them. */
  readonly #waiting: Array<{ bytes: Buffer, taken: (error?: Error) => void }> = []

  constructor (page: Page, isTls: boolean) {
    super()
    this.#page = page
    this.isTls = isTls
    this.on('error', () => {})
  }

  override _write (bytes: Buffer, _encoding: string, taken: (error?: Error | null) => void): void {
    if (this.destroyed) {
      taken(new Error('EPIPE'))
      return
    }
    this.#waiting.push({ bytes, taken })
    if (this.#waiting.length === 1) this.goOn()
  }

  /** The kernel has room again. */
  goOn (): void {
    for (let [first] = this.#waiting; first !== undefined; [first] = this.#waiting) {
      const count = this.#page.takes(first.bytes)
      if (count < first.bytes.length) {
        first.bytes = first.bytes.subarray(count)
        return
      }
      const { taken } = this.#waiting.shift()!
      if (this.isTls) setImmediate(taken)
      else taken()
    }
  }

  override _destroy (error: Error | null, done: (error?: Error | null) => void): void {
    const waiting = this.#waiting.splice(0)
    setImmediate(() => { for (const { taken } of waiting) taken(new Error('ECANCELED')) })
    done(error)
  }
}

/** Reads events from bytes that are cut anywhere. */
class Reader {
  readonly events: Array<{ id: number | undefined, event: string, json: { n?: number, resume?: string, more?: true } }> = []
  readonly #isChunked: boolean
  readonly #feed = readFrames({
    onEvent: ({ id, event, data }) => { this.events.push({ id: id === undefined || !/^\d+$/.test(id) ? undefined : Number(id), event, json: JSON.parse(data) }) }
  })

  #chunks = Buffer.alloc(0)

  constructor (isChunked: boolean) {
    this.#isChunked = isChunked
  }

  read (bytes: Buffer): void {
    if (!this.#isChunked) {
      this.#feed(bytes)
      return
    }
    this.#chunks = Buffer.concat([this.#chunks, bytes])
    for (;;) {
      const head = this.#chunks.indexOf('\r\n')
      const length = Number.parseInt(this.#chunks.toString('latin1', 0, Math.max(head, 0)), 16)
      if (head === -1 || this.#chunks.length < head + length + 4) return
      this.#feed(this.#chunks.subarray(head + 2, head + 2 + length))
      this.#chunks = this.#chunks.subarray(head + length + 4)
    }
  }
}

/** A client that opened one stream. */
export class Page {
  readonly userId: string
  readonly from: ResumeFrom
  readonly socket: Socket
  /** What the client has read, and what the kernel has taken. */
  readonly client: Reader
  readonly kernel: Reader
  stream!: Stream
  readonly #kernelBytes: number
  readonly #isChunked: boolean
  #unread: Buffer[] = []
  #isReading = true

  constructor (userId: string, from: ResumeFrom, { kernelBytes, isTls }: { readonly kernelBytes: number, readonly isTls: boolean }, isChunked: boolean) {
    this.userId = userId
    this.from = from
    this.#kernelBytes = kernelBytes
    this.#isChunked = isChunked
    this.socket = new Socket(this, isTls)
    this.client = new Reader(isChunked)
    this.kernel = new Reader(isChunked)
  }

  /** The response as the hub uses it. */
  answer (): Answer {
    const { socket } = this
    const response = Object.assign(new EventEmitter(), {
      headersSent: true,
      socket,
      chunkedEncoding: this.#isChunked,
      end: () => {
        if (this.#isChunked) socket.write('0\r\n\r\n', (error) => { if (error === undefined || error === null) over() })
        else socket.end()
      }
    })
    let isOver = false
    const over = (): void => {
      if (isOver) return
      isOver = true
      response.emit('close')
    }
    socket.once('close', over)
    return response as unknown as Answer
  }

  /** How much the kernel takes. */
  takes (bytes: Buffer): number {
    if (this.#isReading) this.client.read(bytes)
    else {
      bytes = bytes.subarray(0, this.#kernelBytes - this.#unread.reduce((sum, { length }) => sum + length, 0))
      this.#unread.push(bytes)
    }
    this.kernel.read(bytes)
    return bytes.length
  }

  pause (): void { this.#isReading = false }

  resume (): void {
    this.#isReading = true
    for (const bytes of this.#unread.splice(0)) this.client.read(bytes)
    this.socket.goOn()
  }

  /** The line is lost, with what the client has not read; or the client closes its side. */
  lose (isFin: boolean): void {
    if (isFin) this.socket.end()
    else {
      this.#unread = []
      this.socket.destroy()
    }
  }

  get lastId (): number | undefined { return this.client.events.findLast(({ id }) => id !== undefined)?.id }
}
