// Hearing what stands under one prefix: which channels this node wants, proof that it hears them, and what to do when
// it does not.
import { EventEmitter } from 'node:events'
import { type Channel, Unavailable } from '../broker.ts'
import type { BrokerListener } from '../listener.ts'
import { Deafness } from './deafness.ts'
import { explain } from './diagnosis.ts'
import { DEAF_TICKS, type Ear, type Hearer } from './ear.ts'
import { Held } from './held.ts'
import type { Links, Log } from './links.ts'
import { Refusal } from './refusal.ts'
import { Wire } from './wire.ts'

const TAKEN = 'some subscriptions of this node are gone'

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
  readonly #held = new Held({ subscribe: (channels) => this.#send(channels), isSubscribed: (channel) => this.#isSubscribed(channel) })
  #ear: Ear | undefined
  #listener: BrokerListener | undefined
  #up = false
  #wasUp = false
  readonly #heard = Promise.withResolvers<void>()
  #silentTicks = 0
  /** The master of this line has said that somebody else has the channels: the line works. */
  #wasSentAway = false
  readonly #refusal = new Refusal()
  #newestId = 0
  readonly #deafness = new Deafness()
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
  get canaryChannel (): string { return this.prefix + this.#canary }

  get isUp (): boolean { return this.#up }
  /** Of all notifications heard; 0: of none. */
  get newestId (): number { return this.#newestId }
  /** Resolves when the canary is heard for the first time. */
  get heard (): Promise<void> { return this.#heard.promise }
  get isRefused (): boolean { return this.#refusal.stands }

  /** What the library's messages bear from now on. */
  expect (nonce: string): void { this.#wire.expect(nonce) }

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
    if (this.#up) this.#log.warn('Redis: a subscription of this node has moved to another master; streams stay open, it subscribes there')
    this.interrupt()
    // No UNSUBSCRIBE there: a Cluster takes away what leaves a master, and the answer to one that comes too late would
    // be taken for that of another command.
    this.#ear?.remove(this)
    this.#ear = ear
    ear?.add(this)
  }

  /** Once a second. */
  tick (): void {
    if (this.#refusal.stands) {
      // The line stands, and Redis has said no: to ask at once would get the same answer.
      if (this.#refusal.tick() && this.#ear?.isConnected === true) void this.#resubscribe()
      return
    }
    if (++this.#silentTicks > DEAF_TICKS) {
      // The line that hears others does not hear these channels. (Where it hears nobody it is built anew.)
      if (this.#wasSentAway || this.#ear?.isHearing === true) this.#again('a part of the channels fell silent')
    } else if (this.#up && this.#held.isNextLacking()) this.#again(TAKEN)
  }

  /** Redis has taken something away on this line, whose it ever was. */
  audit (): void {
    if (this.#up && this.#isLacking) this.#again(TAKEN)
  }

  get #isLacking (): boolean {
    return !this.#isSubscribed(this.#canary) || this.#held.isLacking()
  }

  #again (why: string): void {
    if (this.#up) this.#log.warn(`Redis: ${why}; streams stay open, it subscribes again`)
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

  // All channels were subscribed before the canary was, so whoever hears it hears them, unless they were taken away
  // since: a Cluster does so to a slot that is assigned, also to the master that has it.
  #prove (): void {
    if (this.#up) return
    if (this.#isLacking) {
      void this.#resubscribe()
      return
    }
    this.#up = true
    this.#refusal.forget()
    this.#deafness.end()
    if (this.#wasUp) {
      this.#log.info('Redis: heard again on all channels; live streams are refilled')
      this.#listener?.restored(() => true)
    }
    this.#wasUp = true
    this.#heard.resolve()
  }

  /** Has the live streams refilled although the line stood. `isLost`: the data went, and they are told. */
  startOver (isLost = false): void {
    if (this.#up || isLost) this.#listener?.interrupted(() => true, isLost)
    if (this.#up) this.#listener?.restored(() => true) // else they will be, when it is there again
  }

  interrupt (): void {
    if (!this.#up) return
    this.#up = false
    this.#deafness.begin()
    this.#listener?.interrupted(() => true)
  }

  connected (): void {
    void this.#resubscribe()
  }

  async #resubscribe (): Promise<void> {
    const ear = this.#ear
    if (ear === undefined) return
    try {
      for (const channels of [this.#held.all(), [this.#canary]]) {
        await this.#send(channels)
        if (ear !== this.#ear) return // it has moved meanwhile, and is subscribed there
      }
      this.#refusal.end()
      this.#wasSentAway = false
      this.#silentTicks = 0
      ear.rest()
      this.emit('subscribed')
    } catch (error) {
      if (ear !== this.#ear) return
      if (isMoved.test((error as Error).message)) {
        // Its slot is elsewhere, or will be in a moment.
        this.#wasSentAway = true
        this.#silentTicks = DEAF_TICKS
        await this.#links.look()
      } else if (!ear.isConnected || !Refusal.is(error as Error)) ear.reconnect() // the line broke again: a new connection starts over
      else this.refused(error as Error)
    }
  }

  /** Redis does not let us use our channels. */
  refused (error: Error): void {
    this.#refusal.begin(error, this.#log)
  }

  async #send (channels: readonly Channel[]): Promise<void> {
    if (this.#ear === undefined) throw new Error(this.fault)
    await this.#ear.subscribe(channels.map((channel) => this.prefix + channel))
  }

  #isSubscribed (channel: Channel): boolean {
    return this.#ear?.isSubscribed(this.prefix + channel) === true
  }

  async subscribe (channels: readonly Channel[]): Promise<void> {
    if (!this.#up) throw new Unavailable(this.fault)
    try {
      const isThere = await this.#held.take(channels)
      // While it is not up, all that is held is being subscribed anew, and told of when it is.
      if (!isThere && this.#up) throw new Error('a channel was taken away while it was subscribed')
    } catch (error) {
      // A part of them may have been taken.
      this.unsubscribe(channels)
      throw new Unavailable(explain((error as Error).message))
    }
  }

  unsubscribe (channels: readonly Channel[]): void {
    this.#held.giveUp(channels)
    // Also while the line is not proved yet: it may just be subscribing them again.
    this.#ear?.unsubscribe(channels.map((channel) => this.prefix + channel))
  }

  /** Why nothing is heard; empty if it is. */
  get fault (): string {
    if (this.#up) return ''
    return this.#refusal.stands ? `cannot subscribe: ${this.#refusal.reason}` : 'the subscriber connection is not there'
  }

  get channels (): number { return this.#held.size }
  get deafSeconds (): number { return this.#deafness.seconds }

  close (): void {
    this.#up = false
    this.#links.off('moved', this.#onMoved)
    this.#ear?.remove(this)
  }
}

const isMoved = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN)/
