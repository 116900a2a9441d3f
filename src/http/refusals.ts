// Counts refused requests by error code, for the metrics, and logs each code at most once a minute.
import type { ErrorCode } from '../errors.ts'

const MINUTE_MS = 60_000

/**
 * Why a token was refused. `claims`: one is missing or malformed. `keys-unavailable`: the key server cannot be reached.
 */
const TOKEN_REASONS = [
  'missing', 'malformed', 'algorithm', 'signature', 'unknown-key', 'issuer', 'audience', 'claims', 'not-yet', 'expired', 'revoked', 'keys-unavailable'
] as const
/**
 * Why a ticket was refused. `unknown`: it never existed, or has expired. `spent`: it was used, and the client lacks the
 * cookie that the first use set.
 */
const TICKET_REASONS = ['unknown', 'spent', 'token-expired'] as const

export type TokenReason = typeof TOKEN_REASONS[number]
export type TicketReason = typeof TICKET_REASONS[number]

const TOKEN_CODES: Readonly<Partial<Record<ErrorCode, TokenReason>>> = {
  TIDINGS_TOKEN_MISSING: 'missing',
  TIDINGS_TOKEN_INVALID: 'claims',
  TIDINGS_TOKEN_NOT_YET: 'not-yet',
  TIDINGS_TOKEN_EXPIRED: 'expired',
  TIDINGS_TOKEN_REVOKED: 'revoked',
  TIDINGS_KEYS_UNAVAILABLE: 'keys-unavailable'
}

export class Refusals {
  readonly #log: { info: (data: object, text: string) => void }
  readonly #nowMs: () => number
  readonly #counts = new Map<ErrorCode, number>()
  /** All reasons start at 0, because Prometheus does not count the first increase of a series that did not exist. */
  readonly tokens: Record<TokenReason, number> = zeros(TOKEN_REASONS)
  readonly tickets: Record<TicketReason, number> = zeros(TICKET_REASONS)
  /** When a code was last logged, and how often it was counted since. */
  readonly #lastLogged = new Map<ErrorCode, { atMs: number, since: number }>()

  constructor (log: { info: (data: object, text: string) => void }, nowMs = () => performance.now()) {
    this.#log = log
    this.#nowMs = nowMs
  }

  /**
   * Counts since the start of the node. A stream that is told to come back later counts with the code that other routes
   * would have answered.
   */
  get counts (): Readonly<Partial<Record<ErrorCode, number>>> {
    return Object.fromEntries(this.#counts)
  }

  /** `reason`: why a token or ticket was refused, if the error says so. */
  count (code: ErrorCode, reason?: string): void {
    if (code === 'TIDINGS_BAD_TICKET' || reason === 'token-expired') this.tickets[(reason ?? 'unknown') as TicketReason]++
    else if (TOKEN_CODES[code] !== undefined) this.tokens[(reason ?? TOKEN_CODES[code]) as TokenReason]++
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1)
    const nowMs = this.#nowMs()
    const last = this.#lastLogged.get(code)
    if (last !== undefined && nowMs - last.atMs < MINUTE_MS) {
      last.since++
      return
    }
    this.#lastLogged.set(code, { atMs: nowMs, since: 0 })
    this.#log.info({ code, count: 1 + (last?.since ?? 0) }, 'refused; at most one line a minute for each code, with the count since the last')
  }
}

function zeros<Name extends string> (names: readonly Name[]): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>
}
