// The connection that hears: which channels this node wants, proof that it hears them, and what to do when it does not.
import { EventEmitter } from 'node:events'
import { Redis } from 'ioredis'
import { type BrokerListener, type Channel, Unavailable } from '../broker.ts'
import { connectionOptions, type Log } from './commands.ts'
import { explain } from './diagnosis.ts'
import { Gathering } from './gathering.ts'
import { Wire } from './wire.ts'

/** Channels in one SUBSCRIBE: larger ones keep Redis busy for long, smaller ones cost round trips. */
const BATCH = 500
/** Ticks (seconds) without a sound after which the line is taken for deaf. Counted, not timed: a busy process is not a deaf one. */
const DEAF_TICKS = 3
/** Ticks that a connection has to come up before another one is tried. */
const CONNECT_TICKS = 5
/** The longest pause after Redis has refused a subscription; it doubles from one second on. */
const MAX_PAUSE_TICKS = 8

export interface SubscriberOptions {
  readonly url: string
  readonly prefix: string
  readonly nodeName: string
  readonly maxDataBytes: number
  readonly log: Log
}

/**
 * A half-open line says nothing, and a client library that subscribed again proves nothing. So the node publishes to a channel of
 * its own (the canary) and must hear it here: only then is the connection up, and when it falls silent it is built anew.
 * `subscribed`: the canary may be published to.
 */
export class RedisSubscriber extends EventEmitter<{ subscribed: [] }> {
  readonly #redis: Redis
  readonly #prefix: string
  readonly #canary: Channel
  readonly #wire: Wire
  readonly #log: Log
  /** What is subscribed, or will be as soon as there is a connection. */
  readonly #wanted = new Set<Channel>()
  /** What is asked for in one turn, or while an answer is awaited, is asked together. */
  readonly #asking = new Gathering<readonly Channel[], void>(async (asked) => {
    await this.#send(asked.flat())
    return asked.map(() => undefined)
  }, { maxQuestions: Infinity, maxCalls: 1 })

  #listener: BrokerListener | undefined
  #up = false
  #wasUp = false
  #silentTicks = 0
  /** Why Redis does not let us subscribe, and for how long we do not ask again. */
  #refusal = ''
  #told = ''
  #pauseTicks = 0
  #restTicks = 0
  #deafSinceMs: number | undefined = performance.now()
  #deafMs = 0

  constructor ({ url, prefix, nodeName, maxDataBytes, log }: SubscriberOptions) {
    super()
    this.#redis = new Redis(url, { ...connectionOptions(nodeName), autoResubscribe: false })
    this.#prefix = `${prefix}:`
    this.#canary = `node:${nodeName}`
    this.#wire = new Wire(maxDataBytes)
    this.#log = log
  }

  /** What the other connection must publish to once a second. */
  get canaryChannel (): string {
    return this.#prefix + this.#canary
  }

  /** What the library's messages bear from now on. */
  expect (nonce: string): void {
    this.#wire.expect(nonce)
  }

  /** Another library is there. What it has said before we knew of it was dropped: the live streams must be refilled then. */
  meet (nonce: string): void {
    this.#wire.expect(nonce)
    if (this.#wire.hasHeardStranger) this.startOver()
    this.#wire.hasHeardStranger = false
  }

  start (listener: BrokerListener): void {
    this.#listener = listener
    this.#redis.on('message', (channel: string, payload: string) => { this.#hear(channel.slice(this.#prefix.length), payload) })
    this.#redis.on('ready', () => { void this.#resubscribe() })
    this.#redis.on('close', () => { this.#interrupt('its connection closed') })
    this.#redis.on('error', () => {}) // the command connection tells the same story
    this.#redis.connect().catch(() => {})
  }

  /** Once a second. */
  tick (): void {
    if (this.#refusal !== '') {
      // The line stands, and Redis has said no: to ask at once would get the same answer.
      if (--this.#restTicks <= 0 && this.#redis.status === 'ready') void this.#resubscribe()
      return
    }
    this.#silentTicks++
    if (this.#silentTicks > (this.#up ? DEAF_TICKS : CONNECT_TICKS)) {
      this.#interrupt(`nothing was heard for ${this.#silentTicks} seconds`)
      this.#silentTicks = 0
      this.#redis.disconnect(true)
    }
  }

  #hear (channel: Channel, payload: string): void {
    this.#silentTicks = 0
    if (channel === this.#canary) {
      this.#prove()
      return
    }
    const incoming = this.#wire.read(payload)
    if ('notification' in incoming) this.#listener?.notification(channel, incoming.notification)
    else if ('dropped' in incoming) this.#listener?.dropped(channel, incoming.dropped)
    else if (channel.startsWith('user:')) this.#listener?.control(channel.slice(5), incoming.control)
  }

  // All channels were subscribed before the canary was, so whoever hears it hears them.
  #prove (): void {
    if (this.#up) return
    this.#up = true
    this.#refusal = this.#told = ''
    this.#pauseTicks = 0
    this.#deafMs += performance.now() - (this.#deafSinceMs ?? performance.now())
    this.#deafSinceMs = undefined
    if (this.#wasUp) {
      this.#log.info('Redis: heard again on all channels; live streams are refilled')
      this.#listener?.restored(() => true)
    }
    this.#wasUp = true
  }

  /** Has the live streams refilled although the line stood. */
  startOver (): void {
    if (!this.#up) return // they will be, when it is there again
    this.#listener?.interrupted(() => true)
    this.#listener?.restored(() => true)
  }

  #interrupt (why: string): void {
    if (!this.#up) return
    this.#up = false
    this.#deafSinceMs = performance.now()
    this.#log.warn(`Redis: the subscriber is deaf, ${why}; streams stay open, a new connection is built`)
    this.#listener?.interrupted(() => true)
  }

  async #resubscribe (): Promise<void> {
    try {
      await this.#send([...this.#wanted])
      await this.#send([this.#canary])
      this.#refusal = ''
      this.#silentTicks = 0
      this.emit('subscribed')
    } catch (error) {
      // The line broke again: a new connection starts over.
      if (this.#redis.status !== 'ready' || !isRefusal.test((error as Error).message)) this.#redis.disconnect(true)
      else this.refused(error as Error)
    }
  }

  /** Redis does not let us use our channels. */
  refused ({ message }: Error): void {
    const refusal = explain(message)
    // The words of Redis that stand behind differ with the command.
    const sentence = refusal.replace(/ \[.*$/, '')
    if (sentence !== this.#told) this.#log.warn(`Redis: cannot subscribe, ${refusal}; asking again, with pauses`)
    this.#refusal = refusal
    this.#told = sentence
    this.#pauseTicks = Math.min(MAX_PAUSE_TICKS, Math.max(1, this.#pauseTicks * 2))
    this.#restTicks = this.#pauseTicks
  }

  async #send (channels: readonly Channel[]): Promise<void> {
    const sent = []
    for (let i = 0; i < channels.length; i += BATCH) {
      sent.push(this.#redis.subscribe(...channels.slice(i, i + BATCH).map((channel) => this.#prefix + channel)))
    }
    await Promise.all(sent)
  }

  async subscribe (channels: readonly Channel[]): Promise<void> {
    if (!this.#up) throw new Unavailable(this.fault)
    for (const channel of channels) this.#wanted.add(channel)
    try {
      await this.#asking.ask(channels)
    } catch (error) {
      for (const channel of channels) this.#wanted.delete(channel)
      throw new Unavailable(explain((error as Error).message))
    }
  }

  unsubscribe (channels: readonly Channel[]): void {
    for (const channel of channels) this.#wanted.delete(channel)
    // Also while the line is not proved yet: it may just be subscribing them again. Without a line the refusal means nothing.
    for (let i = 0; i < channels.length; i += BATCH) {
      this.#redis.unsubscribe(...channels.slice(i, i + BATCH).map((channel) => this.#prefix + channel)).catch(() => {})
    }
  }

  /** Why nothing is heard; empty if it is. */
  get fault (): string {
    if (this.#up) return ''
    return this.#refusal === '' ? 'the subscriber connection is not there' : `cannot subscribe: ${this.#refusal}`
  }

  get channels (): number { return this.#wanted.size }

  get deafSeconds (): number {
    const nowDeafMs = this.#deafSinceMs === undefined ? 0 : performance.now() - this.#deafSinceMs
    return (this.#deafMs + nowDeafMs) / 1000
  }

  close (): void {
    this.#up = false
    this.#redis.removeAllListeners('close')
    this.#redis.disconnect()
  }
}

const isRefusal = /^(NOPERM|NOAUTH|WRONGPASS|ERR|OOM)/
