// Redis refuses our subscriptions: logs each reason once, and retries with growing pauses.
import { explain } from './diagnosis.ts'
import type { Ear } from './ear.ts'
import type { Log } from './links.ts'

/** The longest pause in ticks (seconds). Pauses start at one and double. */
const MAX_PAUSE_TICKS = 4
/** How long an answer may take. */
const ANSWER_TICKS = 4

const REFUSED = /^(NOPERM|NOAUTH|WRONGPASS|ERR|OOM)/

export class Refusal {
  /** Empty if there is no refusal. */
  #reason = ''
  #logged = ''
  #pauseTicks = 0
  #restTicks = 0

  /** Whether an error is a refusal by Redis, so that the connection is not to blame. */
  static is ({ message }: Error): boolean {
    return REFUSED.test(message)
  }

  get reason (): string { return this.#reason }
  get stands (): boolean { return this.#reason !== '' }

  begin ({ message }: Error, log: Pick<Log, 'warn'>): void {
    this.#reason = explain(message)
    this.#pauseTicks = Math.min(MAX_PAUSE_TICKS, Math.max(1, this.#pauseTicks * 2))
    this.#restTicks = this.#pauseTicks
    // Redis's own words in brackets differ with the command, so they are not compared.
    const sentence = this.#reason.replace(/ \[.*$/, '')
    if (sentence !== this.#logged) log.warn(`Redis: cannot subscribe, ${this.#reason}; asking again, with pauses`)
    this.#logged = sentence
  }

  /** Called once a second during a refusal. `ask` sends the subscriptions again. */
  tick (ear: Pick<Ear, 'isConnected' | 'reconnect'> | undefined, ask: () => void): void {
    // Prefixes share the ear, which opens another connection by itself.
    if (ear?.isConnected !== true) return
    this.#restTicks--
    if (this.#restTicks === 0) ask()
    if (this.#restTicks > -ANSWER_TICKS) return
    // Nobody answered. The ear does not see that: it counts no silence on a connection that refuses.
    this.#restTicks = 0
    ear.reconnect()
  }

  /** Redis has accepted the subscriptions. */
  end (): void {
    this.#reason = ''
  }

  /** Messages arrive again, so the next refusal is logged and starts with a short pause. */
  forget (): void {
    this.#reason = this.#logged = ''
    this.#pauseTicks = 0
  }
}
