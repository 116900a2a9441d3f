// The one timer of a node: heartbeats, deadlines of streams, and spreading a drain. There is never a timer for each
// stream.
import type { Stream } from './stream.ts'

/** What happens at a stream's deadline. `abandon`: it has ended, but its client has not taken the last bytes. */
export type Due = 'expiring' | 'expired' | 'age' | 'abandon'

/** The first ping comes early, for clients with a read timeout of 5 seconds. */
const FIRST_PING_SECONDS = 4

interface Place {
  readonly slot: Set<Stream>
  /** The deadline in milliseconds, and the second under which `#dues` keeps it. */
  atMs: number
  second: number
}

export interface ClockworkEvents {
  readonly onDue: (stream: Stream, due: Due) => void
  /** Called with the streams to be pinged now. */
  readonly onHeartbeat: (streams: ReadonlySet<Stream>) => void
  readonly onSecond: () => void
}

export class Clockwork {
  readonly #events: ClockworkEvents
  /** Monotonic milliseconds. */
  readonly #nowMs: () => number
  /** Streams by the second of the heartbeat interval in which they are pinged; used in turn. */
  readonly #slots: Array<Set<Stream>>
  /**
   * Streams by the second of their deadline, each at most once. Deadlines of the current second may still lie ahead.
   */
  readonly #dues = new Map<number, Map<Stream, Due>>()
  readonly #places = new Map<Stream, Place>()
  #timer: NodeJS.Timeout | undefined
  #turn = 0
  #lastSecond: number
  /** Resolves when the last stream is removed. Only there while somebody waits for it. */
  #emptied: PromiseWithResolvers<void> | undefined

  constructor (heartbeatSeconds: number, nowMs: () => number, events: ClockworkEvents) {
    this.#slots = Array.from({ length: heartbeatSeconds }, () => new Set())
    this.#nowMs = nowMs
    this.#events = events
    this.#lastSecond = Math.floor(nowMs() / 1000)
  }

  get size (): number {
    return this.#places.size
  }

  start (): void {
    this.#timer = setInterval(() => { this.tick() }, 1000)
  }

  stop (): void {
    clearInterval(this.#timer)
  }

  /** Called once a second. */
  tick (): void {
    this.#turn++
    this.#events.onHeartbeat(this.#slots[this.#turn % this.#slots.length]!)
    this.#callDue(this.#nowMs())
    this.#events.onSecond()
  }

  add (stream: Stream): void {
    const slot = this.#slots[(this.#turn + FIRST_PING_SECONDS) % this.#slots.length]!
    slot.add(stream)
    this.#places.set(stream, { slot, atMs: 0, second: 0 })
  }

  /** Sets the stream's deadline and what happens then. It replaces the previous deadline. */
  plan (stream: Stream, atMs: number, what: Due): void {
    const place = this.#places.get(stream)
    if (place === undefined) return
    this.#unplan(stream, place)
    place.atMs = Math.ceil(atMs)
    place.second = Math.max(Math.floor(atMs / 1000), this.#lastSecond)
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
    if (this.#places.size > 0) return
    this.#emptied?.resolve()
    this.#emptied = undefined
  }

  #callDue (nowMs: number): void {
    const from = this.#lastSecond
    const second = this.#lastSecond = Math.max(from, Math.floor(nowMs / 1000))
    // After a long sleep of the process, only the seconds with deadlines are visited.
    const missed = second - from < 60
      ? Array.from({ length: second - from + 1 }, (_, i) => from + i)
      : [...this.#dues.keys()].filter((at) => at <= second).sort((a, b) => a - b)
    for (const at of missed) this.#call(this.#dues.get(at), nowMs)
  }

  #call (dues: Map<Stream, Due> | undefined, nowMs: number): void {
    // A copy, so that deadlines set during the loop wait for the next call.
    for (const [stream, due] of [...dues ?? []]) {
      const place = this.#places.get(stream)
      if (place === undefined || place.atMs > nowMs || dues!.get(stream) !== due) continue
      this.#unplan(stream, place)
      this.#events.onDue(stream, due)
    }
  }

  /** Calls `end` for all streams, spread evenly over `spreadMs`. Resolves when the last stream is removed. */
  async drain (spreadMs: number, end: (stream: Stream) => void): Promise<void> {
    const streams = [...this.#places.keys()]
    const startedAtMs = this.#nowMs()
    for (let ended = 0; ended < streams.length;) {
      const share = spreadMs === 0 ? 1 : Math.min(1, (this.#nowMs() - startedAtMs + 50) / spreadMs)
      for (const due = Math.ceil(share * streams.length); ended < due; ended++) end(streams[ended]!)
      if (ended < streams.length) await new Promise((resolve) => { setTimeout(resolve, 50) })
    }
    if (this.#places.size > 0) await (this.#emptied ??= Promise.withResolvers()).promise
  }
}
