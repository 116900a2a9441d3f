// Redis does not let us use our channels: said once for each reason, and asked again with pauses that grow.
import { explain } from './diagnosis.ts'
import type { Log } from './links.ts'

/** The longest pause; it doubles from one second on. */
const MAX_PAUSE_TICKS = 8

const REFUSED = /^(NOPERM|NOAUTH|WRONGPASS|ERR|OOM)/

export class Refusal {
  /** Empty: there is none. */
  #reason = ''
  #told = ''
  #pauseTicks = 0
  #restTicks = 0

  /** Of an error: whether Redis refuses, and the line is not to blame. */
  static is ({ message }: Error): boolean {
    return REFUSED.test(message)
  }

  get reason (): string { return this.#reason }
  get stands (): boolean { return this.#reason !== '' }

  begin ({ message }: Error, log: Pick<Log, 'warn'>): void {
    this.#reason = explain(message)
    this.#pauseTicks = Math.min(MAX_PAUSE_TICKS, Math.max(1, this.#pauseTicks * 2))
    this.#restTicks = this.#pauseTicks
    // The words of Redis that stand behind differ with the command.
    const sentence = this.#reason.replace(/ \[.*$/, '')
    if (sentence !== this.#told) log.warn(`Redis: cannot subscribe, ${this.#reason}; asking again, with pauses`)
    this.#told = sentence
  }

  /** Once a second while it stands: whether it is time to ask again. */
  tick (): boolean {
    return --this.#restTicks <= 0
  }

  /** Redis has taken the subscriptions. */
  end (): void {
    this.#reason = ''
  }

  /** And they are heard: what comes next begins anew. */
  forget (): void {
    this.#reason = this.#told = ''
    this.#pauseTicks = 0
  }
}
