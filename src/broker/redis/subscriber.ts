// Hearing what stands under one prefix: which channels this node wants, proof that it hears them, and what to do when
// it does not.
import { EventEmitter } from 'node:events'
import { type Channel, Unavailable } from '../broker.ts'
import type { BrokerListener } from '../listener.ts'
import { explain } from './diagnosis.ts'
import { DEAF_TICKS, type Ear, type Hearer } from './ear.ts'
import { Gathering } from './gathering.ts'
import type { Links, Log } from './links.ts'
import { Wire } from './wire.ts'

/** The longest pause after Redis has refused a subscription; it doubles from one second on. */
const MAX_PAUSE_TICKS = 8

export interface SubscriberOptions {
  readonly prefix: string
  readonly nodeName: string
  readonly maxDataBytes: number
  readonly log: Log
}

/**
 * A half-open line says nothing, and a client library that subscribed again proves nothing. So the node publishes to a
 * channel of its own (the canary) and must hear it here: only then is the connection up, and when it falls silent it is
 * built anew. `subscribed`: the canary may be published to.
 */
export class RedisSubscriber extends EventEmitter<{ subscribed: [] }> implements Hearer {
  readonly prefix: string
  readonly #links: Links
  readonly #canary: Channel
  readonly #wire: Wire
  readonly #log: Log
  /** What is subscribed, or will be as soon as there is a connection. */
  readonly #wanted = new Set<Channel>()
  /** What is asked for in one turn, or while an answer is awaited, is asked together. */
  readonly #asking = new Gathering<readonly Channel[], void>(async (asked) => {
    // What was given up while it waited would stay subscribed: its UNSUBSCRIBE has gone before.
    await this.#send(asked.flat().filter((channel) => this.#wanted.has(channel)))
    return asked.map(() => undefined)
  }, { maxQuestions: Infinity, maxCalls: 1 })

  #ear: Ear | undefined
  #listener: BrokerListener | undefined
  #up = false
  #wasUp = false
  readonly #heard = Promise.withResolvers<void>()
  #silentTicks = 0
  /** Why Redis does not let us subscribe, and for how long we do not ask again. */
  #refusal = ''
  #told = ''
  #pauseTicks = 0
  #restTicks = 0
  #newestId = 0
  #deafSinceMs: number | undefined = performance.now()
  #deafMs = 0
  readonly #onMoved = (): void => { this.#follow() }

  constructor ({ prefix, nodeName, maxDataBytes, log }: SubscriberOptions, links: Links) {
    super()
    this.prefix = `${prefix}:`
    this.#links = links
    this.#canary = `node:${nodeName}`
    this.#wire = new Wire(maxDataBytes)
    this.#log = log
  }

  /** What the other connection must publish to once a second. */
  get canaryChannel (): string {
    return this.prefix + this.#canary
  }

  get isUp (): boolean { return this.#up }
  /** Of all notifications heard; 0: of none. */
  get newestId (): number { return this.#newestId }
  /** Resolves when the canary is heard for the first time. */
  get heard (): Promise<void> { return this.#heard.promise }
  get isRefused (): boolean { return this.#refusal !== '' }

  /** What the library's messages bear from now on. */
  expect (nonce: string): void {
    this.#wire.expect(nonce)
  }

  /** Another library is there. What it said before we knew of it was dropped: then live streams must be refilled. */
  meet (nonce: string): void {
    this.#wire.expect(nonce)
    if (this.#wire.hasHeardStranger) this.startOver()
    this.#wire.hasHeardStranger = false
  }

  start (listener: BrokerListener): void {
    this.#listener = listener
    this.#links.on('moved', this.#onMoved)
    this.#follow()
  }

  /** Goes to where the prefix is now. */
  #follow (): void {
    const ear = this.#links.of(this.prefix)?.ear
    if (ear === this.#ear) return
    if (this.#up) this.#log.warn('Redis: what is heard here has moved to another master; streams stay open, its channels are subscribed there')
    this.interrupt()
    this.#ear?.remove(this)
    this.#ear?.unsubscribe([...this.#wanted, this.#canary].map((channel) => this.prefix + channel))
    this.#ear = ear
    ear?.add(this)
  }

  /** Once a second. */
  tick (): void {
    if (this.#refusal !== '') {
      // The line stands, and Redis has said no: to ask at once would get the same answer.
      if (--this.#restTicks <= 0 && this.#ear?.isConnected === true) void this.#resubscribe()
      return
    }
    // The line that hears others does not hear these channels. (Where it hears nobody it is built anew.)
    if (++this.#silentTicks <= DEAF_TICKS || this.#ear?.isHearing !== true) return
    if (this.#up) this.#log.warn('Redis: a part of the channels fell silent; streams stay open, it is subscribed again')
    this.interrupt()
    void this.#resubscribe()
  }

  hear (channel: Channel, payload: string): void {
    this.#silentTicks = 0
    if (channel === this.#canary) {
      this.#prove()
      return
    }
    const incoming = this.#wire.read(payload)
    if ('notification' in incoming) {
      if (incoming.notification.id > this.#newestId) this.#newestId = incoming.notification.id
      this.#listener?.notification(channel, incoming.notification)
    } else if ('dropped' in incoming) this.#listener?.dropped(channel, incoming.dropped)
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
    this.#heard.resolve()
  }

  /** Has the live streams refilled although the line stood. */
  startOver (): void {
    if (!this.#up) return // they will be, when it is there again
    this.#listener?.interrupted(() => true)
    this.#listener?.restored(() => true)
  }

  interrupt (): void {
    if (!this.#up) return
    this.#up = false
    this.#deafSinceMs = performance.now()
    this.#listener?.interrupted(() => true)
  }

  connected (): void {
    void this.#resubscribe()
  }

  async #resubscribe (): Promise<void> {
    const ear = this.#ear
    try {
      await this.#send([...this.#wanted])
      await this.#send([this.#canary])
      if (ear !== this.#ear) return // it has moved meanwhile, and is subscribed there
      this.#refusal = ''
      this.#silentTicks = 0
      ear?.rest()
      this.emit('subscribed')
    } catch (error) {
      if (ear !== this.#ear) return
      if (isMoved.test((error as Error).message)) {
        // Its slot is elsewhere, or will be in a moment.
        this.#silentTicks = DEAF_TICKS
        await this.#links.look()
      } else if (ear?.isConnected !== true || !isRefusal.test((error as Error).message)) ear?.reconnect() // the line broke again: a new connection starts over
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
    if (this.#ear === undefined) throw new Error(this.fault)
    await this.#ear.subscribe(channels.map((channel) => this.prefix + channel))
  }

  async subscribe (channels: readonly Channel[]): Promise<void> {
    if (!this.#up) throw new Unavailable(this.fault)
    for (const channel of channels) this.#wanted.add(channel)
    try {
      await this.#asking.ask(channels)
    } catch (error) {
      // A part of them may have been taken.
      this.unsubscribe(channels)
      throw new Unavailable(explain((error as Error).message))
    }
  }

  unsubscribe (channels: readonly Channel[]): void {
    for (const channel of channels) this.#wanted.delete(channel)
    // Also while the line is not proved yet: it may just be subscribing them again.
    this.#ear?.unsubscribe(channels.map((channel) => this.prefix + channel))
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
    this.#links.off('moved', this.#onMoved)
    this.#ear?.remove(this)
  }
}

const isMoved = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN)/
const isRefusal = /^(NOPERM|NOAUTH|WRONGPASS|ERR|OOM)/
