// Remembers logouts, and decides which tokens they revoke.
import { type Identity, Revoked } from '../broker.ts'
import { SECOND } from './clock.ts'
import { ExpiringMap } from './expiring-map.ts'

/** A logout is remembered at least this long, and longer if tokens with a longer life were seen. */
const MIN_MARK_SECONDS = 30 * 86_400

interface Logout {
  readonly id: number
  /** The newest `iat` that was seen by then. It catches tokens of an issuer whose clock runs ahead. */
  readonly newestIssuedAtSeconds: number
}

export class Revocation {
  readonly #logouts: ExpiringMap<Logout>
  readonly #nowMs: () => number
  #longestTokenSeconds = 0

  /** `nowMs`: since 1970, as in tokens; `steadyMs`: monotonic. */
  constructor (nowMs: () => number, steadyMs: () => number) {
    this.#nowMs = nowMs
    this.#logouts = new ExpiringMap(steadyMs)
  }

  /** The longest life of a token that was seen, in seconds. */
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
    if (this.isRevoked(user)) throw new Revoked()
  }

  /**
   * Publishers' tokens are not remembered, so one issued in the second of the logout may be older than it and is
   * refused. Throws Revoked.
   */
  checkPublisher (user: Identity): void {
    this.check(user)
    const logout = this.#logouts.get(user.userId)
    if (logout !== undefined && user.issuedAtSeconds <= secondOf(logout)) throw new Revoked()
  }

  /** A logout ends every stream that was admitted before it, whatever its token's `iat`. Throws Revoked. */
  checkStream (user: Identity, admittedAt: number): void {
    this.check(user)
    if (admittedAt < (this.#logouts.get(user.userId)?.id ?? 0)) throw new Revoked()
  }

  sweep (): void { this.#logouts.sweep() }
}

const secondOf = ({ id }: Logout): number => Math.floor(id / SECOND)
