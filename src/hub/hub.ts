// The hub: the live streams of a node, how messages reach them, and how they open and end.
import type { Broker, Channel as ChannelName } from '../broker/broker.ts'
import type { BrokerListener, Control, DropReason } from '../broker/listener.ts'
import { groupAddress, type Notification, type ResumeFrom } from '../notification.ts'
import type { Node } from '../tracing.ts'
import { Channels, hits } from './channels.ts'
import { type Clock, systemClock } from './clock.ts'
import { Clockwork } from './clockwork.ts'
import { Coalescer } from './coalescer.ts'
import { type EndReason, Exits, tellEnd } from './exits.ts'
import { Filler } from './filler.ts'
import { retryLine } from './frame.ts'
import { type Answer, connectionOf } from './line.ts'
import { Places } from './places.ts'
import { Sessions } from './sessions.ts'
import { Stats } from './stats.ts'
import { Stream, type StreamLimits, type StreamOwner } from './stream.ts'

export interface HubOptions {
  readonly broker: Broker
  readonly node: Node
  readonly heartbeatSeconds: number
  readonly maxStreamSeconds: number
  /** The most streams of the node; 0: no limit. */
  readonly maxStreams: number
  /** The most streams of one user on the node. */
  readonly maxStreamsPerUser: number
  readonly retryMs: number
  /** The longest time before its token expires that a stream gets `expiring`. */
  readonly expiringSeconds: number
  /** SESSION_POLICY=single. */
  readonly isSingleSession: boolean
  /** How long messages are gathered under load before each stream is written once. */
  readonly coalesceMs: number
  /** Unsent bytes before a slow stream is cut. */
  readonly bufferBytes: number
  readonly log: { info: (data: object, text: string) => void, warn: (data: object, text: string) => void }
  /** Tests inject their own. */
  readonly clock?: Clock
}

export type Opening =
  /** `opened` resolves when the stream is live, or has ended. */
  | { readonly stream: Stream, readonly opened: Promise<void> }
  /** The client shall come back after this time. */
  | { readonly refused: 'for now', readonly retryMs: number }
  /** The user has MAX_STREAMS_PER_USER. */
  | { readonly refused: 'too many' }

export class Hub implements BrokerListener {
  readonly stats = new Stats()
  readonly #options: HubOptions
  readonly #broker: Broker
  readonly #clock: Clock
  readonly #channels: Channels
  readonly #clockwork: Clockwork
  readonly #coalescer: Coalescer
  readonly #exits: Exits
  readonly #places: Places
  readonly #sessions: Sessions | undefined
  readonly #filler: Filler
  readonly #limits: StreamLimits
  readonly #users = new Map<string, Set<Stream>>()
  /** When a dropped message was last logged for a channel; entries are removed after a minute. */
  readonly #dropsLogged = new Map<ChannelName, number>()
  #isDraining = false

  constructor (options: HubOptions) {
    const { broker, node, log, retryMs, heartbeatSeconds, isSingleSession, clock = systemClock } = options
    const { nowMs } = clock
    const { stats } = this
    this.#options = options
    this.#broker = broker
    this.#clock = clock
    this.#limits = { bufferBytes: options.bufferBytes, retryLine: retryLine(retryMs) }
    const channels = this.#channels = new Channels(broker, nowMs)
    this.#coalescer = new Coalescer({ node, windowMs: options.coalesceMs, nowMs })
    this.#clockwork = new Clockwork(heartbeatSeconds, nowMs, {
      onDue: (stream, due) => { this.#exits.due(stream, due) },
      onHeartbeat: (streams) => { this.#heartbeat(streams) },
      onSecond: () => { this.#second() }
    })
    const exits = this.#exits = new Exits(options, this.#clockwork, clock)
    this.#places = new Places({
      maxStreams: options.maxStreams,
      maxStreamsPerUser: isSingleSession ? Infinity : options.maxStreamsPerUser,
      retryMs: () => this.retryMs(),
      nowMs
    })
    const sessions = this.#sessions = isSingleSession ? new Sessions(broker, exits) : undefined
    this.#filler = new Filler({ broker, heartbeatSeconds, channels, stats, exits, sessions, node, nowMs, log })
  }

  start (): void {
    this.#broker.start(this)
    this.#clockwork.start()
  }

  #heartbeat (streams: ReadonlySet<Stream>): void {
    for (const stream of streams) stream.ping()
    void this.#sessions?.verify(streams)
  }

  #second (): void {
    const nowMs = this.#clock.nowMs()
    this.#filler.tick()
    this.#sessions?.tick()
    this.#channels.sweep()
    this.#places.sweep()
    for (const [channel, atMs] of this.#dropsLogged) if (nowMs - atMs >= 60_000) this.#dropsLogged.delete(channel)
  }

  get streams (): number { return this.#clockwork.size }
  get users (): number { return this.#users.size }
  get channels (): number { return this.#channels.size }
  /** How many streams are open but wait for the broker. */
  get waiting (): number { return this.#filler.waiting }
  get gathered (): number { return this.#coalescer.gathered }
  get isDraining (): boolean { return this.#isDraining }
  /** Whether the node has MAX_STREAMS, so that anybody's next stream is refused for now. */
  get isFull (): boolean { return this.#options.maxStreams > 0 && this.streams >= this.#options.maxStreams }
  /** Unsent bytes of all streams, how many streams have any, and the most of one. Visits every stream. */
  unsent (): { bytes: number, streams: number, most: number } {
    const sum = { bytes: 0, streams: 0, most: 0 }
    for (const streams of this.#users.values()) {
      for (const { unsent } of streams) {
        sum.bytes += unsent
        if (unsent > 0) sum.streams++
        if (unsent > sum.most) sum.most = unsent
      }
    }
    return sum
  }

  streamsOf (userId: string): number { return this.#users.get(userId)?.size ?? 0 }
  /** The value of `retry:`, jittered so that many clients do not reconnect at the same moment. */
  retryMs (): number { return this.#exits.retryMs() }

  // — the path of a connection —

  /**
   * Opens a stream, if there is a place. Only then `answer` is called, synchronously: it sends the response head and
   * returns the response, which belongs to the stream from then on. `about`: more fields for the log line.
   */
  open (answer: () => Answer, owner: StreamOwner, from: ResumeFrom, about: object = {}): Opening {
    if (this.#isDraining) return { refused: 'for now', retryMs: this.retryMs() }
    const place = this.#places.find(owner, this.streams, this.#users.get(owner.userId))
    if (!place.room) return place.retryMs === undefined ? { refused: 'too many' } : { refused: 'for now', retryMs: place.retryMs }
    if (place.instead !== undefined) this.#exits.end(place.instead, 'displaced')
    const stream = new Stream(connectionOf(answer()), owner, this.#limits, this.#clock.nowMs(), (stream, reason) => { this.#ended(stream, reason) })
    this.#enter(stream)
    this.stats.opened++
    this.#options.log.info({ userId: owner.userId, stream: stream.name, ...about, resumes: from !== 'fresh' }, 'stream open')
    return { stream, opened: this.#filler.open(stream, from) }
  }

  #enter (stream: Stream): void {
    const { userId } = stream.owner
    const streams = this.#users.get(userId)
    if (streams === undefined) this.#users.set(userId, new Set([stream]))
    else streams.add(stream)
    this.#clockwork.add(stream)
    this.#exits.plan(stream)
  }

  #ended (stream: Stream, reason: EndReason): void {
    const { userId } = stream.owner
    const streams = this.#users.get(userId)
    if (streams?.delete(stream) === true && streams.size === 0) this.#users.delete(userId)
    this.#clockwork.remove(stream)
    this.#filler.forget(stream)
    this.stats.ended[reason]++
    tellEnd(this.#options.node, stream, reason)
    const seconds = Math.round((this.#clock.nowMs() - stream.openedAtMs) / 100) / 10
    this.#options.log.info({ userId, stream: stream.name, reason, seconds, written: stream.written }, 'stream end')
  }

  // — the path of a message —

  notification (name: ChannelName, notification: Notification): void {
    const channel = this.#channels.get(name)
    if (channel === undefined || channel.streams.size === 0) return
    this.stats.received++
    this.stats.delivered += this.#coalescer.send(name, notification, channel)
  }

  // A control message is only a hint, since anyone who may PUBLISH can forge one, so each is checked with the broker.
  // Streams that are being filled are told too, since the answer under way may be older than the change.
  control (userId: string, control: Control): void {
    for (const stream of [...this.#users.get(userId) ?? []]) {
      switch (control.control) {
        case 'leave':
          // A removed channel needs a new answer, even if a newer one has the group because the user joined again.
          this.#filler.fill(stream, this.#leave(stream, control.group) ? Infinity : control.id)
          break
        case 'join': // the group's log has what was published since the join
          if (control.id > stream.filledTo) this.#filler.fill(stream, control.id)
          break
        case 'logout': this.#filler.fill(stream, control.id); break
        case 'takeover': // a replaced stream must get no id that is newer
          if (this.#sessions?.seemsLost(stream, control.id, control.tag) === true) this.#filler.fill(stream, control.id)
      }
    }
  }

  /** Returns false if the stream was not in the group's channel. */
  #leave (stream: Stream, group: string): boolean {
    return this.#channels.remove(stream, this.#broker.channelOf(stream.owner.userId, groupAddress(group)))
  }

  dropped (channel: ChannelName, reason: DropReason, isStranger = false): void {
    this.stats.dropped[reason]++
    // At most once a minute for each channel, since a faulty publisher repeats itself in a loop.
    if (this.#dropsLogged.has(channel)) return
    this.#dropsLogged.set(channel, this.#clock.nowMs())
    const { log } = this.#options
    if (isStranger) log.warn({ channel, reason }, 'a channel message was dropped; the function library that sent it was loaded just now and is not known here yet, or the message is forged')
    else log.warn({ channel, reason }, 'a channel message was dropped; its sender should PUBLISH {"event":"<name>","data":<JSON>}')
  }

  // — when the broker's line breaks —

  interrupted (isAffected: (channel: ChannelName) => boolean, isLost = false): void {
    this.#channels.interrupted(isAffected)
    const isHit = hits(isAffected)
    for (const streams of this.#users.values()) {
      for (const stream of streams) if (isHit(stream)) this.#filler.interrupted(stream, isLost)
    }
  }

  restored (isAffected: (channel: ChannelName) => boolean): void {
    this.#channels.restored(isAffected)
    this.#filler.restored(hits(isAffected))
  }

  // — the ways out —

  /** Takes no new streams and ends all, spread over `spreadMs`. Resolves when the last socket has closed. */
  async drain (spreadMs: number): Promise<void> {
    this.#isDraining = true
    await this.#clockwork.drain(spreadMs, (stream) => { this.#exits.end(stream, 'drain') })
  }

  async close (): Promise<void> {
    await this.drain(0)
    this.#clockwork.stop()
    this.#coalescer.stop()
    await this.#broker.close()
  }
}
