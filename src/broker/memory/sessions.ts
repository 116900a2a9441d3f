// Which stream holds the one session of a user, and from where on a cursor is that of a replaced one.
import type { Session } from '../broker.ts'
import type { Control } from '../listener.ts'
import { ExpiringMap } from './expiring-map.ts'

/** Renewed at every heartbeat of its stream. */
const SESSION_MS = 86_400_000

export interface SessionParts {
  readonly steadyMs: () => number
  readonly nextId: () => number
  readonly tell: (userId: string, control: Control) => void
}

export class MemorySessions {
  readonly #parts: SessionParts
  readonly #sessions: ExpiringMap<{ readonly fence: number, readonly tag: string }>

  constructor (parts: SessionParts) {
    this.#parts = parts
    this.#sessions = new ExpiringMap(parts.steadyMs)
  }

  isReplaced (userId: string, cursor: number | 'fresh' | undefined): boolean {
    return typeof cursor === 'number' && cursor < (this.#sessions.get(userId)?.fence ?? 0)
  }

  take (userId: string, tag: string, cursor: number | 'fresh'): Session | undefined {
    const { nextId, tell } = this.#parts
    const takenAt = nextId()
    const known = this.#sessions.get(userId)
    const resumes = cursor !== 'fresh' && cursor <= takenAt
    if (known !== undefined && resumes && cursor < known.fence) return undefined
    const fence = resumes ? known?.fence ?? cursor : takenAt
    this.#sessions.set(userId, { fence, tag }, SESSION_MS)
    tell(userId, { control: 'takeover', id: takenAt, tag })
    return { tag, takenAt, fence }
  }

  /** The tags of those that hold their session no more. One whose session was lost has it again. */
  verify (held: ReadonlyArray<{ readonly userId: string, readonly session: Session }>): string[] {
    const lost: string[] = []
    for (const { userId, session: { tag, fence } } of held) {
      const known = this.#sessions.get(userId)
      if (known !== undefined && known.tag !== tag) lost.push(tag)
      else this.#sessions.set(userId, { fence, tag }, SESSION_MS)
    }
    return lost
  }

  sweep (): void { this.#sessions.sweep() }
}
