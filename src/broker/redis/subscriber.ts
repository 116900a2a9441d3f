// Receives the messages of one prefix: subscribes the channels that this node wants, proves that messages arrive, and
// repairs it when they do not.
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

const isMoved = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN)/
const TAKEN = 'some subscriptions of this node are gone'

export interface SubscriberOptions {
  readonly prefix: string
  readonly nodeName: string
  readonly maxDataBytes: number
  readonly log: Log
}

/**
 * A half-open connection reports no error, and that a client library subscribed again proves nothing. So the node
 * publishes to a channel of its own (the canary) once a second, and counts as up only if it hears that here. When the
 * canary falls silent, the connection is replaced. `subscribed`: the canary may be published now.
 */
export class RedisSubscriber extends EventEmitter<{ subscribed: [] }> implements Hearer {
  readonly prefix: string
  readonly #links: Links
  readonly #canary: Channel
  readonly #wire: Wire
  readonly #log: Log
  /** The channels that are subscribed, or will be as soon as there is a connection. */
  readonly #held = new Held({ subscribe: (channels) => this.#send(channels), isSubscribed: (channel) => this.#isSubscribed(channel) })
  #ear: Ear | undefined
  #listener: BrokerListener | undefined
  #up = false
  #wasUp = false
  readonly #heard = Promise.withResolvers<void>()
  #silentTicks = 0
  /** The master of this connection said that another one has the channels, so the connection works. */
  #wasSentAway = false
  readonly #refusal = new Refusal()
  #line = { newestId: 0 }
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

  /** The channel to which the command connection must publish once a second. */
  get canaryChannel (): string { return this.prefix + this.#canary }
  get isUp (): boolean { return this.#up }
  /** The newest id that was heard; 0 if there was none. Each connection has an object of its own. */
  get line (): { readonly newestId: number } { return this.#line }
  /** Resolves when the canary is heard for the first time. */
  get heard (): Promise<void> { return this.#heard.promise }
  get isRefused (): boolean { return this.#refusal.stands }

  /** The nonce that messages of the library carry from now on. If some were dropped, these come first: see `meet`. */
  expect (nonce: string): void { if (!this.#wire.hasHeardStranger) this.#wire.expect(nonce) }
  listenTo (runId: string): void { this.#wire.listenTo(runId) }

  /** Another library is loaded. Messages with its nonce were dropped until now, so live streams are filled again. */
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

  /** Switches to the connection to the Redis that has the prefix now. */
  #follow (): void {
    const ear = this.#links.of(this.prefix)?.ear
    if (ear === this.#ear) return
    if (this.#up) this.#log.warn('Redis: a subscription of this node has moved to another master; streams stay open, it subscribes there')
    this.interrupt()
    // No UNSUBSCRIBE to the old master: a Cluster takes it away, and a late answer would be taken for another's.
    this.#ear?.remove(this)
    this.#ear = ear
    ear?.add(this)
  }

  /** Called once a second. */
  tick (): void {
    if (this.#refusal.stands) {
      // The connection works but Redis refused, so asking again at once would get the same answer.
      this.#refusal.tick(this.#ear, () => { void this.#resubscribe() })
      return
    }
    if (++this.#silentTicks > DEAF_TICKS) {
      // The connection hears other prefixes but not this one. (One that hears nothing at all is replaced by the ear.)
      if (this.#wasSentAway || this.#ear?.isHearing === true) this.#again('a part of the channels fell silent')
    } else if (this.#up && this.#held.isNextLacking()) this.#again(TAKEN)
  }

  /** Redis took some subscription away on this connection; it may not be one of ours. */
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
      if (incoming.notification.id > this.#line.newestId) this.#line.newestId = incoming.notification.id
      this.#listener?.notification(channel, incoming.notification)
    } else if ('dropped' in incoming) this.#listener?.dropped(channel, incoming.dropped, incoming.isStranger)
    else if ('isElsewhere' in incoming) void this.#links.look() // the prefix may have moved
    else if (channel.startsWith('user:')) this.#listener?.control(channel.slice(5), incoming.control)
  }

  // All channels were subscribed before the canary, so hearing it proves them, unless some were taken away since: a
  // Cluster does that for a slot that is assigned, even to the master that has it.
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

  /** Has all live streams filled again although the line is fine. `isLost`: the data was lost, so they are told. */
  startOver (isLost = false): void {
    if (this.#up || isLost) this.#listener?.interrupted(() => true, isLost)
    if (this.#up) this.#listener?.restored(() => true) // otherwise this follows when the connection is up again
  }

  interrupt (): void {
    if (!this.#up) return
    this.#up = false
    this.#deafness.begin()
    this.#listener?.interrupted(() => true)
  }

  connected (): void {
    this.#line = { newestId: 0 } // what it hears may come from another process
    void this.#resubscribe()
  }

  async #resubscribe (): Promise<void> {
    const ear = this.#ear
    if (ear === undefined) return
    try {
      for (const channels of [this.#held.all(), [this.#canary]]) {
        await this.#send(channels)
        if (ear !== this.#ear) return // the prefix has moved meanwhile and is subscribed there
      }
      this.#refusal.end()
      this.#wasSentAway = false
      this.#silentTicks = 0
      ear.rest()
      this.emit('subscribed')
    } catch (error) {
      if (ear !== this.#ear) return
      if (isMoved.test((error as Error).message)) {
        // The slot is at another master, or soon will be.
        this.#wasSentAway = true
        this.#silentTicks = DEAF_TICKS
        await this.#links.look()
      } else if (!ear.isConnected || !Refusal.is(error as Error)) ear.reconnect() // it broke again; a new one starts over
      else this.refused(error as Error)
    }
  }

  /** Redis refuses our channels, to subscribe or to publish, so nothing proves that messages arrive. */
  refused (error: Error): void {
    this.interrupt()
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
      // While it is not up, all wanted channels are being subscribed again, which is reported when it is done.
      if (!isThere && this.#up) throw new Error('a channel was taken away while it was subscribed')
    } catch (error) {
      // Some of them may have been subscribed.
      this.unsubscribe(channels)
      throw new Unavailable(explain((error as Error).message))
    }
  }

  unsubscribe (channels: readonly Channel[]): void {
    this.#held.giveUp(channels)
    // Also while the connection is not proved yet, since it may be subscribing them again just now.
    this.#ear?.unsubscribe(channels.map((channel) => this.prefix + channel))
  }

  /** Why nothing is heard; empty if messages arrive. */
  get fault (): string {
    if (this.#up) return ''
    return this.#refusal.stands ? `cannot subscribe: ${this.#refusal.reason}` : `the subscriber connection is not there${this.#ear?.reason ?? ''}`
  }

  get channels (): number { return this.#held.size }
  get deafSeconds (): number { return this.#deafness.seconds }

  close (): void {
    this.#up = false
    this.#links.off('moved', this.#onMoved)
    this.#ear?.remove(this)
  }
}
