// The channels that somebody holds under one prefix: asked for together, and looked after, since what was subscribed
// may be taken away.
import type { Channel } from '../broker.ts'
import { Gathering } from './gathering.ts'

/** Ticks (seconds) in which each of them is looked at once, although nothing was told. */
const ROUND_TICKS = 30

export interface HeldOptions {
  readonly subscribe: (channels: readonly Channel[]) => Promise<void>
  readonly isSubscribed: (channel: Channel) => boolean
}

export class Held {
  readonly #options: HeldOptions
  readonly #channels = new Set<Channel>()
  /** Of these: asked for, and not answered yet. */
  readonly #asked = new Set<Channel>()
  /** What is asked for in one turn, or while an answer is awaited, is asked together. */
  readonly #asking = new Gathering<readonly Channel[], void>(async (asked) => {
    // What was given up while it waited would stay subscribed: its UNSUBSCRIBE has gone before.
    await this.#options.subscribe(asked.flat().filter((channel) => this.#channels.has(channel)))
    return asked.map(() => undefined)
  }, { maxQuestions: Infinity, maxCalls: 1 })

  #round: Iterator<Channel> | undefined

  constructor (options: HeldOptions) {
    this.#options = options
  }

  get size (): number { return this.#channels.size }
  all (): Channel[] { return [...this.#channels] }

  /** Resolves when they were asked for and answered; true: all that is held of them is subscribed. */
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

  /** Whether one of them is missing that should be there. */
  isLacking (): boolean {
    for (const channel of this.#channels) if (this.#isMissing(channel)) return true
    return false
  }

  /** The same of the next few. Once a second. */
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
