// Logs each sentence at most once in a while, since Redis may give the same two or three reasons in turn, without end.
import type { Log } from './links.ts'

/** The most sentences that are remembered. */
const MOST = 100

export class Seldom {
  readonly #log: Pick<Log, 'warn'>
  readonly #pauseMs: number
  /** When each was logged, in monotonic milliseconds. */
  readonly #saidAtMs = new Map<string, number>()

  /** `pauseMs`: how long a sentence is not repeated. Default: until `forget`. */
  constructor (log: Pick<Log, 'warn'>, pauseMs = Infinity) {
    this.#log = log
    this.#pauseMs = pauseMs
  }

  warn (text: string): void {
    // Redis's own words in brackets differ with the command, so they are not compared.
    const sentence = text.replace(/ \[[^]*\]/, '')
    const nowMs = performance.now()
    if (nowMs - (this.#saidAtMs.get(sentence) ?? -Infinity) < this.#pauseMs) return
    if (this.#saidAtMs.size >= MOST) this.#saidAtMs.clear()
    this.#saidAtMs.set(sentence, nowMs)
    this.#log.warn(text)
  }

  forget (): void {
    this.#saidAtMs.clear()
  }
}
