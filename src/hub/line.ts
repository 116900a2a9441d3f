// The connection of a stream: writes to it, and bounds the bytes that the client has not taken.
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'

/**
 * How many turns of the event loop TLS may need to report that the kernel took everything; 512 KB are reported in one.
 */
const TURNS_OF_TLS = 4

const nothing = Buffer.alloc(0)

/** The HTTP response of a stream. */
export type Answer = ServerResponse

/**
 * A stream's view of its response. Whether that is chunked is known only once its head was sent, so `connectionOf`
 * makes this.
 */
export interface Connection {
  readonly response: Pick<Answer, 'once' | 'end'>
  readonly socket: Socket
  readonly isChunked: boolean
}

/** Throws unless the head was sent and the socket is open. */
export function connectionOf (response: Answer): Connection {
  if (!response.headersSent || response.socket === null) throw new Error('A stream needs a response whose head has been sent, on an open socket.')
  return { response, socket: response.socket, isChunked: response.chunkedEncoding }
}

export abstract class Line {
  protected readonly isChunked: boolean
  readonly #response: Connection['response']
  readonly #socket: Socket
  readonly #bufferBytes: number
  /** At how many unsent bytes the client is cut. */
  #most: number
  /** False for TLS, which takes one write at a time and ends the process if another write bypasses the queue. */
  readonly #isPlain: boolean
  /** True while `#lookAgain` waits to see whether TLS still has too many unsent bytes. */
  #isLooking = false
  /** Nothing more may be written: the connection is closed, or carries its next request. */
  #isOver = false
  /**
   * Bytes of a direct write that the kernel has not taken. They bypassed the socket's queue, so `writableLength` lacks
   * them.
   */
  #underway = 0

  constructor ({ response, socket, isChunked }: Connection, bufferBytes: number) {
    this.#response = response
    this.#socket = socket
    this.isChunked = isChunked
    this.#bufferBytes = this.#most = bufferBytes
    this.#isPlain = !(socket instanceof TLSSocket)
  }

  /** Called when too many bytes are unsent. */
  protected abstract overflowed (): void

  /** True as soon as the socket is destroyed, even before its 'close' event. */
  get hasEnded (): boolean {
    return this.#isOver || this.#socket.destroyed
  }

  /** Reads the memory that `send` will read. The result has no meaning. */
  protected look (): number {
    if (this.#isOver) return 0
    // Only this undocumented property reaches the memory of libuv's handle. Without it, less is prefetched.
    const { _handle: handle } = this.#socket as { _handle?: { fd?: number } | null }
    return this.#socket.writableLength + (handle?.fd ?? 0)
  }

  /**
   * Writes at once if nothing is waiting, bypassing the queue of the socket's Writable, whose bookkeeping costs as much
   * as all our own work (0.4 µs). `_write` and its callback are documented for authors of streams
   * (https://nodejs.org/api/stream.html#writable_writechunk-encoding-callback). With an empty queue and no write under
   * way, the Writable would call it the same way. (With a socket timeout, Node would not see a slow client's progress.
   * There is none: MAX_STREAM_SECONDS ends a stream.)
   */
  protected send (bytes: Buffer): void {
    // Not hasEnded: this runs once for each delivery, and a destroyed socket only answers with an error.
    if (this.#isOver) return
    const socket = this.#socket
    if (this.#isPlain && this.#underway === 0 && socket.writableLength === 0 && socket.writableCorked === 0) {
      let wasTaken = false
      // Called asynchronously if the kernel did not take everything. Until then nothing may follow directly.
      socket._write(bytes, 'buffer' as BufferEncoding, (error) => {
        wasTaken = true
        if (error !== undefined && error !== null) socket.destroy(error)
      })
      if (wasTaken) return
      // The kernel's buffer is full and libuv keeps the rest. Until that is sent, the Writable queues what follows.
      this.#underway = bytes.length
      socket.write(nothing, () => { this.#underway = 0 })
    } else if (socket.write(bytes) && this.#underway === 0) return
    if (this.#hasRoom()) return
    if (socket.writableCorked > 0) {
      // The kernel was not offered it yet, and a fast client's takes it all.
      socket.uncork()
      socket.cork()
      if (this.#hasRoom()) return
    }
    if (this.#isPlain) this.overflowed()
    else if (!this.#isLooking) this.#lookAgain(TURNS_OF_TLS)
  }

  /**
   * Raises the limit by the size of a write, until the client has taken it: a client that was cut for this write would
   * be cut for it whenever it comes back.
   */
  protected allow (bytes: number): void {
    this.#most = Math.max(this.#most, this.#bufferBytes + bytes)
  }

  #hasRoom (): boolean {
    const { unsent } = this
    if (unsent <= this.#bufferBytes) this.#most = this.#bufferBytes
    return unsent <= this.#most
  }

  /** TLS reports a turn later that a write was taken, and the writes queued behind it still later. */
  #lookAgain (turns: number): void {
    this.#isLooking = turns > 0
    if (this.#isOver || this.unsent <= this.#most) this.#isLooking = false
    else if (turns === 0) this.overflowed()
    else setImmediate(() => { this.#lookAgain(turns - 1) })
  }

  /** Bytes that the kernel has not taken yet. */
  get unsent (): number {
    return this.#underway + this.#socket.writableLength
  }

  /** Whether this many bytes can be written now without exceeding the limit of unsent bytes. */
  hasRoomFor (bytes: number): boolean {
    return this.unsent + bytes <= this.#bufferBytes
  }

  /** What is written until `uncork` goes out in one write, so history and `sync` cost one system call. */
  cork (): void {
    // After the end the socket serves the connection's next request, and nobody would uncork it.
    if (!this.hasEnded) this.#socket.cork()
  }

  uncork (): void {
    this.#socket.uncork()
  }

  /** Resolves when the socket has taken everything written so far, or is gone. */
  async drained (): Promise<void> {
    if (this.unsent === 0 || this.hasEnded) return
    // Not 'drain': it is only emitted after the socket's high-water mark was exceeded.
    await new Promise<void>((resolve) => { this.#socket.write(nothing, () => { resolve() }) })
  }

  /** Ends the response. The connection may carry its next request. */
  protected close (): void {
    this.#isOver = true
    this.#response.end()
  }

  /** Drops the connection with everything unsent. */
  protected drop (): void {
    this.#isOver = true
    this.#socket.destroy()
  }
}
