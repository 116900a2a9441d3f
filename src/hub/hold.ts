// While a stream may not write: what came meanwhile, and how new an answer of the broker must be to end that.
import type { Channel } from './channels.ts'
import type { Frame } from './frame.ts'

/** A notification that waits, and where it came from. */
interface Held {
  readonly frame: Frame
  readonly channel: Channel
}

export class Hold {
  frames: Held[] = []
  #bytes = 0
  #since = 0

  add (frame: Frame, channel: Channel, maxBytes: number): void {
    this.frames.push({ frame, channel })
    this.#bytes += frame.chunked.length
    if (this.#bytes <= maxBytes) return
    // Too much to keep. What has an id stands in the logs and is read from there; what has none was promised to nobody.
    this.frames = []
    this.#bytes = 0
    this.#since = Infinity
  }

  /** Something changed, at this id: an answer must be as new. */
  needs (since: number): void {
    this.#since = Math.max(this.#since, since)
  }

  /** The broker is asked now: its answer knows all that has changed so far. */
  asks (): void {
    this.#since = 0
  }

  /** Whether an answer of the broker knows all that has changed. */
  isSatisfiedWith (position: number): boolean {
    return this.#since <= position
  }
}
