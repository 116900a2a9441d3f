// Warnings about what works now but cannot be relied upon: eviction, scarce memory, clocks that differ. Each is logged
// once for as long as it holds. Also tells when the function library was loaded anew.
import type { Log } from './links.ts'
import type { ServerInfo } from './diagnosis.ts'

/** The share of maxmemory above which a warning is given. */
const MEMORY_WARNING = 0.9
/** Seconds by which the clocks may differ without a warning. */
const CLOCK_WARNING = 2

export class Warnings {
  readonly #log: Log
  #said: string[] = []
  #nonce = ''

  constructor (log: Log) {
    this.#log = log
  }

  get sentences (): readonly string[] { return this.#said }

  /** The loaded library has this nonce. */
  meet (nonce: string): void {
    if (this.#nonce !== '' && nonce !== this.#nonce) {
      this.#log.info('Redis: the functions were gone or older, and were loaded anew; notifications dropped meanwhile come from the logs')
    }
    this.#nonce = nonce
  }

  look ({ policy, maxMemory, usedMemory }: ServerInfo, clockDifferenceSeconds: number): void {
    const warnings: string[] = []
    if (maxMemory > 0 && canEvict(policy)) {
      warnings.push(`Redis evicts keys when it is full (maxmemory-policy ${policy}): history, groups and logouts may go; set noeviction`)
    }
    if (maxMemory > 0 && usedMemory / maxMemory > MEMORY_WARNING) {
      warnings.push('Redis has used more than 90 % of its maxmemory; full, it takes no publish; raise maxmemory, or keep less (HISTORY_LENGTH, HISTORY_SECONDS)')
    }
    const seconds = Math.abs(clockDifferenceSeconds)
    if (seconds > CLOCK_WARNING) {
      warnings.push(`this node's clock is ${seconds.toFixed(0)} seconds ${clockDifferenceSeconds > 0 ? 'ahead of' : 'behind'} Redis's; synchronise both`)
    }
    // A warning whose numbers changed is the same warning.
    const kindOf = (text: string): string => text.replace(/\d+/g, '')
    for (const text of warnings) {
      if (!this.#said.some((said) => kindOf(said) === kindOf(text))) this.#log.warn(`Redis: ${text}`)
    }
    this.#said = warnings
  }
}

export function canEvict (policy: string): boolean {
  return policy !== '' && policy !== 'noeviction'
}
