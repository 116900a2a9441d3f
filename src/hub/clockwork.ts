// The one timer of a node: heartbeats, what is due for a stream, and the spread of a drain. Never a timer a stream.
import type { Stream } from './stream.ts'

/** What a stream is due for; `abandon`: it has been ended, but its client has not taken the last words. */
export type Due = 'expiring' | 'expired' | 'age' | 'abandon'

interface Place {
  readonly slot: Set<Stream>
  second: number
}

export interface ClockworkEvents {
  readonly onDue: (stream: Stream, due: Due) => void
  /** The streams whose heartbeat it is. */
  readonly onHeartbeat: (streams: ReadonlySet<Stream>) => void
  readonly onSecond: (nowMs: number) => void
}

export class Clockwork {
  readonly #events: ClockworkEvents
  /** Streams by the second of the heartbeat in which they are pinged, round and round. */
  readonly #slots: Array<Set<Stream>>
  /** Streams by the second in which something is due, each at most once. */
  readonly #dues = new Map<number, Map<Stream, Due>>()
  readonly #places = new Map<Stream, Place>()
  #timer: NodeJS.Timeout | undefined
  #turn = 0
  #lastSecond = Math.floor(Date.now() / 1000)
  #onEmpty: (() => void) | undefined

  constructor (heartbeatSeconds: number, events: ClockworkEvents) {
    this.#slots = Array.from({ length: heartbeatSeconds }, () => new Set())
    this.#events = events
  }

  get size (): number {
    return this.#places.size
  }

  start (): void {
    this.#timer = setInterval(() => { this.tick(Date.now()) }, 1000)
  }

  stop (): void {
    clearInterval(this.#timer)
  }

  /** Once a second. */
  tick (nowMs: number): void {
    this.#turn++
    this.#events.onHeartbeat(this.#slots[this.#turn % this.#slots.length]!)
    this.#callDue(Math.floor(nowMs / 1000))
    this.#events.onSecond(nowMs)
  }

  add (stream: Stream): void {
    // The slot just served comes round last, so a new stream's first ping is a whole heartbeat away.
    const slot = this.#slots[this.#turn % this.#slots.length]!
    slot.add(stream)
    this.#places.set(stream, { slot, second: 0 })
  }

  /** Says what the stream is due for next, and when; replaces what was said before. */
  plan (stream: Stream, atMs: number, what: Due): void {
    const place = this.#places.get(stream)
    if (place === undefined) return
    this.#unplan(stream, place)
    place.second = Math.max(Math.ceil(atMs / 1000), this.#lastSecond + 1)
    let dues = this.#dues.get(place.second)
    if (dues === undefined) this.#dues.set(place.second, dues = new Map())
    dues.set(stream, what)
  }

  #unplan (stream: Stream, { second }: Place): void {
    const dues = this.#dues.get(second)
    if (dues?.delete(stream) === true && dues.size === 0) this.#dues.delete(second)
  }

  remove (stream: Stream): void {
    const place = this.#places.get(stream)
    if (place === undefined) return
    this.#places.delete(stream)
    place.slot.delete(stream)
    this.#unplan(stream, place)
    if (this.#places.size === 0) this.#onEmpty?.()
  }

  #callDue (second: number): void {
    for (; this.#lastSecond < second; this.#skipIdle(second)) {
      const dues = this.#dues.get(++this.#lastSecond)
      this.#dues.delete(this.#lastSecond)
      for (const [stream, due] of dues ?? []) this.#events.onDue(stream, due)
    }
  }

  // A process that slept for long, or a clock that was set forward, does not walk through every second it missed.
  #skipIdle (second: number): void {
    if (second - this.#lastSecond < 60) return
    let next = second
    for (const at of this.#dues.keys()) if (at > this.#lastSecond && at < next) next = at
    this.#lastSecond = next - 1
  }

  /** Calls `end` for all streams, spread evenly over a time; resolves when the last one is removed. */
  async drain (spreadMs: number, end: (stream: Stream) => void): Promise<void> {
    const streams = [...this.#places.keys()]
    const emptied = new Promise<void>((resolve) => { this.#onEmpty = resolve })
    const startedAtMs = Date.now()
    for (let ended = 0; ended < streams.length;) {
      const share = spreadMs === 0 ? 1 : Math.min(1, (Date.now() - startedAtMs + 50) / spreadMs)
      for (const due = Math.ceil(share * streams.length); ended < due; ended++) end(streams[ended]!)
      if (ended < streams.length) await new Promise((resolve) => { setTimeout(resolve, 50) })
    }
    if (this.#places.size > 0) await emptied
  }
}
