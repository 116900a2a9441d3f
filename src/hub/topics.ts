// Which streams of this node belong to which address, and whether its channel is subscribed.
import type { Broker } from '../broker/broker.ts'
import type { Address } from '../notification.ts'
import type { Stream } from './stream.ts'

/** A reload of a page leaves and comes back within this; the channel stays subscribed meanwhile. */
const LINGER_MS = 5000

export class Topic {
  readonly address: Address
  readonly streams = new Set<Stream>()
  /** Settles when the channel is subscribed; undefined once it is. */
  subscribing: Promise<void> | undefined
  /** When its last stream left. */
  idleSinceMs = 0

  constructor (address: Address) {
    this.address = address
  }
}

export class Topics {
  readonly #broker: Broker
  readonly #topics = new Map<Address, Topic>()
  #idle = new Set<Topic>()
  #asked: Topic[] = []
  #answer: Promise<void> | undefined
  /** The call that is being answered. */
  #underWay: Promise<void> | undefined
  /** Settles when the broker's line, broken now, is heard again. */
  #restoration: PromiseWithResolvers<void> | undefined

  constructor (broker: Broker) {
    this.#broker = broker
  }

  get size (): number {
    return this.#topics.size
  }

  get (address: Address): Topic | undefined {
    return this.#topics.get(address)
  }

  add (stream: Stream, address: Address): void {
    let topic = this.#topics.get(address)
    if (topic === undefined) {
      this.#topics.set(address, topic = new Topic(address))
      this.#subscribe(topic)
    }
    if (topic.streams.has(stream)) return
    topic.streams.add(stream)
    this.#idle.delete(topic)
    stream.topics.push(topic)
  }

  /** False: it was not in it. */
  remove (stream: Stream, address: Address): boolean {
    const at = stream.topics.findIndex((topic) => topic.address === address)
    if (at === -1) return false
    const [topic] = stream.topics.splice(at, 1)
    this.#leave(stream, topic!)
    return true
  }

  removeAll (stream: Stream): void {
    for (const topic of stream.topics.splice(0)) this.#leave(stream, topic)
  }

  #leave (stream: Stream, topic: Topic): void {
    topic.streams.delete(stream)
    if (topic.streams.size > 0) return
    topic.idleSinceMs = Date.now()
    this.#idle.add(topic)
  }

  /** Resolves once every channel of the stream is subscribed and heard; throws Unavailable. */
  async subscribed (stream: Stream): Promise<void> {
    for (const topic of [...stream.topics]) if (topic.subscribing !== undefined) await topic.subscribing
    while (this.#restoration !== undefined) await this.#restoration.promise
  }

  /** The broker's line broke: what was subscribed is not heard, until `restored`. */
  interrupted (): void {
    this.#restoration ??= Promise.withResolvers()
  }

  restored (): void {
    this.#restoration?.resolve()
    this.#restoration = undefined
  }

  #subscribe (topic: Topic): void {
    this.#asked.push(topic)
    this.#answer ??= this.#askLater()
    this.#answer.catch(() => {}) // heard by the streams that wait, if any still do
    topic.subscribing = this.#answer
  }

  // All that is asked for in one turn of the event loop, or while a call is under way, is one call.
  async #askLater (): Promise<void> {
    await new Promise<void>((resolve) => { setImmediate(resolve) })
    await this.#underWay?.catch(() => {})
    const asked = this.#asked
    this.#asked = []
    this.#answer = undefined
    this.#underWay = this.#ask(asked)
    await this.#underWay
  }

  async #ask (asked: readonly Topic[]): Promise<void> {
    try {
      await this.#broker.subscribe(asked.map(({ address }) => address))
      for (const topic of asked) topic.subscribing = undefined
    } catch (error) {
      // Whoever needs the address next asks anew; the streams that wait for it now hear the error.
      for (const topic of asked) {
        this.#topics.delete(topic.address)
        this.#idle.delete(topic)
        for (const stream of topic.streams) stream.topics.splice(stream.topics.indexOf(topic), 1)
      }
      throw error
    }
  }

  /** Unsubscribes what nobody has wanted for a while. */
  sweep (nowMs: number): void {
    const gone: Address[] = []
    for (const topic of this.#idle) {
      if (nowMs - topic.idleSinceMs < LINGER_MS || topic.subscribing !== undefined) continue
      this.#idle.delete(topic)
      this.#topics.delete(topic.address)
      gone.push(topic.address)
    }
    if (gone.length > 0) this.#broker.unsubscribe(gone)
  }
}
