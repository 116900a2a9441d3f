// The channels of this node: which streams listen to each, whether it is subscribed, and whether its messages arrive.
import type { Channel as Name, Messages } from '../broker/broker.ts'
import type { Stream } from './stream.ts'

/**
 * How long a channel without streams stays subscribed, so that a page reload does not unsubscribe and subscribe again.
 */
const LINGER_MS = 5000

export class Channel {
  readonly name: Name
  readonly streams = new Set<Stream>()
  /** Settles when the subscription does; undefined once the channel is subscribed. */
  subscribing: Promise<void> | undefined
  /** True while the channel is subscribed but its messages do not arrive, because the broker's line broke. */
  isInterrupted = false
  /** When its last stream left, in monotonic milliseconds. */
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
  /** Resolves when the broker's line is restored. */
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

  /** Returns false if the stream was not in the channel. */
  remove (stream: Stream, name: Name): boolean {
    const at = stream.channels.findIndex((channel) => channel.name === name)
    if (at === -1) return false
    const [channel] = stream.channels.splice(at, 1)
    this.#leave(stream, channel!)
    return true
  }

  /** Adds and removes channels so that the stream has exactly these. Returns how many were added. */
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

  /** Resolves once every channel of the stream is subscribed and its messages arrive. Rejects with Unavailable. */
  async subscribed (stream: Stream): Promise<void> {
    for (const { subscribing } of [...stream.channels]) if (subscribing !== undefined) await subscribing
    while (this.areInterrupted(stream)) await this.#restoration.promise
  }

  /** Whether messages of a channel of the stream do not arrive until `restored`. */
  areInterrupted (stream: Stream): boolean {
    return stream.channels.some(({ isInterrupted }) => isInterrupted)
  }

  /** The broker's line broke: messages of these channels do not arrive until `restored`. */
  interrupted (isAffected: (name: Name) => boolean): void {
    for (const channel of this.#channels.values()) if (isAffected(channel.name)) channel.isInterrupted = true
  }

  restored (isAffected: (name: Name) => boolean): void {
    for (const channel of this.#channels.values()) if (isAffected(channel.name)) channel.isInterrupted = false
    const { resolve } = this.#restoration
    this.#restoration = Promise.withResolvers()
    resolve()
  }

  // One call for each channel: the broker combines the calls of one turn of the event loop.
  #subscribe (channel: Channel): void {
    channel.subscribing = this.#broker.subscribe([channel.name]).then(() => { channel.subscribing = undefined }, (error) => {
      // The next stream that needs the channel subscribes again. Streams that wait now get the error.
      this.#forget(channel)
      throw error
    })
    channel.subscribing.catch(() => {}) // waiting streams handle it; without any it must not be an unhandled rejection
  }

  #forget (channel: Channel): void {
    this.#channels.delete(channel.name)
    this.#idle.delete(channel)
    for (const { channels } of channel.streams) channels.splice(channels.indexOf(channel), 1)
  }

  /** Unsubscribes channels that have had no stream for a while. */
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

/** Turns a predicate on channels into one on streams: true if it affects any channel of the stream. */
export function hits (isAffected: (channel: Name) => boolean): (stream: Stream) => boolean {
  return ({ channels }) => channels.some(({ name }) => isAffected(name))
}
