// The connection that hears: which channels this node wants, proof that it hears them, and what to do when it does not.
import type { Redis } from 'ioredis'
import type { Address } from '../../notification.ts'
import { type BrokerListener, Unavailable } from '../broker.ts'
import { readPayload } from './wire.ts'

/** Channels in one SUBSCRIBE: larger ones keep Redis busy for long, smaller ones cost round trips. */
const BATCH = 500
/** Ticks (seconds) without a sound after which the line is taken for deaf. Counted, not timed: a busy process is not a deaf one. */
const DEAF_TICKS = 3
/** Ticks that a connection has to come up before another one is tried. */
const CONNECT_TICKS = 5

export interface SubscriberOptions {
  readonly prefix: string
  readonly nodeName: string
  readonly maxDataBytes: number
  readonly log: { info: (text: string) => void, warn: (text: string) => void }
}

/**
 * A half-open line says nothing, and a client library that subscribed again proves nothing. So the node publishes to a channel of
 * its own (the canary) and must hear it here: only then is the connection up, and when it falls silent it is built anew.
 */
export class RedisSubscriber {
  readonly #redis: Redis
  readonly #prefix: string
  readonly #canary: Address
  readonly #maxDataBytes: number
  readonly #log: SubscriberOptions['log']
  /** What is subscribed, or will be as soon as there is a connection. */
  readonly #wanted = new Set<Address>()
  #listener!: BrokerListener
  #sing!: () => void
  #up = false
  #wasUp = false
  #silentTicks = 0
  #deafSinceMs: number | undefined = Date.now()
  #deafMs = 0

  constructor (redis: Redis, { prefix, nodeName, maxDataBytes, log }: SubscriberOptions) {
    this.#redis = redis
    this.#prefix = `${prefix}:`
    this.#canary = `node:${nodeName}`
    this.#maxDataBytes = maxDataBytes
    this.#log = log
  }

  /** The channel that the other connection must publish to when `sing` is called. */
  get canaryChannel (): string {
    return this.#prefix + this.#canary
  }

  start (listener: BrokerListener, sing: () => void): void {
    this.#listener = listener
    this.#sing = sing
    this.#redis.on('message', (channel: string, payload: string) => { this.#hear(channel.slice(this.#prefix.length), payload) })
    this.#redis.on('ready', () => { void this.#resubscribe() })
    this.#redis.on('close', () => { this.#interrupt('its connection closed') })
    this.#redis.on('error', () => {}) // the command connection tells the same story
    this.#redis.connect().catch(() => {})
  }

  /** Once a second. */
  tick (): void {
    this.#silentTicks++
    if (this.#silentTicks > (this.#up ? DEAF_TICKS : CONNECT_TICKS)) {
      this.#interrupt(`nothing was heard for ${this.#silentTicks} seconds`)
      this.#silentTicks = 0
      this.#redis.disconnect(true)
    } else this.#sing()
  }

  #hear (address: Address, payload: string): void {
    this.#silentTicks = 0
    if (address === this.#canary) {
      this.#prove()
      return
    }
    const incoming = readPayload(payload, this.#maxDataBytes)
    if ('notification' in incoming) this.#listener.notification(address, incoming.notification)
    else if ('dropped' in incoming) this.#listener.dropped(address, incoming.dropped)
    else if (address.startsWith('user:')) this.#listener.control(address.slice(5), incoming.control)
  }

  // All channels were subscribed before the canary was, so whoever hears it hears them.
  #prove (): void {
    if (this.#up) return
    this.#up = true
    this.#deafMs += Date.now() - this.#deafSinceMs!
    this.#deafSinceMs = undefined
    if (this.#wasUp) {
      this.#log.info('Redis: heard again on all channels; live streams are refilled')
      this.#listener.restored(() => true)
    }
    this.#wasUp = true
  }

  /** Has the live streams refilled although the line stood. */
  startOver (): void {
    if (!this.#up) return // they will be, when it is there again
    this.#listener.interrupted(() => true)
    this.#listener.restored(() => true)
  }

  #interrupt (why: string): void {
    if (!this.#up) return
    this.#up = false
    this.#deafSinceMs = Date.now()
    this.#log.warn(`Redis: the subscriber is deaf, ${why}; streams stay open, a new connection is built`)
    this.#listener.interrupted(() => true)
  }

  async #resubscribe (): Promise<void> {
    try {
      await this.#send([...this.#wanted])
      await this.#send([this.#canary])
      this.#sing()
    } catch {
      // The line broke again, or Redis refuses: a new connection starts over.
      this.#redis.disconnect(true)
    }
  }

  async #send (addresses: readonly Address[]): Promise<void> {
    const sent = []
    for (let i = 0; i < addresses.length; i += BATCH) {
      sent.push(this.#redis.subscribe(...addresses.slice(i, i + BATCH).map((address) => this.#prefix + address)))
    }
    await Promise.all(sent)
  }

  async subscribe (addresses: readonly Address[]): Promise<void> {
    if (!this.#up) throw new Unavailable('the subscriber connection is not there')
    for (const address of addresses) this.#wanted.add(address)
    try {
      await this.#send(addresses)
    } catch (error) {
      for (const address of addresses) this.#wanted.delete(address)
      throw new Unavailable((error as Error).message)
    }
  }

  unsubscribe (addresses: readonly Address[]): void {
    for (const address of addresses) this.#wanted.delete(address)
    // Also while the line is not proved yet: it may just be subscribing them again. Without a line the refusal means nothing.
    for (let i = 0; i < addresses.length; i += BATCH) {
      this.#redis.unsubscribe(...addresses.slice(i, i + BATCH).map((address) => this.#prefix + address)).catch(() => {})
    }
  }

  state (): { up: boolean, channels: number, deafSeconds: number } {
    const nowDeafMs = this.#deafSinceMs === undefined ? 0 : Date.now() - this.#deafSinceMs
    return { up: this.#up, channels: this.#wanted.size, deafSeconds: (this.#deafMs + nowDeafMs) / 1000 }
  }

  close (): void {
    this.#up = false
    this.#redis.removeAllListeners('close')
    this.#redis.disconnect()
  }
}
