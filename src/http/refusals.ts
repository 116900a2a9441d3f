// What was refused, by code: counted for the metrics, and told in the log once a minute for each code.
import type { ErrorCode } from '../errors.ts'

const MINUTE_MS = 60_000

/** Why a token is not taken. `claims`: one is missing, or is no such thing. `keys-unavailable`: nobody can tell. */
const TOKEN_REASONS = [
  'missing', 'malformed', 'algorithm', 'signature', 'unknown-key', 'issuer', 'audience', 'claims', 'not-yet', 'expired', 'revoked', 'keys-unavailable'
] as const
/** `unknown`: or too old. `spent`: it was used, and who comes now has not what its first use was given. */
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
  /** Each reason is there before it happens: what appears out of nothing, Prometheus does not count. */
  readonly tokens: Record<TokenReason, number> = zeros(TOKEN_REASONS)
  readonly tickets: Record<TicketReason, number> = zeros(TICKET_REASONS)
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

  /** `reason`: where the error has one. */
  count (code: ErrorCode, reason?: string): void {
    if (code === 'TIDINGS_BAD_TICKET' || reason === 'token-expired') this.tickets[(reason ?? 'unknown') as TicketReason]++
    else if (TOKEN_CODES[code] !== undefined) this.tokens[(reason ?? TOKEN_CODES[code]) as TokenReason]++
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

function zeros<Name extends string> (names: readonly Name[]): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>
}
