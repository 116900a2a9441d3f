// When streams are written: at once when the node is idle, many messages in one write when it is not.
import { Batch } from './batch.ts'
import type { Frame } from './frame.ts'
import type { Stream } from './stream.ts'

/** A batch that has grown to this is written without waiting longer. */
const MAX_BATCH_BYTES = 65_536

export class Coalescer {
  readonly #windowMs: number
  readonly #onWritten: () => void
  #root = new Batch()
  #waiting: Stream[] = []
  #bytes = 0
  #timer: NodeJS.Timeout | undefined
  #isScheduled = false
  #isReading = false
  #wroteAtMs = -Infinity

  /** `windowMs`: how long messages are gathered under load. */
  constructor (windowMs: number, onWritten: () => void) {
    this.#windowMs = windowMs
    this.#onWritten = onWritten
  }

  /** Nothing is gathered, and the last write was longer ago than the window: a frame that comes now is written at once. Then call `wrote`. */
  get isIdle (): boolean {
    return !this.#isScheduled && !this.#isReading && performance.now() - this.#wroteAtMs >= this.#windowMs
  }

  /** A frame has been written at once to all its streams. What else the same read from the broker's line brings follows right after it. */
  wrote (): void {
    this.#written()
    this.#isReading = true
    queueMicrotask(() => {
      this.#isReading = false
      if (this.#waiting.length > 0) this.#flush()
    })
  }

  #written (): void {
    this.#onWritten()
    this.#wroteAtMs = performance.now()
  }

  /** Adds a frame to what the stream is written next. All streams of a frame first, then `added`. */
  add (stream: Stream, frame: Frame): void {
    if (stream.pending !== undefined) {
      stream.pending = stream.pending.then(frame)
      return
    }
    this.#waiting.push(stream)
    stream.pending = this.#root.then(frame)
  }

  /** A frame has been added to all its streams. What comes within the window is written with it. */
  added (frame: Frame): void {
    this.#bytes += frame.chunked.length
    if (this.#bytes > MAX_BATCH_BYTES) {
      this.#flush()
      return
    }
    if (this.#isScheduled || this.#isReading) return
    this.#isScheduled = true
    this.#timer = setTimeout(() => { this.#flush() }, this.#wroteAtMs + this.#windowMs - performance.now())
  }

  #flush (): void {
    clearTimeout(this.#timer)
    const waiting = this.#waiting
    this.#waiting = []
    this.#root = new Batch()
    this.#bytes = 0
    this.#isScheduled = false
    for (const stream of waiting) stream.flush()
    this.#written()
  }

  stop (): void {
    clearTimeout(this.#timer)
  }
}
