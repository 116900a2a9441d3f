// What a stream holds back while it is filled, and how new an answer of the broker must be to end the hold.
import type { Channel } from './channels.ts'
import type { Frame } from './frame.ts'

/** A held notification and its channel. */
interface Held {
  readonly frame: Frame
  readonly channel: Channel
}

export class Hold {
  frames: Held[] = []
  /** Events without an id, such as `retracted`, were dropped. */
  wasCut = false
  #bytes = 0
  #since = 0

  add (frame: Frame, channel: Channel, maxBytes: number): void {
    this.frames.push({ frame, channel })
    this.#bytes += frame.chunked.length
    if (this.#bytes <= maxBytes) return
    // Too much to keep, so the logs are read again. Notifications with an id are there; those without were never
    // promised, except for events of the inbox, of which the stream is told that some may be missing.
    this.wasCut = true
    this.frames = []
    this.#bytes = 0
    this.#since = Infinity
  }

  /** Something changed at this id: only an answer of the broker with this position or a later one ends the hold. */
  needs (since: number): void {
    this.#since = Math.max(this.#since, since)
  }

  /** The broker is asked now, so its answer includes all changes so far. */
  asks (): void {
    this.#since = 0
  }

  /** Whether an answer of the broker at this position includes all changes. */
  isSatisfiedWith (position: number): boolean {
    return this.#since <= position
  }
}
