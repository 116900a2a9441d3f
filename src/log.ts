// Where log lines go: a file descriptor, without ever holding up the service. A full disk, a reader that has gone or
// one that stands still costs the log, and nothing else. (pino's own destination repeats a failed write synchronously,
// for ever, when the process ends.)
import { write, writeSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import type { DestinationStream } from 'pino'

/**
 * Under load many lines are one write. No line waits longer than this for others; a write that failed is tried again as
 * late.
 */
const FLUSH_MS = 100
const MIN_WRITE_BYTES = 4096
/** Unwritten lines past this are lost and counted: it bounds what a place that takes nothing costs in memory. */
const MAX_UNWRITTEN_BYTES = 4_194_304
/** A pipe that is full just now is asked again. */
const FULL_PIPE_MS = 5
/** How long the end of the process waits for a place that takes nothing. */
const LAST_WRITE_MS = 500

/** Since the start of the process. */
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
  /** What a write has taken and not yet put down. */
  #rest: Buffer | undefined
  #restLines = 0
  #isWriting = false
  #isGone = false

  /** `fd`: 1 for standard output, which should not block (a thread that waits in it cannot be called back). */
  constructor (fd: number) {
    this.#fd = fd
    this.#timer = setInterval(() => { this.#send() }, FLUSH_MS).unref()
  }

  /** Nothing is written any more: for one whose descriptor is closed. */
  close (): void {
    clearInterval(this.#timer)
    this.#isGone = true
  }

  /** Resolves when no write is under way; with false when one has not come back within half a second: it never may. */
  async settle (): Promise<boolean> {
    for (const deadlineMs = performance.now() + LAST_WRITE_MS; this.#isWriting; await setTimeout(FULL_PIPE_MS)) {
      if (performance.now() > deadlineMs) return false
    }
    return true
  }

  write (line: string): void {
    const bytes = Buffer.byteLength(line)
    if (this.#isGone || this.#bytes + bytes > MAX_UNWRITTEN_BYTES) {
      this.counts.lostLines++
      return
    }
    this.#lines.push(line)
    this.#bytes += bytes
    // A rest waits for the timer: either the write before has failed, or it is under way.
    if (this.#bytes >= MIN_WRITE_BYTES && this.#rest === undefined) this.#send()
  }

  /**
   * Writes what is left, when the process is about to end: for half a second at most, and not at all where a write
   * fails.
   */
  flushSync (): void {
    const deadlineMs = performance.now() + LAST_WRITE_MS
    // What is under way is in a thread's hands.
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
    // Nobody reads, and nobody will: what waits is lost with all that comes.
    this.#isGone = true
    this.counts.lostLines += this.#restLines + this.#lines.length
    this.#lines = []
    this.#rest = undefined
    this.#bytes = 0
  }
}
