// Writes log lines to a file descriptor without ever blocking the service. A full disk, a reader that has gone or one
// that stalls costs the log and nothing else. (pino's own destination repeats a failed write synchronously and without
// end when the process ends.)
import { write, writeSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import type { DestinationStream } from 'pino'
import { escapeUnsafe } from './unsafe-text.ts'

/**
 * Under load many lines share a write. No line waits longer than this, and a failed write is repeated after this time.
 */
const FLUSH_MS = 100
const MIN_WRITE_BYTES = 4096
/** Lines beyond this many unwritten bytes are dropped and counted, so that a stalled reader costs bounded memory. */
const MAX_UNWRITTEN_BYTES = 4_194_304
/** The pause before a full pipe is tried again. */
const FULL_PIPE_MS = 5
/** How long the ending process waits for a reader that takes nothing. */
const LAST_WRITE_MS = 500

/** Counts since the start of the process. */
export interface LogCounts {
  failedWrites: number
  /** Lines that will never be written. */
  lostLines: number
}

export class LogDestination implements DestinationStream {
  readonly counts: LogCounts = { failedWrites: 0, lostLines: 0 }
  readonly #fd: number
  readonly #timer: NodeJS.Timeout
  #lines: string[] = []
  #bytes = 0
  /** Bytes taken for a write and not written yet. */
  #rest: Buffer | undefined
  #restLines = 0
  #isWriting = false
  #isGone = false

  /**
   * `fd`: for example 1, standard output. It should be non-blocking: a thread that blocks in a write cannot be called
   * back.
   */
  constructor (fd: number) {
    this.#fd = fd
    this.#timer = setInterval(() => { this.#send() }, FLUSH_MS).unref()
  }

  /** Stops writing, for a descriptor that was closed. */
  close (): void {
    clearInterval(this.#timer)
    this.#isGone = true
  }

  /**
   * Resolves with true when no write is under way, and with false if one has not returned within half a second and may
   * never do.
   */
  async settle (): Promise<boolean> {
    for (const deadlineMs = performance.now() + LAST_WRITE_MS; this.#isWriting; await setTimeout(FULL_PIPE_MS)) {
      if (performance.now() > deadlineMs) return false
    }
    return true
  }

  write (text: string): void {
    const line = escapeUnsafe(text)
    const bytes = Buffer.byteLength(line)
    if (this.#isGone || this.#bytes + bytes > MAX_UNWRITTEN_BYTES) {
      this.counts.lostLines++
      return
    }
    this.#lines.push(line)
    this.#bytes += bytes
    // A rest waits for the timer, because the previous write failed or is still under way.
    if (this.#bytes >= MIN_WRITE_BYTES && this.#rest === undefined) this.#send()
  }

  /**
   * Writes what is left when the process is about to end, for at most half a second. Gives up as soon as a write fails.
   */
  flushSync (): void {
    const deadlineMs = performance.now() + LAST_WRITE_MS
    // A write under way belongs to a thread already.
    let left = this.#isWriting ? this.#take() : this.#next()
    this.#rest = undefined
    while (left !== undefined && left.length > 0 && performance.now() < deadlineMs) {
      try {
        left = left.subarray(writeSync(this.#fd, left))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_MS)
      }
    }
  }

  #take (): Buffer | undefined {
    if (this.#lines.length === 0) return undefined
    const taken = Buffer.from(this.#lines.join(''))
    this.#restLines = this.#lines.length
    this.#lines = []
    return taken
  }

  #next (): Buffer | undefined {
    return this.#rest ?? this.#take()
  }

  #send (): void {
    if (this.#isWriting || this.#isGone) return
    const buffer = this.#rest = this.#next()
    if (buffer === undefined) return
    this.#isWriting = true
    write(this.#fd, buffer, (error, written) => {
      this.#isWriting = false
      if (error !== null) {
        this.#onError(error)
        return
      }
      this.#bytes -= written
      this.#rest = written < buffer.length ? buffer.subarray(written) : undefined
      if (this.#bytes >= MIN_WRITE_BYTES || this.#rest !== undefined) this.#send()
    })
  }

  #onError ({ code }: NodeJS.ErrnoException): void {
    if (code === 'EAGAIN') {
      void setTimeout(FULL_PIPE_MS, undefined, { ref: false }).then(() => { this.#send() })
      return
    }
    this.counts.failedWrites++
    if (code !== 'EPIPE') return
    // The reader has gone for good: what waits and what comes is lost.
    this.#isGone = true
    this.counts.lostLines += this.#restLines + this.#lines.length
    this.#lines = []
    this.#rest = undefined
    this.#bytes = 0
  }
}
