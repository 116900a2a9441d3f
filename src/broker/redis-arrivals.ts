// Streams that open, at Redis: many who come in the same moment are asked about with one call, and share what they read.
import type { Notification } from '../notification.ts'
import { type Admission, type HistoryPage, type Membership, type ResumeQuery, VISIT_WINDOW_MS, type Visitor } from './broker.ts'
import { type Answer, Gathering } from './gathering.ts'

/** Data of one reply with histories, more or less. */
const REPLY_BYTES = 1_048_576
/** Of one call: a token may claim as many groups as a user may be in. */
const MAX_ARGUMENTS = 10_000

/** What functions.lua says of one who could not be answered. */
type Failed = ['error', why: string]
type ResumeReply = [position: string, gap: number, more: number, unread: number, membership: string[], places: number[]]
type AdmitReply = [verdict: Admission['verdict'], ...counts: number[]]

export interface ArrivalParts {
  /** Calls a function of functions.lua. */
  readonly call: (name: string, ...args: Array<string | number>) => Promise<unknown>
  /** Redis's error as one of the broker's. */
  readonly translate: (message: string) => Error
  /** Told of every position that Redis has answered. */
  readonly onPosition: (position: number) => void
}

export class RedisArrivals {
  readonly #parts: ArrivalParts
  readonly #resumes = new Gathering<ResumeQuery, HistoryPage>((queries) => this.#resume(queries))
  readonly #admissions = new Gathering<Visitor, Admission>((visitors) => this.#admit(visitors))

  constructor (parts: ArrivalParts) {
    this.#parts = parts
  }

  /** As Broker's. */
  resume (query: ResumeQuery): Promise<HistoryPage> {
    return this.#resumes.ask(query)
  }

  /** As Broker's. */
  admit (visitor: Visitor): Promise<Admission> {
    return this.#admissions.ask(visitor)
  }

  async #resume (queries: readonly ResumeQuery[]): Promise<Array<Answer<HistoryPage>>> {
    const { call, translate, onPosition } = this.#parts
    const args: Array<string | number> = [Math.min(...queries.map(({ maxBytes }) => maxBytes)), REPLY_BYTES]
    for (const { userId, claim: { issuedAtSeconds, groups }, cursor } of queries) {
      args.push(userId, issuedAtSeconds, cursor ?? '', groups.length, ...groups)
      if (args.length > MAX_ARGUMENTS) break // the rest with the next call
    }
    const [flat, ...replies] = await call('tidings_resume', ...args) as [string[], ...Array<ResumeReply | Failed>]
    const entries: Notification[] = []
    for (let i = 0; i < flat.length; i += 3) {
      // Stored as the publisher wrote it; one line is what a frame needs.
      const json = JSON.stringify(JSON.parse(flat[i + 2]!))
      entries.push({ id: Number(flat[i]), event: flat[i + 1]!, json })
    }
    return replies.map((reply) => {
      if (reply.length === 2) return translate(reply[1])
      const [position, gap, more, unread, membership, places] = reply
      onPosition(Number(position))
      return {
        position: Number(position),
        gap: gap === 1,
        more: more === 1,
        unread,
        membership: readMembership(membership),
        entries: places.map((place) => entries[place]!)
      }
    })
  }

  async #admit (visitors: readonly Visitor[]): Promise<Array<Answer<Admission>>> {
    const { call, translate } = this.#parts
    const args = visitors.flatMap(({ userId, issuedAtSeconds, sessionCursor = '', counters = [] }) =>
      [userId, issuedAtSeconds, sessionCursor, counters.length, ...counters])
    const replies = await call('tidings_admit', VISIT_WINDOW_MS, ...args) as Array<AdmitReply | Failed>
    return replies.map((reply) => {
      const [verdict, ...counts] = reply
      return verdict === 'error' ? translate(reply[1] as string) : { verdict, counts: counts as number[] }
    })
  }
}

/** From group, id, group, id… */
export function readMembership (flat: ReadonlyArray<string | number>): Membership {
  const membership: Membership = new Map()
  for (let i = 0; i < flat.length; i += 2) membership.set(String(flat[i]), Number(flat[i + 1]))
  return membership
}
