// The connection under a stream: what is written to it, what it has not taken yet, and that it never takes too much.
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'

/** Of the event loop, until TLS has said of everything that the kernel takes that it was taken; 512 KB go in one. */
const TURNS_OF_TLS = 4

const nothing = Buffer.alloc(0)

/** What HTTP answers a request for a stream with. */
export type Answer = ServerResponse

/** Only once the head has been sent it is known whether the answer is chunked: `connectionOf` looks. */
export interface Connection {
  readonly response: Pick<Answer, 'once' | 'end'>
  readonly socket: Socket
  readonly isChunked: boolean
}

/** Of a response whose head has been sent. */
export function connectionOf (response: Answer): Connection {
  if (!response.headersSent || response.socket === null) throw new Error('A stream needs a response whose head has been sent, on an open socket.')
  return { response, socket: response.socket, isChunked: response.chunkedEncoding }
}

export abstract class Line {
  protected readonly isChunked: boolean
  readonly #response: Connection['response']
  readonly #socket: Socket
  readonly #bufferBytes: number
  /** Not TLS, which takes one write at a time, and ends the process if another goes past the queue. */
  readonly #isPlain: boolean
  /** More waits than may, and it is looked whether it still does. */
  #isLooking = false
  /** Nothing more is written: the connection is closed, or is for its next request. */
  #isOver = false
  /** Bytes that the socket has not taken whole and, since they went past its queue, does not count. */
  #underway = 0

  constructor ({ response, socket, isChunked }: Connection, bufferBytes: number) {
    this.#response = response
    this.#socket = socket
    this.isChunked = isChunked
    this.#bufferBytes = bufferBytes
    this.#isPlain = !(socket instanceof TLSSocket)
  }

  /** More than `bufferBytes` are unsent. */
  protected abstract overflowed (): void

  /** Also as soon as its socket is gone, before it is told so. */
  get hasEnded (): boolean {
    return this.#isOver || this.#socket.destroyed
  }

  /** Reads what `send` is going to read, and answers a number that means nothing. */
  protected look (): number {
    if (this.#isOver) return 0
    // The descriptor stands in libuv's part of the socket, which no public property reads. Where there is none, less is
    // read ahead.
    const { _handle: handle } = this.#socket as { _handle?: { fd?: number } | null }
    return this.#socket.writableLength + (handle?.fd ?? 0)
  }

  /**
   * Writes at once where nothing waits: past the queue of the socket's Writable, whose bookkeeping costs as much as all
   * that is ours (0.4 µs). What `_write` does and calls back is laid down for those who write streams
   * (https://nodejs.org/api/stream.html#writable_writechunk-encoding-callback); with nothing in the queue or on its
   * way, it is what the Writable would have done next. (Had the socket a timeout, Node would no longer see that a slow
   * client makes progress. It has none: MAX_STREAM_SECONDS ends a stream.)
   */
  protected send (bytes: Buffer): void {
    // Not hasEnded, and no look at whether the socket is destroyed: this runs once a delivery, and such a socket
    // answers with an error.
    if (this.#isOver) return
    const socket = this.#socket
    if (this.#isPlain && this.#underway === 0 && socket.writableLength === 0 && socket.writableCorked === 0) {
      let wasTaken = false
      // Called late where the kernel did not take all of it at once: if it never does, nothing may follow.
      socket._write(bytes, 'buffer' as BufferEncoding, (error) => {
        wasTaken = true
        if (error !== undefined && error !== null) socket.destroy(error)
      })
      if (wasTaken) return
      // The kernel's buffer is full, and libuv keeps the rest. From here to its end the Writable queues what comes.
      this.#underway = bytes.length
      socket.write(nothing, () => { this.#underway = 0 })
    } else if (socket.write(bytes) && this.#underway === 0) return
    if (this.unsent <= this.#bufferBytes) return
    if (this.#isPlain) this.overflowed()
    else if (!this.#isLooking) this.#lookAgain(TURNS_OF_TLS)
  }

  /** TLS says a turn later that a write was taken, and of what waited behind it one later still. */
  #lookAgain (turns: number): void {
    this.#isLooking = turns > 0
    if (this.#isOver || this.unsent <= this.#bufferBytes) this.#isLooking = false
    else if (turns === 0) this.overflowed()
    else setImmediate(() => { this.#lookAgain(turns - 1) })
  }

  /** Bytes that the kernel has not taken yet. */
  get unsent (): number {
    return this.#underway + this.#socket.writableLength
  }

  /** Whether so many bytes can be written now without going over the limit of unsent ones. */
  hasRoomFor (bytes: number): boolean {
    return this.unsent + bytes <= this.#bufferBytes
  }

  /** From here to `uncork` what is written goes out as one write: history and sync cost one system call. */
  cork (): void {
    // Once it is over, the socket is for the connection's next request, and nobody would uncork that.
    if (!this.hasEnded) this.#socket.cork()
  }

  uncork (): void {
    this.#socket.uncork()
  }

  /** Resolves when the socket has taken what was written so far, or is gone. */
  async drained (): Promise<void> {
    if (this.unsent === 0 || this.hasEnded) return
    // Not 'drain': that is told only of what goes over the socket's own mark.
    await new Promise<void>((resolve) => { this.#socket.write(nothing, () => { resolve() }) })
  }

  /** Ends the answer; the connection may go on to its next request. */
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
