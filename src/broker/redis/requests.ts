// What comes by the thousand, at Redis: publishes, visits and resumes of the same moment are one call each, and resumes share what they read.
import { type Address, eventFault, type Notification } from '../../notification.ts'
import {
  type HistoryPage, type Membership, type PublishAnswer, type PublishRequest, type ResumeQuery, type Visit, VISIT_WINDOW_MS, type Visitor
} from '../broker.ts'
import { type Answer, Gathering } from './gathering.ts'

/** What one call may read from the logs, more or less: it keeps everybody else from Redis meanwhile. */
const WORK_BYTES = 1_048_576
/** What an argument of a call, or writing to one address, counts beside its bytes. */
const ARGUMENT_WEIGHT = 100

/** What functions.lua says of one who could not be answered. */
type Failed = ['error', why: string]
type PublishReply = [replayed: 0 | 1, ...flat: Array<string | number>]
type ResumeReply = [position: string, gap: number, more: number, unread: number, membership: string[], places: number[]]
type VisitReply = [verdict: Visit['verdict'], ...counts: number[]]

export interface RequestParts {
  /** Calls a function of functions.lua. */
  readonly call: (name: string, ...args: Array<string | number>) => Promise<unknown>
  /** Redis's error as one of the broker's. */
  readonly translate: (message: string) => Error
  /** Told of every id and position that is new. */
  readonly onId: (id: number) => void
}

export class RedisRequests {
  readonly #parts: RequestParts
  // A token may claim as many groups as a user may be in.
  readonly #resumes = new Gathering<ResumeQuery, HistoryPage>((queries) => this.#resume(queries), ({ groups }) => groups.length * ARGUMENT_WEIGHT)
  readonly #publishes = new Gathering<PublishRequest, PublishAnswer>((requests) => this.#publish(requests), ({ to, json }) => to.length * (json.length + ARGUMENT_WEIGHT))
  readonly #visits = new Gathering<Visitor, Visit>((visitors) => this.#visit(visitors))

  constructor (parts: RequestParts) {
    this.#parts = parts
  }

  /** As Broker's. */
  publish (request: PublishRequest): Promise<PublishAnswer> {
    return this.#publishes.ask(request)
  }

  async #publish (requests: readonly PublishRequest[]): Promise<Array<Answer<PublishAnswer>>> {
    const { call, translate, onId } = this.#parts
    const args: Array<string | number> = []
    for (const { to, event, json, idempotencyKey = '', publisher } of requests) {
      args.push(idempotencyKey, publisher?.userId ?? '', publisher?.issuedAtSeconds ?? 0, event, json, to.length, ...to)
    }
    const replies = await call('tidings_publish_requests', ...args) as Array<PublishReply | Failed>
    return replies.map((reply) => {
      const [replayed, ...flat] = reply
      if (replayed === 'error') return translate(flat[0] as string)
      const notifications = []
      for (let i = 0; i < flat.length; i += 3) notifications.push({ to: flat[i] as Address, id: Number(flat[i + 1]), receivers: Number(flat[i + 2]) })
      if (replayed === 0) onId(notifications.at(-1)?.id ?? 0)
      return { replayed: replayed === 1, notifications }
    })
  }

  /** As Broker's. */
  resume (query: ResumeQuery): Promise<HistoryPage> {
    return this.#resumes.ask(query)
  }

  /** As Broker's. */
  visit (visitor: Visitor): Promise<Visit> {
    return this.#visits.ask(visitor)
  }

  async #resume (queries: readonly ResumeQuery[]): Promise<Array<Answer<HistoryPage>>> {
    const { call, translate, onId } = this.#parts
    const args: Array<string | number> = [Math.min(...queries.map(({ maxBytes }) => maxBytes)), WORK_BYTES]
    for (const { user: { userId, issuedAtSeconds }, groups, cursor } of queries) {
      args.push(userId, issuedAtSeconds, cursor === 'fresh' ? '' : cursor, groups.length, ...groups)
    }
    const [flat, ...replies] = await call('tidings_resume', ...args) as [string[], ...Array<ResumeReply | Failed>]
    const entries: Array<Notification | undefined> = []
    for (let i = 0; i < flat.length; i += 3) entries.push(readEntry(flat[i]!, flat[i + 1]!, flat[i + 2]!))
    return replies.map((reply) => {
      if (reply.length === 2) return translate(reply[1])
      const [position, gap, more, unread, membership, places] = reply
      onId(Number(position))
      // An id that Redis has not given out yet would make a stream take everything until then for a duplicate.
      const owed = places.map((place) => (entries[place]?.id ?? Infinity) <= Number(position) ? entries[place] : undefined)
      return {
        position: Number(position),
        gap: gap === 1 || owed.includes(undefined),
        more: more === 1,
        unread,
        membership: readMembership(membership),
        entries: owed.filter((entry) => entry !== undefined)
      }
    })
  }

  async #visit (visitors: readonly Visitor[]): Promise<Array<Answer<Visit>>> {
    const { call, translate } = this.#parts
    const args = visitors.flatMap(({ userId, issuedAtSeconds, sessionCursor = 'fresh', counters = [] }) =>
      [userId, issuedAtSeconds, sessionCursor === 'fresh' ? '' : sessionCursor, counters.length, ...counters])
    const replies = await call('tidings_visit', VISIT_WINDOW_MS, ...args) as Array<VisitReply | Failed>
    return replies.map((reply) => {
      const [verdict, ...counts] = reply
      return verdict === 'error' ? translate(reply[1] as string) : { verdict, counts: counts as number[] }
    })
  }
}

/** What stands in a log. Undefined: not written by functions.lua, which takes nothing that cannot be read here; so something is missing. */
function readEntry (id: string, event: string, data: string): Notification | undefined {
  const number = Number(id)
  if (!Number.isSafeInteger(number) || eventFault(event) !== undefined) return undefined
  try {
    // Stored as the publisher wrote it; one line is what a frame needs.
    return { id: number, event, json: JSON.stringify(JSON.parse(data)) }
  } catch {
    return undefined
  }
}

/** From group, id, group, id… */
export function readMembership (flat: ReadonlyArray<string | number>): Membership {
  const membership: Membership = new Map()
  for (let i = 0; i < flat.length; i += 2) membership.set(String(flat[i]), Number(flat[i + 1]))
  return membership
}
