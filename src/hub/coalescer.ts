// When streams are written: at once when the node is idle, many messages in one write when it is not.
import { Batch } from './batch.ts'
import type { Frame } from './frame.ts'
import type { Stream } from './stream.ts'

/** A batch that has grown to this is written without waiting longer. */
const MAX_BATCH_BYTES = 65_536

export class Coalescer {
  readonly #windowMs: number
  readonly #onFlushed: () => void
  #root = new Batch()
  #waiting: Stream[] = []
  #bytes = 0
  #timer: NodeJS.Timeout | undefined
  #isScheduled = false
  #flushedAtMs = 0

  /** `windowMs`: how long messages are gathered under load. */
  constructor (windowMs: number, onFlushed: () => void) {
    this.#windowMs = windowMs
    this.#onFlushed = onFlushed
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

  /**
   * A frame has been added to all its streams. Idle: what one read from the broker's connection brought is written right after it.
   * Under load: once in a window.
   */
  added (frame: Frame): void {
    this.#bytes += frame.chunked.length
    if (this.#bytes > MAX_BATCH_BYTES) {
      this.#flush()
      return
    }
    if (this.#isScheduled) return
    this.#isScheduled = true
    const waitMs = this.#flushedAtMs + this.#windowMs - performance.now()
    if (waitMs <= 0) queueMicrotask(() => { this.#flush() })
    else this.#timer = setTimeout(() => { this.#flush() }, waitMs)
  }

  #flush (): void {
    clearTimeout(this.#timer)
    const waiting = this.#waiting
    this.#waiting = []
    this.#root = new Batch()
    this.#bytes = 0
    this.#isScheduled = false
    for (const stream of waiting) stream.flush()
    this.#onFlushed()
    this.#flushedAtMs = performance.now()
  }

  stop (): void {
    clearTimeout(this.#timer)
  }
}
