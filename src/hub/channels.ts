// Which streams of this node belong to which channel, and whether it is subscribed and heard.
import type { Channel as Name, Messages } from '../broker/broker.ts'
import type { Stream } from './stream.ts'

/** A reload of a page leaves and comes back within this; the channel stays subscribed meanwhile. */
const LINGER_MS = 5000

export class Channel {
  readonly name: Name
  readonly streams = new Set<Stream>()
  /** Settles when it is subscribed; undefined once it is. */
  subscribing: Promise<void> | undefined
  /** Subscribed, but not heard: the broker's line broke. */
  isInterrupted = false
  /** When its last stream left, by a clock that never steps. */
  idleSinceMs = 0

  constructor (name: Name) {
    this.name = name
  }
}

export class Channels {
  readonly #broker: Pick<Messages, 'subscribe' | 'unsubscribe'>
  readonly #nowMs: () => number
  readonly #channels = new Map<Name, Channel>()
  readonly #idle = new Set<Channel>()
  /** Resolves when channels are heard again. */
  #restoration = Promise.withResolvers<void>()

  constructor (broker: Pick<Messages, 'subscribe' | 'unsubscribe'>, nowMs: () => number) {
    this.#broker = broker
    this.#nowMs = nowMs
  }

  get size (): number {
    return this.#channels.size
  }

  get (name: Name): Channel | undefined {
    return this.#channels.get(name)
  }

  add (stream: Stream, name: Name): void {
    let channel = this.#channels.get(name)
    if (channel === undefined) {
      this.#channels.set(name, channel = new Channel(name))
      this.#subscribe(channel)
    }
    if (channel.streams.has(stream)) return
    channel.streams.add(stream)
    this.#idle.delete(channel)
    stream.channels.push(channel)
  }

  /** False: it was not in it. */
  remove (stream: Stream, name: Name): boolean {
    const at = stream.channels.findIndex((channel) => channel.name === name)
    if (at === -1) return false
    const [channel] = stream.channels.splice(at, 1)
    this.#leave(stream, channel!)
    return true
  }

  /** Makes the stream's channels those that it should have. Returns how many are new. */
  follow (stream: Stream, names: Iterable<Name>): number {
    const wanted = new Set(names)
    for (const { name } of [...stream.channels]) if (!wanted.delete(name)) this.remove(stream, name)
    for (const name of wanted) this.add(stream, name)
    return wanted.size
  }

  removeAll (stream: Stream): void {
    for (const channel of stream.channels.splice(0)) this.#leave(stream, channel)
  }

  #leave (stream: Stream, channel: Channel): void {
    channel.streams.delete(stream)
    if (channel.streams.size > 0) return
    channel.idleSinceMs = this.#nowMs()
    this.#idle.add(channel)
  }

  /** Resolves once every channel of the stream is subscribed and heard; throws Unavailable. */
  async subscribed (stream: Stream): Promise<void> {
    for (const { subscribing } of [...stream.channels]) if (subscribing !== undefined) await subscribing
    while (stream.channels.some(({ isInterrupted }) => isInterrupted)) await this.#restoration.promise
  }

  /** The broker's line broke: these channels are not heard, until `restored`. */
  interrupted (isAffected: (name: Name) => boolean): void {
    for (const channel of this.#channels.values()) if (isAffected(channel.name)) channel.isInterrupted = true
  }

  restored (isAffected: (name: Name) => boolean): void {
    for (const channel of this.#channels.values()) if (isAffected(channel.name)) channel.isInterrupted = false
    const { resolve } = this.#restoration
    this.#restoration = Promise.withResolvers()
    resolve()
  }

  // One by one: what is asked in one turn of the event loop, the broker asks together.
  #subscribe (channel: Channel): void {
    channel.subscribing = this.#broker.subscribe([channel.name]).then(() => { channel.subscribing = undefined }, (error) => {
      // Whoever needs the channel next asks anew; the streams that wait for it now hear the error.
      this.#forget(channel)
      throw error
    })
    channel.subscribing.catch(() => {}) // heard by the streams that wait, if any still do
  }

  #forget (channel: Channel): void {
    this.#channels.delete(channel.name)
    this.#idle.delete(channel)
    for (const { channels } of channel.streams) channels.splice(channels.indexOf(channel), 1)
  }

  /** Unsubscribes what nobody has wanted for a while. */
  sweep (): void {
    const nowMs = this.#nowMs()
    const gone: Name[] = []
    for (const channel of this.#idle) {
      if (nowMs - channel.idleSinceMs < LINGER_MS || channel.subscribing !== undefined) continue
      this.#idle.delete(channel)
      this.#channels.delete(channel.name)
      gone.push(channel.name)
    }
    if (gone.length > 0) this.#broker.unsubscribe(gone)
  }
}

/** Whether something that affects channels affects a stream. */
export function hits (isAffected: (channel: Name) => boolean): (stream: Stream) => boolean {
  return ({ channels }) => channels.some(({ name }) => isAffected(name))
}
