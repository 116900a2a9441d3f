// What was refused, by code: counted for the metrics, and told in the log once a minute for each code.
import type { ErrorCode } from '../errors.ts'

const MINUTE_MS = 60_000

export class Refusals {
  readonly #log: { info: (data: object, text: string) => void }
  readonly #nowMs: () => number
  readonly #counts = new Map<ErrorCode, number>()
  /** When a code was logged last, and how often it came since. */
  readonly #told = new Map<ErrorCode, { atMs: number, since: number }>()

  constructor (log: { info: (data: object, text: string) => void }, nowMs = () => performance.now()) {
    this.#log = log
    this.#nowMs = nowMs
  }

  /**
   * Since the start. A stream that is told to come back later counts with the code that other routes would answer.
   */
  get counts (): Readonly<Partial<Record<ErrorCode, number>>> {
    return Object.fromEntries(this.#counts)
  }

  count (code: ErrorCode): void {
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1)
    const nowMs = this.#nowMs()
    const told = this.#told.get(code)
    if (told !== undefined && nowMs - told.atMs < MINUTE_MS) {
      told.since++
      return
    }
    this.#told.set(code, { atMs: nowMs, since: 0 })
    this.#log.info({ code, count: 1 + (told?.since ?? 0) }, 'refused; at most one line a minute for each code, with the count since the last')
  }
}
