// When streams are written: at once when the node is idle, many messages in one write when it is not.
import { Batch } from './batch.ts'
import type { Frame } from './frame.ts'
import type { Stream } from './stream.ts'

/** A batch that has grown to this is written without waiting longer. */
const MAX_BATCH_BYTES = 65_536
/** So many streams are looked at, and then written. */
const SIDE_BY_SIDE = 128

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
  /** Means nothing; what is not used would not be read. */
  #warmth = 0

  /** `windowMs`: how long messages are gathered under load. */
  constructor (windowMs: number, onWritten: () => void) {
    this.#windowMs = windowMs
    this.#onWritten = onWritten
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

  /** A frame has been added to its streams: written now, or, if the last write was within the window, at the end of that. */
  added (frame: Frame): void {
    this.#bytes += frame.chunked.length
    const isLarge = this.#bytes > MAX_BATCH_BYTES
    if (this.#isScheduled || this.#isReading) {
      if (isLarge) this.#flush()
      return
    }
    const waitMs = this.#wroteAtMs + this.#windowMs - performance.now()
    if (waitMs > 0 && !isLarge) {
      this.#isScheduled = true
      this.#timer = setTimeout(() => { this.#flush() }, waitMs)
      return
    }
    this.#flush()
    // What else the same read from the broker's line brings follows right after it.
    this.#isReading = true
    queueMicrotask(() => {
      this.#isReading = false
      if (this.#waiting.length > 0) this.#flush()
    })
  }

  #flush (): void {
    clearTimeout(this.#timer)
    const waiting = this.#waiting
    this.#waiting = []
    this.#root = new Batch()
    this.#bytes = 0
    this.#isScheduled = false
    // A write takes so long that nothing of the next stream is in the processor's caches, and it would wait for one piece of memory after
    // the other. Looked at in a row, what some streams need is fetched at the same time: worth 5 to 10 % of a delivery.
    for (let from = 0; from < waiting.length; from += SIDE_BY_SIDE) {
      const end = Math.min(from + SIDE_BY_SIDE, waiting.length)
      for (let i = from; i < end; i++) this.#warmth = (this.#warmth + waiting[i]!.warm()) & 1
      for (let i = from; i < end; i++) waiting[i]!.flush()
    }
    this.#onWritten()
    this.#wroteAtMs = performance.now()
  }

  stop (): void {
    clearTimeout(this.#timer)
  }
}
