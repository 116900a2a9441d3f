// Logouts, and the tokens that they refuse.
import { type Identity, Revoked } from '../broker.ts'
import { SECOND } from './clock.ts'
import { ExpiringMap } from './expiring-map.ts'

/** A mark of a logout stays at least so long; longer if tokens that live longer were seen. */
const MIN_MARK_SECONDS = 30 * 86_400

interface Logout {
  readonly id: number
  /** Of the tokens that were seen until then. One from a clock that ran ahead is as old as these. */
  readonly newestIssuedAtSeconds: number
}

export class Revocation {
  readonly #logouts: ExpiringMap<Logout>
  readonly #nowMs: () => number
  #longestTokenSeconds = 0

  /** `nowMs`: since 1970, as in tokens; `steadyMs`: of a clock that never steps. */
  constructor (nowMs: () => number, steadyMs: () => number) {
    this.#nowMs = nowMs
    this.#logouts = new ExpiringMap(steadyMs)
  }

  /** How long the longest token lives that was seen, in seconds. */
  get longestTokenSeconds (): number { return this.#longestTokenSeconds }

  see ({ issuedAtSeconds, expiresAtSeconds }: Identity): void {
    const since = issuedAtSeconds > 0 ? issuedAtSeconds : this.#nowMs() / 1000
    this.#longestTokenSeconds = Math.max(this.#longestTokenSeconds, expiresAtSeconds - since)
  }

  logout (userId: string, logout: Logout): void {
    this.#logouts.set(userId, logout, Math.max(this.#longestTokenSeconds, MIN_MARK_SECONDS) * 1000)
  }

  isRevoked ({ userId, issuedAtSeconds }: Identity): boolean {
    const logout = this.#logouts.get(userId)
    return logout !== undefined && (issuedAtSeconds < secondOf(logout) || issuedAtSeconds <= logout.newestIssuedAtSeconds)
  }

  /** Throws Revoked. */
  check (user: Identity): void {
    if (this.isRevoked(user)) throw revoked()
  }

  /** Who publishes was never seen, so a token of the second of the logout may be older than it. Throws Revoked. */
  checkPublisher (user: Identity): void {
    this.check(user)
    const logout = this.#logouts.get(user.userId)
    if (logout !== undefined && user.issuedAtSeconds <= secondOf(logout)) throw revoked()
  }

  /** A stream ends by a logout after it was let in, whatever its token says of its age. Throws Revoked. */
  checkStream (user: Identity, admittedAt: number): void {
    this.check(user)
    if (admittedAt < (this.#logouts.get(user.userId)?.id ?? 0)) throw revoked()
  }

  sweep (): void { this.#logouts.sweep() }
}

const secondOf = ({ id }: Logout): number => Math.floor(id / SECOND)
const revoked = (): Revoked => new Revoked('The user has logged out since this token was issued; a new token is needed')
