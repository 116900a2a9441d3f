// Which stream holds the one session of a user, and which cursors belong to replaced streams.
import type { Session } from '../broker.ts'
import type { Control } from '../listener.ts'
import { ExpiringMap } from './expiring-map.ts'

/** A session lives this long; each heartbeat of its stream renews it. */
const SESSION_MS = 86_400_000

export interface SessionParts {
  readonly steadyMs: () => number
  readonly nextId: () => number
  readonly tell: (userId: string, control: Control) => void
}

export class MemorySessions {
  readonly #parts: SessionParts
  readonly #sessions: ExpiringMap<{ readonly fence: number, readonly tag: string, readonly admittedAt: number | undefined }>

  constructor (parts: SessionParts) {
    this.#parts = parts
    this.#sessions = new ExpiringMap(parts.steadyMs)
  }

  isReplaced (userId: string, cursor: number | 'fresh' | undefined): boolean {
    return typeof cursor === 'number' && cursor < (this.#sessions.get(userId)?.fence ?? 0)
  }

  take (userId: string, tag: string, cursor: number | 'fresh', admittedAt: number): Session | undefined {
    const { nextId, tell } = this.#parts
    const takenAt = nextId()
    const holder = this.#sessions.get(userId)
    const resumes = cursor !== 'fresh' && cursor <= takenAt
    if (holder !== undefined && (resumes ? cursor < holder.fence : admittedAt < (holder.admittedAt ?? 0))) return undefined
    const fence = resumes ? holder?.fence ?? cursor : takenAt
    // Nobody asks for a reconnect, so a page that was admitted before it may still take the session.
    const keptAt = resumes ? holder?.admittedAt ?? admittedAt : admittedAt
    this.#sessions.set(userId, { fence, tag, admittedAt: keptAt }, SESSION_MS)
    tell(userId, { control: 'takeover', id: takenAt, tag })
    return { tag, takenAt, fence, isLowered: fence < keptAt }
  }

  /** The tags of sessions that were taken over. A session that was lost is restored. */
  verify (held: ReadonlyArray<{ readonly userId: string, readonly session: Session }>): string[] {
    const lost: string[] = []
    for (const { userId, session: { tag, fence } } of held) {
      const holder = this.#sessions.get(userId)
      if (holder !== undefined && holder.tag !== tag) lost.push(tag)
      else this.#sessions.set(userId, { fence, tag, admittedAt: holder?.admittedAt }, SESSION_MS)
    }
    return lost
  }

  sweep (): void { this.#sessions.sweep() }
}
