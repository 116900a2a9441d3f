// The channels of one prefix that a node wants: subscribes them in batches, and checks that they stay subscribed, since
// a Cluster may take subscriptions away.
import type { Channel } from '../broker.ts'
import { Gathering } from './gathering.ts'

/** Within this many ticks (seconds) each channel is checked once, even if Redis reported nothing. */
const ROUND_TICKS = 30

export interface HeldOptions {
  readonly subscribe: (channels: readonly Channel[]) => Promise<void>
  readonly isSubscribed: (channel: Channel) => boolean
}

export class Held {
  readonly #options: HeldOptions
  readonly #channels = new Set<Channel>()
  /** Those whose SUBSCRIBE has no answer yet. */
  readonly #asked = new Set<Channel>()
  /** Channels that are wanted in one turn, or while an answer is awaited, share one SUBSCRIBE. */
  readonly #asking = new Gathering<readonly Channel[], void>(async (asked) => {
    // A channel that was given up while it waited is left out: its UNSUBSCRIBE was sent already, so it would stay
    // subscribed.
    await this.#options.subscribe(asked.flat().filter((channel) => this.#channels.has(channel)))
    return asked.map(() => undefined)
  }, { maxQuestions: Infinity, maxCalls: 1 })

  #round: Iterator<Channel> | undefined

  constructor (options: HeldOptions) {
    this.#options = options
  }

  get size (): number { return this.#channels.size }
  all (): Channel[] { return [...this.#channels] }

  /** Subscribes channels. Resolves with true if all of them that are still wanted are subscribed. */
  async take (channels: readonly Channel[]): Promise<boolean> {
    for (const channel of channels) {
      this.#channels.add(channel)
      this.#asked.add(channel)
    }
    await this.#asking.ask(channels).finally(() => { for (const channel of channels) this.#asked.delete(channel) })
    return channels.every((channel) => !this.#channels.has(channel) || this.#options.isSubscribed(channel))
  }

  giveUp (channels: readonly Channel[]): void {
    for (const channel of channels) this.#channels.delete(channel)
  }

  /** Whether any wanted channel is not subscribed. */
  isLacking (): boolean {
    for (const channel of this.#channels) if (this.#isMissing(channel)) return true
    return false
  }

  /** The same, for the next few channels. Called once a second. */
  isNextLacking (): boolean {
    for (let count = Math.ceil(this.#channels.size / ROUND_TICKS); count > 0; count--) {
      this.#round ??= this.#channels.values()
      const { value, done } = this.#round.next()
      if (done === true) {
        this.#round = undefined
        return false
      }
      if (this.#isMissing(value)) return true
    }
    return false
  }

  #isMissing (channel: Channel): boolean {
    return !this.#asked.has(channel) && !this.#options.isSubscribed(channel)
  }
}
