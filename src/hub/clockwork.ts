// The one timer of a node: heartbeats, age limits, token expiry, and the spread of a drain. Never a timer a stream.
import type { EndReason, Stream } from './stream.ts'

interface Place {
  readonly slot: Set<Stream>
  readonly second: number
}

export class Clockwork {
  /** Streams by the second in which they are pinged, round and round. */
  readonly #slots: Array<Set<Stream>>
  /** Streams by the second in which they must end. */
  readonly #deadlines = new Map<number, Map<Stream, EndReason>>()
  readonly #places = new Map<Stream, Place>()
  readonly #onDeadline: (stream: Stream, reason: EndReason) => void
  #timer: NodeJS.Timeout | undefined
  #tick = 0
  #lastSecond = Math.floor(Date.now() / 1000)
  #onEmpty: (() => void) | undefined

  constructor (heartbeatSeconds: number, onDeadline: (stream: Stream, reason: EndReason) => void) {
    this.#slots = Array.from({ length: heartbeatSeconds }, () => new Set())
    this.#onDeadline = onDeadline
  }

  get size (): number {
    return this.#places.size
  }

  /** `everySecond` is called after the streams were seen to. */
  start (everySecond: (nowMs: number) => void): void {
    this.#timer = setInterval(() => {
      const nowMs = Date.now()
      this.#ping()
      this.#enforce(Math.floor(nowMs / 1000))
      everySecond(nowMs)
    }, 1000)
  }

  stop (): void {
    clearInterval(this.#timer)
  }

  add (stream: Stream, agesAtMs: number, expiresAtMs: number): void {
    // The slot just served comes round last, so a new stream's first ping is a whole heartbeat away.
    const slot = this.#slots[this.#tick % this.#slots.length]!
    slot.add(stream)
    const reason = expiresAtMs <= agesAtMs ? 'expired' : 'age'
    const second = Math.max(Math.ceil(Math.min(agesAtMs, expiresAtMs) / 1000), this.#lastSecond + 1)
    let due = this.#deadlines.get(second)
    if (due === undefined) this.#deadlines.set(second, due = new Map())
    due.set(stream, reason)
    this.#places.set(stream, { slot, second })
  }

  remove (stream: Stream): void {
    const place = this.#places.get(stream)
    if (place === undefined) return
    this.#places.delete(stream)
    place.slot.delete(stream)
    const due = this.#deadlines.get(place.second)
    due?.delete(stream)
    if (due?.size === 0) this.#deadlines.delete(place.second)
    if (this.#places.size === 0) this.#onEmpty?.()
  }

  #ping (): void {
    this.#tick++
    for (const stream of this.#slots[this.#tick % this.#slots.length]!) if (stream.isLive) stream.ping()
  }

  #enforce (second: number): void {
    // A process that slept, or a clock that was set, must not step over a second.
    for (const at of second - this.#lastSecond > 3600 ? [...this.#deadlines.keys()] : range(this.#lastSecond + 1, second)) {
      if (at > second) continue
      for (const [stream, reason] of this.#deadlines.get(at) ?? []) this.#onDeadline(stream, reason)
    }
    this.#lastSecond = Math.max(second, this.#lastSecond)
  }

  /** Ends all streams, spread evenly over a time; resolves when the last one is gone. */
  async drain (spreadMs: number): Promise<void> {
    const streams = [...this.#places.keys()]
    const emptied = new Promise<void>((resolve) => { this.#onEmpty = resolve })
    const startedAtMs = Date.now()
    for (let ended = 0; ended < streams.length;) {
      const share = spreadMs === 0 ? 1 : Math.min(1, (Date.now() - startedAtMs + 50) / spreadMs)
      for (const due = Math.ceil(share * streams.length); ended < due; ended++) this.#onDeadline(streams[ended]!, 'drain')
      if (ended < streams.length) await new Promise((resolve) => { setTimeout(resolve, 50) })
    }
    // A client that does not take its last words must not keep the node: whoever is left is cut.
    const cutter = setTimeout(() => { for (const stream of this.#places.keys()) stream.abandon() }, 2000)
    if (this.#places.size > 0) await emptied
    clearTimeout(cutter)
  }
}

function range (from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)
}
