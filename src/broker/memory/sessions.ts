// Sessions and revocation of the embedded broker, and the map that forgets. The counterpart of the same parts of functions.lua.
import { type Control, type Identity, Revoked, type Session, type Visit, type Visitor } from '../broker.ts'

/** A map whose entries are gone after their time. */
export class ExpiringMap<Value> {
  readonly #entries = new Map<string, { readonly value: Value, readonly expiresAtMs: number }>()
  readonly #nowMs: () => number

  constructor (nowMs: () => number) {
    this.#nowMs = nowMs
  }

  get (key: string): Value | undefined {
    const entry = this.#entries.get(key)
    return entry !== undefined && entry.expiresAtMs > this.#nowMs() ? entry.value : undefined
  }

  set (key: string, value: Value, lifeMs: number): void {
    this.#entries.set(key, { value, expiresAtMs: this.#nowMs() + lifeMs })
  }

  delete (key: string): void {
    this.#entries.delete(key)
  }

  sweep (): void {
    const nowMs = this.#nowMs()
    for (const [key, { expiresAtMs }] of this.#entries) if (expiresAtMs <= nowMs) this.#entries.delete(key)
  }
}

export interface SessionParts {
  readonly nextId: () => number
  readonly sessions: ExpiringMap<{ readonly fence: number, readonly tag: string }>
  readonly sessionMs: number
  readonly tell: (userId: string, control: Control) => void
}

export class MemorySessions {
  readonly #parts: SessionParts
  /** User → id of the last logout. */
  readonly #logouts = new Map<string, number>()

  constructor (parts: SessionParts) {
    this.#parts = parts
  }

  sweep (): void {
    this.#parts.sessions.sweep()
  }

  #isRevoked ({ userId, issuedAtSeconds }: Identity): boolean {
    const logout = this.#logouts.get(userId)
    return logout !== undefined && issuedAtSeconds * 1_000_000 <= logout
  }

  /** Throws Revoked. */
  check (user: Identity): void {
    if (this.#isRevoked(user)) throw new Revoked()
  }

  visit (visitor: Visitor): Visit['verdict'] {
    if (this.#isRevoked(visitor)) return 'revoked'
    const fence = this.#parts.sessions.get(visitor.userId)?.fence ?? 0
    return typeof visitor.sessionCursor === 'number' && visitor.sessionCursor < fence ? 'replaced' : 'admitted'
  }

  logout (userId: string): void {
    const id = this.#parts.nextId()
    this.#logouts.set(userId, id)
    this.#parts.tell(userId, { control: 'logout', id })
  }

  take (userId: string, tag: string, cursor: number | 'fresh'): Session | undefined {
    const { nextId, sessions, sessionMs, tell } = this.#parts
    const takenAt = nextId()
    const known = sessions.get(userId)
    const resumes = cursor !== 'fresh' && cursor <= takenAt
    if (known !== undefined && resumes && cursor < known.fence) return undefined
    const fence = resumes ? known?.fence ?? cursor : takenAt
    sessions.set(userId, { fence, tag }, sessionMs)
    tell(userId, { control: 'takeover', id: takenAt, tag })
    return { tag, takenAt, fence }
  }

  verify (held: ReadonlyArray<{ readonly userId: string, readonly session: Session }>): string[] {
    const { sessions, sessionMs } = this.#parts
    const lost: string[] = []
    for (const { userId, session: { tag, fence } } of held) {
      const known = sessions.get(userId)
      if (known !== undefined && known.tag !== tag) lost.push(tag)
      else sessions.set(userId, { fence, tag }, sessionMs)
    }
    return lost
  }
}
