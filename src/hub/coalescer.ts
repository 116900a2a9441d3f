// Decides when streams are written: at once when the node is idle, and many messages in one write under load.
import type { Channel as ChannelName } from '../broker/broker.ts'
import type { Notification } from '../notification.ts'
import { deliveries, type Node } from '../tracing.ts'
import { Batch } from './batch.ts'
import type { Channel } from './channels.ts'
import { type Frame, notificationFrame } from './frame.ts'
import type { Stream } from './stream.ts'
import { Telling } from './telling.ts'

/** A batch of this size is written without waiting longer. */
const MAX_BATCH_BYTES = 65_536
/** How many streams are prefetched into the processor's caches before they are written. */
const SIDE_BY_SIDE = 128
/**
 * A write to all streams that takes longer than this many windows is followed by a longer rest, since hardly a seventh
 * of the time would be left for other work.
 */
const LONG_IN_WINDOWS = 6
/** The longest rest after such a write. */
const MAX_REST_MS = 50

export interface CoalescerOptions {
  readonly node: Node
  /** How long messages are gathered under load, unless writing takes so long that a longer rest is needed. */
  readonly windowMs: number
  /** Monotonic milliseconds. */
  readonly nowMs: () => number
}

export class Coalescer {
  readonly #options: CoalescerOptions
  readonly #telling: Telling
  #root = new Batch()
  #queued: Stream[] = []
  #bytes = 0
  /** Messages queued for the next write, one counted for each stream. */
  #taken = 0
  /** The shortest time from one write to the next under load. */
  #restMs: number
  #timer: NodeJS.Timeout | undefined
  /**
   * `idle`: nothing is queued. `gathering`: queued messages are written when the rest ends. `reading`: the last message
   * was written at once; others from the same read of the broker's connection follow in the next microtask.
   */
  #phase: 'idle' | 'gathering' | 'reading' = 'idle'
  #wroteAtMs = -Infinity
  /** Has no meaning. If `warm` had no visible result, the compiler could remove its reads. */
  #warmth = 0

  constructor (options: CoalescerOptions) {
    this.#options = options
    this.#restMs = options.windowMs
    this.#telling = new Telling(options.node, options.nowMs)
  }

  /** How many streams wait for the next write. */
  get gathered (): number { return this.#queued.length }

  /**
   * Sends a message of a channel to those of its streams that take it now. It is written at once, or, if the last write
   * was too recent, when the rest ends. Returns how many streams took it.
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
    // A write evicts the next stream's memory from the processor's caches, so writing would wait for one cache miss
    // after the other. Reading from many streams in a row lets their misses overlap, which saves 5 to 10 % of a
    // delivery.
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
   * How long to rest after a write. If streams get many messages in one write and writing takes most of the time, as
   * with TLS, resting as long as the write took puts more messages into each write, which makes each cheaper and leaves
   * time for others on this machine. After a write of one message, to however many streams, the window is enough.
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
