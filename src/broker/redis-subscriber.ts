// The connection that hears: which channels this node wants, and what to do when the line was cut.
import type { Redis } from 'ioredis'
import type { Address } from '../notification.ts'
import { type BrokerListener, Unavailable } from './broker.ts'
import { readPayload } from './wire.ts'

/** Channels in one SUBSCRIBE: larger ones keep Redis busy for long, smaller ones cost round trips. */
const BATCH = 500

export class RedisSubscriber {
  readonly #redis: Redis
  readonly #prefix: string
  readonly #maxDataBytes: number
  /** What is subscribed, or will be as soon as there is a connection. */
  readonly #wanted = new Set<Address>()
  #listener!: BrokerListener
  #up = false
  #heardBefore = false

  constructor (redis: Redis, { prefix, maxDataBytes }: { readonly prefix: string, readonly maxDataBytes: number }) {
    this.#redis = redis
    this.#prefix = `${prefix}:`
    this.#maxDataBytes = maxDataBytes
  }

  start (listener: BrokerListener): void {
    this.#listener = listener
    this.#redis.on('message', (channel: string, payload: string) => { this.#hear(channel.slice(this.#prefix.length), payload) })
    this.#redis.on('ready', () => { void this.#resubscribe() })
    this.#redis.on('close', () => { this.#interrupt() })
    this.#redis.on('error', () => {}) // the command connection tells the same story
    this.#redis.connect().catch(() => {})
  }

  #hear (address: Address, payload: string): void {
    const incoming = readPayload(payload, this.#maxDataBytes)
    if ('notification' in incoming) this.#listener.notification(address, incoming.notification)
    else if ('dropped' in incoming) this.#listener.dropped(address, incoming.dropped)
    else if (address.startsWith('user:')) this.#listener.control(address.slice(5), incoming.control)
  }

  #interrupt (): void {
    if (!this.#up) return
    this.#up = false
    this.#listener.interrupted()
  }

  async #resubscribe (): Promise<void> {
    try {
      await this.#send([...this.#wanted])
      this.#up = true
      if (this.#heardBefore) this.#listener.restored()
      this.#heardBefore = true
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
    if (!this.#up) return
    for (let i = 0; i < addresses.length; i += BATCH) {
      this.#redis.unsubscribe(...addresses.slice(i, i + BATCH).map((address) => this.#prefix + address)).catch(() => {})
    }
  }

  state (): { up: boolean, channels: number } {
    return { up: this.#up, channels: this.#wanted.size }
  }

  close (): void {
    this.#up = false
    this.#redis.disconnect()
  }
}
