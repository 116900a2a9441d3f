// A node's live streams: who is connected, what arrives for them, and how they leave.
import { type Broker, type BrokerListener, type Control, type DropReason, Revoked } from '../broker/broker.ts'
import { type Address, groupAddress, type Notification, type ResumeFrom } from '../notification.ts'
import { Clockwork, type Due } from './clockwork.ts'
import { Coalescer } from './coalescer.ts'
import { expiringFrame, type Frame, notificationFrame, retryFrame, terminalFrame } from './frame.ts'
import { refill, type RefillParts } from './refill.ts'
import { Sessions } from './sessions.ts'
import { Stats } from './stats.ts'
import type { EndReason, Stream } from './stream.ts'
import { type Topic, Topics } from './topics.ts'

/** How long a client has to take its last words. */
const LAST_WORDS_MS = 2000

export interface HubOptions {
  readonly broker: Broker
  readonly heartbeatSeconds: number
  readonly maxStreamSeconds: number
  readonly retryMs: number
  /** How long before its token's end a stream says `expiring`, at most. */
  readonly expiringSeconds: number
  /** SESSION_POLICY=single. */
  readonly isSingleSession: boolean
  /** How long messages are gathered under load before each stream is written once. */
  readonly coalesceMs: number
  readonly log: { warn: (data: object, text: string) => void }
}

export class Hub implements BrokerListener {
  readonly stats = new Stats()
  readonly #options: HubOptions
  readonly #broker: Broker
  readonly #topics: Topics
  readonly #clockwork: Clockwork
  readonly #coalescer: Coalescer
  readonly #sessions: Sessions
  readonly #refillParts: RefillParts
  readonly #users = new Map<string, Set<Stream>>()
  /** Held streams that wait for the broker. */
  readonly #unfilled = new Set<Stream>()
  #unfilledErrors: unknown[] = []
  /** When a dropped message was logged for a channel, in the last minute. */
  readonly #dropsLogged = new Map<Address, number>()
  #isDraining = false

  constructor (options: HubOptions) {
    this.#options = options
    this.#broker = options.broker
    this.#topics = new Topics(options.broker)
    this.#coalescer = new Coalescer(options.coalesceMs, () => { this.stats.flushed() })
    this.#sessions = new Sessions(options.broker, (stream) => { this.#endForGood(stream, 'replaced', {}) })
    this.#refillParts = {
      broker: options.broker,
      topics: this.#topics,
      stats: this.stats,
      holdSession: async (stream) => !options.isSingleSession || await this.#sessions.hold(stream)
    }
    this.#clockwork = new Clockwork(options.heartbeatSeconds, {
      onDue: (stream, due) => { this.#due(stream, due) },
      onHeartbeat: (streams) => { this.#heartbeat(streams) },
      onSecond: (nowMs) => { this.#second(nowMs) }
    })
  }

  start (): void {
    this.#broker.start(this)
    this.#clockwork.start()
  }

  #heartbeat (streams: ReadonlySet<Stream>): void {
    for (const stream of streams) stream.ping()
    if (this.#options.isSingleSession) void this.#sessions.verify(streams)
  }

  #second (nowMs: number): void {
    // One line for all of them: when Redis is away, thousands fail alike.
    const [err] = this.#unfilledErrors
    if (err !== undefined) this.#options.log.warn({ err, streams: this.#unfilledErrors.length }, 'streams could not be filled from the logs; live ones are tried again, new ones come back')
    this.#unfilledErrors = []
    this.#topics.sweep(nowMs)
    for (const [address, atMs] of this.#dropsLogged) if (nowMs - atMs >= 60_000) this.#dropsLogged.delete(address)
    if (this.#unfilled.size > 0 && this.#broker.state().up) this.#refillAll()
  }

  get streams (): number { return this.#clockwork.size }
  get users (): number { return this.#users.size }
  get channels (): number { return this.#topics.size }
  get isDraining (): boolean { return this.#isDraining }
  streamsOf (userId: string): number { return this.#users.get(userId)?.size ?? 0 }

  // — the path of a connection —

  /** Takes a stream that has just opened. Resolves when it is live, or gone. */
  async attach (stream: Stream, from: ResumeFrom): Promise<void> {
    const { userId } = stream.owner
    const streams = this.#users.get(userId)
    if (streams === undefined) this.#users.set(userId, new Set([stream]))
    else streams.add(stream)
    this.#clockwork.add(stream)
    this.#planEnd(stream)
    // Let in while a drain began, too late to be among those that it ends.
    if (this.#isDraining) this.end(stream, 'drain')
    else await this.#refill(stream, from)
  }

  #planEnd (stream: Stream): void {
    const { expiresAtMs } = stream.owner
    const agesAtMs = stream.openedAtMs + this.#options.maxStreamSeconds * 1000 * (0.8 + 0.2 * Math.random())
    // Jittered, so that the pages of one morning do not all ask for a token in the same second.
    const noticeMs = this.#options.expiringSeconds * 1000 * (0.5 + 0.5 * Math.random())
    if (agesAtMs < expiresAtMs - noticeMs) this.#clockwork.plan(stream, agesAtMs, 'age')
    else this.#clockwork.plan(stream, expiresAtMs - noticeMs, 'expiring')
  }

  /** To be called once, when the connection of a stream is done with. */
  detach (stream: Stream, reason: EndReason): void {
    const { userId } = stream.owner
    const streams = this.#users.get(userId)
    if (streams?.delete(stream) === true && streams.size === 0) this.#users.delete(userId)
    this.#topics.removeAll(stream)
    this.#clockwork.remove(stream)
    this.#unfilled.delete(stream)
    this.stats.ended[reason]++
  }

  /** `since`: what has changed, at which id; an answer that is newer knows it. */
  async #refill (stream: Stream, from: ResumeFrom, since = Infinity): Promise<void> {
    stream.hold()
    this.#unfilled.delete(stream)
    if (stream.refilling) {
      stream.staleUntil = Math.max(stream.staleUntil, since)
      return
    }
    stream.refilling = true
    try {
      await refill(stream, from, this.#refillParts)
    } catch (error) {
      if (error instanceof Revoked) this.#endForGood(stream, 'closed', { reason: 'logout' })
      else this.#couldNotFill(stream, error)
    } finally {
      stream.refilling = false
      if (stream.hasEnded) {
        this.#topics.removeAll(stream)
        this.#unfilled.delete(stream)
      } else if (stream.isHeld && !this.#unfilled.has(stream)) void this.#refill(stream, stream.cursor) // held again in the last moment
    }
  }

  #couldNotFill (stream: Stream, error: unknown): void {
    this.#unfilledErrors.push(error)
    if (stream.isLive) this.#unfilled.add(stream) // the clockwork tries again
    else this.end(stream, 'unavailable')
  }

  #refillAll (): void {
    for (const stream of [...this.#unfilled]) void this.#refill(stream, stream.cursor)
  }

  // — the path of a message —

  notification (address: Address, notification: Notification): void {
    const topic = this.#topics.get(address)
    if (topic === undefined || topic.streams.size === 0) return
    const frame = notificationFrame(notification)
    this.stats.received++
    let isWanted = false
    for (const stream of topic.streams) {
      if (!this.#takes(stream, frame, topic)) continue
      this.#coalescer.add(stream, frame)
      isWanted = true
    }
    if (!isWanted) return
    if (notification.id !== 0) this.stats.arrived(notification.id)
    this.#coalescer.added(frame)
  }

  /** Enters a frame for a stream. False: not to be written now; the stream is held, which keeps it, or has it already. */
  #takes (stream: Stream, frame: Frame, topic: Topic): boolean {
    if (stream.isHeld) {
      stream.keep(frame, topic)
      return false
    }
    if (frame.id !== 0) {
      if (frame.id <= stream.cursor) return false
      stream.cursor = frame.id
    }
    stream.delivered++
    this.stats.delivered++
    return true
  }

  // Hints, each looked up in the broker: whoever may PUBLISH on a user's channel can imitate them. Also where a refill is under way, and
  // for a group that the stream is in: the answer that is waited for may be older, and bring a group back or take it away.
  control (userId: string, control: Control): void {
    for (const stream of [...this.#users.get(userId) ?? []]) {
      switch (control.control) {
        case 'leave':
          // What has been taken away must be looked up anew, also if a newer answer has the group, joined again, in it.
          void this.#refill(stream, stream.cursor, this.#topics.remove(stream, groupAddress(control.group)) ? Infinity : control.id)
          break
        case 'join': // what reached the group since is in its log
          if (control.id > stream.filledTo) void this.#refill(stream, stream.cursor, control.id)
          break
        case 'logout': void this.#refill(stream, stream.cursor, control.id); break
        case 'takeover': this.#sessions.heard(stream, control.id, control.tag)
      }
    }
  }

  dropped (address: Address, reason: DropReason): void {
    this.stats.dropped[reason]++
    // Once a minute for each channel: whoever publishes nonsense does so in a loop.
    if (this.#dropsLogged.has(address)) return
    this.#dropsLogged.set(address, Date.now())
    this.#options.log.warn({ address, reason }, 'a channel message was dropped; PUBLISH {"event":"<name>","data":<JSON>}')
  }

  // — when the broker's line breaks —

  interrupted (): void {
    this.#topics.interrupted()
    for (const streams of this.#users.values()) {
      for (const stream of streams) {
        stream.hold()
        stream.staleUntil = Infinity
        this.#unfilled.add(stream)
      }
    }
  }

  restored (): void {
    this.#topics.restored()
    this.#refillAll()
  }

  // — the ways out —

  /** Ends a stream so that the browser comes back by itself, spread over time. */
  end (stream: Stream, reason: EndReason): void {
    this.#end(stream, reason, retryFrame(this.retryMs()))
  }

  #endForGood (stream: Stream, reason: 'closed' | 'replaced', data: object): void {
    this.#end(stream, reason, terminalFrame(reason, data))
  }

  #end (stream: Stream, reason: EndReason, lastWords: Frame): void {
    stream.end(reason, lastWords)
    this.#clockwork.plan(stream, Date.now() + LAST_WORDS_MS, 'abandon')
  }

  #due (stream: Stream, due: Due): void {
    switch (due) {
      case 'expiring':
        if (stream.isLive) stream.write(expiringFrame(stream.owner.expiresAtMs))
        this.#clockwork.plan(stream, stream.owner.expiresAtMs, 'expired')
        break
      case 'abandon': stream.abandon(); break
      default: this.end(stream, due)
    }
  }

  /** The reconnect hint, jittered where many may come at once. */
  retryMs (): number {
    return Math.round(this.#options.retryMs * (0.5 + Math.random()))
  }

  /** Ends all streams, spread evenly over a time; resolves when the last socket has closed. New ones are not taken. */
  async drain (spreadMs: number): Promise<void> {
    this.#isDraining = true
    await this.#clockwork.drain(spreadMs, (stream) => { this.end(stream, 'drain') })
  }

  async close (): Promise<void> {
    await this.drain(0)
    this.#clockwork.stop()
    this.#coalescer.stop()
    await this.#broker.close()
  }
}
