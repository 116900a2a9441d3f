// Batches of the frequent calls (publishes, visits, resumes): those of one moment go to Redis together, and resumes
// share the entries that they read.
import { oneLine } from '../../json-text.ts'
import { type Address, eventFault, type Notification } from '../../notification.ts'
import {
  type HistoryPage, type Membership, type PublishAnswer, type PublishRequest, type ResumeQuery, type Visit, VISIT_WINDOW_MS, type Visitor
} from '../broker.ts'
import type { RedisCommands } from './commands.ts'
import { type Answer, Gathering } from './gathering.ts'
import type { Gathered } from './meters.ts'

/** About how many bytes one call may read from the logs, since Redis serves nobody else meanwhile. */
const WORK_BYTES = 1_048_576
/** The weight of one argument, or of writing to one address, beside its bytes. */
export const ARGUMENT_WEIGHT = 100

/** The library's reply to a request that failed. */
type Failed = ['error', why: string]
type PublishReply = [id: string, receivers: number] | [replayed: 0 | 1, id: string, receivers: number[], to: string[] | 0]
type VisitReply = [verdict: Visit['verdict'], ...counts: number[]]
type PageReply = [
  position: string, gap: number, more: number, membership: string[], places: number[], seen: string, read: string, unseen: number, unread: number
]

export class RedisRequests {
  readonly #commands: RedisCommands
  readonly #prefix: string
  readonly #resumes = new Gathering<ResumeQuery, HistoryPage>((queries) => this.#resume(queries), {
    // A token may claim up to MAX_GROUPS groups.
    weigh: ({ groups = [] }) => groups.length * ARGUMENT_WEIGHT
  })

  readonly #publishes = new Gathering<PublishRequest, PublishAnswer>((requests) => this.#publish(requests), {
    weigh: ({ to, json }) => to.length * (json.length + ARGUMENT_WEIGHT)
  })

  readonly #visits = new Gathering<Visitor, Visit>((visitors) => this.#visit(visitors))

  constructor (commands: RedisCommands, prefix: string) {
    this.#commands = commands
    this.#prefix = prefix
  }

  get gathered (): Gathered {
    return { publishes: this.#publishes.waiting, resumes: this.#resumes.waiting, visits: this.#visits.waiting }
  }

  publish (request: PublishRequest): Promise<PublishAnswer> {
    return this.#publishes.ask(request)
  }

  visit (visitor: Visitor): Promise<Visit> {
    return this.#visits.ask(visitor)
  }

  resume (query: ResumeQuery): Promise<HistoryPage> {
    return this.#resumes.ask(query)
  }

  #translate (why: string): Error {
    return this.#commands.translate(new Error(why))
  }

  async #publish (requests: readonly PublishRequest[]): Promise<Array<Answer<PublishAnswer>>> {
    const args: Array<string | number> = [requests.length]
    const targets = requests.map(({ to }) => to.length === 1 ? to : [...new Set(to)])
    for (const [i, { event, json, keep, ttlSeconds = '', key = '', idempotencyKey = '', publisher, traceparent = '' }] of requests.entries()) {
      const to = targets[i]!
      args.push(idempotencyKey, publisher?.userId ?? '', publisher?.issuedAtSeconds ?? 0, event, json)
      const isPlain = to.length === 1 && keep === 'inbox' && ttlSeconds === '' && key === '' && traceparent === ''
      if (isPlain) args.push('', to[0]!)
      else args.push(to.length, keep, ttlSeconds, key, traceparent, ...to)
    }
    const replies = await this.#commands.call(this.#prefix, 'tidings_publish_all', args) as Array<PublishReply | Failed>
    return replies.map((reply, i) => {
      if (reply[0] === 'error') return this.#translate(reply[1] as string)
      const [replayed, id, receivers, addresses] = reply.length === 2 ? [0, reply[0], [reply[1] as number], 0] as const : reply
      const to: readonly Address[] = addresses === 0 ? targets[i]! : addresses
      if (id !== '') this.#commands.saw(Number(id))
      return {
        replayed: replayed === 1,
        id: id === '' ? undefined : Number(id),
        // A replayed answer brings its addresses, unless they are those of the request.
        notifications: receivers.map((count, at) => ({ to: to[at]!, receivers: count }))
      }
    })
  }

  async #visit (visitors: readonly Visitor[]): Promise<Array<Answer<Visit>>> {
    const args = visitors.flatMap(({ userId, issuedAtSeconds, expiresAtSeconds, sessionCursor = 'fresh', counters = [] }) =>
      [userId, issuedAtSeconds, expiresAtSeconds, sessionCursor === 'fresh' ? '' : sessionCursor, counters.length, ...counters])
    const [id, ...replies] = await this.#commands.call(this.#prefix, 'tidings_visits', [VISIT_WINDOW_MS, ...args]) as [string, ...Array<VisitReply | Failed>]
    this.#commands.saw(Number(id))
    return replies.map((reply) => {
      if (reply[0] === 'error') return this.#translate(reply[1] as string)
      const [verdict, ...counts] = reply as VisitReply
      return { verdict, counts, admittedAt: verdict === 'revoked' ? 0 : Number(id) }
    })
  }

  async #resume (queries: readonly ResumeQuery[]): Promise<Array<Answer<HistoryPage>>> {
    // All pages of a call have one size limit, since every stream asks for the same.
    const args = queries.flatMap(({ user, groups, admittedAt, cursor }) => [
      user.userId, user.issuedAtSeconds, user.expiresAtSeconds, admittedAt, cursor === 'fresh' ? '' : cursor,
      groups === undefined ? -1 : groups.length, ...groups ?? []
    ])
    const maxBytes = Math.min(...queries.map(({ maxBytes }) => maxBytes))
    const reply = await this.#commands.call(this.#prefix, 'tidings_read_pages', [maxBytes, WORK_BYTES, ...args])
    const [flat, ...replies] = reply as [string[], ...Array<PageReply | Failed>]
    const entries: Array<Notification | undefined> = []
    for (let i = 0; i < flat.length; i += 3) entries.push(readEntry(flat[i]!, flat[i + 1]!, flat[i + 2]!))
    return replies.map((reply) => {
      if (reply[0] === 'error') return this.#translate(reply[1] as string)
      const [position, gap, more, membership, places, seen, read, unseen, unread] = reply as PageReply
      this.#commands.saw(Number(position))
      const owed = places.map((place) => entries[place])
      return {
        position: Number(position),
        gap: gap === 1 || owed.includes(undefined),
        more: more === 1,
        membership: readMembership(membership),
        entries: owed.filter((entry) => entry !== undefined),
        inbox: { seen: Number(seen), read: Number(read), unseen, unread }
      }
    })
  }
}

/** Parses an entry of a log. Undefined if the library cannot have written it, so that something is missing. */
export function readEntry (id: string, event: string, json: string): Notification | undefined {
  const number = Number(id)
  if (!Number.isSafeInteger(number) || eventFault(event) !== undefined) return undefined
  try {
    // Whoever has access to Redis can write anything into a log.
    JSON.parse(json)
  } catch {
    return undefined
  }
  // Older libraries stored line breaks between JSON tokens. A frame must be one line.
  return { id: number, event, json: oneLine(json) }
}

/** From a flat list: group, id, group, id… */
export function readMembership (flat: ReadonlyArray<string | number>): Membership {
  const membership: Membership = new Map()
  for (let i = 0; i < flat.length; i += 2) membership.set(String(flat[i]), Number(flat[i + 1]))
  return membership
}
