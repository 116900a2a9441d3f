// When streams are written: at once when the node is idle, many messages in one write when it is not.
import type { Channel as ChannelName } from '../broker/broker.ts'
import type { Notification } from '../notification.ts'
import { deliveries, type Node } from '../tracing.ts'
import { Batch } from './batch.ts'
import type { Channel } from './channels.ts'
import { type Frame, notificationFrame } from './frame.ts'
import type { Stream } from './stream.ts'
import { Telling } from './telling.ts'

/** A batch that has grown to this is written without waiting longer. */
const MAX_BATCH_BYTES = 65_536
/** So many streams are looked at, and then written. */
const SIDE_BY_SIDE = 128
/** A write to all streams that takes more than so many windows leaves less than a quarter of the time for all else. */
const LONG_IN_WINDOWS = 3
/** The longest rest after such a one. */
const MAX_REST_MS = 50

export interface CoalescerOptions {
  readonly node: Node
  /** How long messages are gathered under load, unless writing takes so long that a longer rest is needed. */
  readonly windowMs: number
  /** Milliseconds of a clock that never steps. */
  readonly nowMs: () => number
}

export class Coalescer {
  readonly #options: CoalescerOptions
  readonly #telling: Telling
  #root = new Batch()
  #queued: Stream[] = []
  #bytes = 0
  /** What the streams are to write, counted for each. */
  #taken = 0
  /** From one write until what is gathered is written. */
  #restMs: number
  #timer: NodeJS.Timeout | undefined
  /**
   * `idle`: nothing is queued. `gathering`: what is queued is written when the window ends. `reading`: the last frame
   * was written at once, and what else the same read from the broker's line brings follows right after it.
   */
  #phase: 'idle' | 'gathering' | 'reading' = 'idle'
  #wroteAtMs = -Infinity
  /** Means nothing; what is not used would not be read. */
  #warmth = 0

  constructor (options: CoalescerOptions) {
    this.#options = options
    this.#restMs = options.windowMs
    this.#telling = new Telling(options.node, options.nowMs)
  }

  /** Streams that are written when the window ends. */
  get gathered (): number { return this.#queued.length }

  /**
   * Sends what came on a channel to its streams, as far as they take it now: at once, or, if the last write was within
   * the window, at the end of that. Returns how many took it.
   */
  send (name: ChannelName, notification: Notification, channel: Channel): number {
    const isHeard = deliveries.hasSubscribers
    if (isHeard) this.#telling.heard()
    const frame = notificationFrame(notification)
    const root = this.#root
    const queued = this.#queued
    let count = 0
    for (const stream of channel.streams) {
      const isFirst = stream.pending === undefined
      if (!stream.takes(frame, channel, root)) continue
      count++
      if (isFirst) queued.push(stream)
    }
    if (count === 0) return 0
    this.#taken += count
    if (isHeard) this.#telling.taken(name, notification, count)
    this.#sent(frame)
    return count
  }

  #sent (frame: Frame): void {
    this.#bytes += frame.chunked.length
    const isLarge = this.#bytes > MAX_BATCH_BYTES
    if (this.#phase !== 'idle') {
      if (isLarge) this.#flush()
      return
    }
    const waitMs = this.#wroteAtMs + this.#restMs - this.#options.nowMs()
    if (waitMs > 0 && !isLarge) {
      this.#phase = 'gathering'
      this.#timer = setTimeout(() => { this.#flush() }, waitMs)
      return
    }
    this.#flush()
    this.#phase = 'reading'
    queueMicrotask(() => {
      if (this.#queued.length > 0) this.#flush()
      this.#phase = 'idle'
    })
  }

  #flush (): void {
    const { nowMs } = this.#options
    const writeAtMs = nowMs()
    const queued = this.#queued
    if (this.#phase === 'gathering') {
      clearTimeout(this.#timer)
      this.#phase = 'idle'
    }
    this.#queued = []
    this.#root = new Batch()
    this.#bytes = 0
    // A write takes so long that nothing of the next stream is in the processor's caches, and it would wait for one
    // piece of memory after the other. Looked at in a row, what some streams need is fetched at the same time: worth 5
    // to 10 % of a delivery.
    for (let from = 0; from < queued.length; from += SIDE_BY_SIDE) {
      const end = Math.min(from + SIDE_BY_SIDE, queued.length)
      for (let i = from; i < end; i++) this.#warmth = (this.#warmth + queued[i]!.warm()) & 1
      for (let i = from; i < end; i++) queued[i]!.flush()
    }
    this.#wroteAtMs = nowMs()
    this.#restMs = this.#restAfter(this.#wroteAtMs - writeAtMs, this.#taken / queued.length)
    this.#taken = 0
    this.#telling.written(writeAtMs, this.#wroteAtMs)
  }

  /**
   * Where streams get many messages in one write and writing takes most of the time, as with TLS, a message is the
   * cheaper the more of them a write carries: with as long a rest as the write took there are fewer writes, and whoever
   * else is on this machine gets on. One message, to however many streams, is followed by the window alone.
   */
  #restAfter (tookMs: number, messagesInWrite: number): number {
    const { windowMs } = this.#options
    if (windowMs === 0 || messagesInWrite < 2 || tookMs <= LONG_IN_WINDOWS * windowMs) return windowMs
    return Math.max(windowMs, Math.min(tookMs, MAX_REST_MS))
  }

  stop (): void {
    clearTimeout(this.#timer)
  }
}
