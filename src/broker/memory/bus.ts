// The state that the embedded brokers of one process share. All calls are synchronous, so each is atomic.
import { type Address, type Notification, userAddress } from '../../notification.ts'
import {
  type HistoryLimits, type HistoryPage, type Identity, type PublishAnswer, type PublishRequest, type Reader, type ResumeQuery, type RetractRequest,
  type Visit, VISIT_WINDOW_MS, type Visitor
} from '../broker.ts'
import type { Control } from '../listener.ts'
import type { InboxCounts, InboxMark, InboxPage, InboxState, ListQuery } from '../inbox.ts'
import { IdClock } from './clock.ts'
import { ExpiringMap } from './expiring-map.ts'
import { readPage } from './history.ts'
import { MemoryInbox } from './inbox.ts'
import { Logs } from './logs.ts'
import { Memberships } from './membership.ts'
import { Revocation } from './revocation.ts'
import { Seats } from './seats.ts'
import { MemorySessions } from './sessions.ts'
import { MemoryTrail } from './trail.ts'

const IDEMPOTENT_MS = 86_400_000
/** A left group is remembered at least this long, so that no older token brings it back. */
const MIN_LEFT_SECONDS = 86_400

const NOTHING: InboxCounts = { seen: 0, read: 0, unseen: 0, unread: 0 }

export interface MemoryBusOptions extends HistoryLimits {
  /** Milliseconds since 1970. Tests inject their own. Default: Date.now. */
  readonly nowMs?: () => number
  /** Monotonic milliseconds, for lifetimes. Default: performance.now. */
  readonly steadyMs?: () => number
}

export class MemoryBus {
  readonly #limits: HistoryLimits
  readonly #steadyMs: () => number
  readonly #clock: IdClock
  readonly #born: number
  readonly #logs: Logs
  readonly #answers: ExpiringMap<PublishAnswer>
  readonly #hits: ExpiringMap<{ count: number, endsAtMs: number }>
  readonly #inbox: MemoryInbox
  readonly #revocation: Revocation
  readonly members: Memberships
  readonly sessions: MemorySessions
  readonly seats = new Seats()
  readonly trail: MemoryTrail
  /** The values of the port's Store. */
  readonly kept: ExpiringMap<string>

  constructor ({ nowMs = Date.now, steadyMs = () => performance.now(), ...limits }: MemoryBusOptions) {
    const clock = new IdClock(nowMs)
    const nextId = (): number => clock.next()
    const { historySeconds } = limits
    const tellControl = (userId: string, control: Control): void => {
      this.seats.tell(userAddress(userId), (listener) => { listener.control(userId, control) })
    }
    this.#limits = limits
    this.#steadyMs = steadyMs
    this.#clock = clock
    this.#born = clock.next()
    this.#answers = new ExpiringMap(steadyMs)
    this.#hits = new ExpiringMap(steadyMs)
    this.kept = new ExpiringMap(steadyMs)
    this.#revocation = new Revocation(nowMs, steadyMs)
    this.#logs = new Logs(limits, () => clock.now)
    this.sessions = new MemorySessions({ steadyMs, nextId, tell: tellControl })
    this.members = new Memberships({
      nextId,
      now: () => clock.now,
      steadyMs,
      historySeconds,
      leftSeconds: () => Math.max(historySeconds, this.#revocation.longestTokenSeconds, MIN_LEFT_SECONDS),
      tell: (userId, control, id, group) => { tellControl(userId, { control, id, group }) }
    })
    this.#inbox = new MemoryInbox({
      nextId,
      logs: this.#logs,
      memberOf: (userId) => this.members.get(userId),
      historySeconds,
      tell: (userId, notification) => { this.#tell(userAddress(userId), notification) }
    })
    this.trail = new MemoryTrail({
      now: () => clock.now,
      born: this.#born,
      historySeconds,
      logs: this.#logs,
      memberOf: (userId) => this.members.get(userId),
      cursorsOf: (userId, id) => this.#inbox.cursors(userId, id, clock.now)
    })
  }

  /** Returns how many nodes get it. */
  #tell (address: Address, notification: Notification): number {
    return this.seats.tell(address, (listener) => { listener.notification(address, notification) })
  }

  publish ({ to, event, json, keep, ttlSeconds, key, idempotencyKey, publisher, traceparent }: PublishRequest): PublishAnswer {
    if (publisher !== undefined) this.#revocation.checkPublisher(publisher)
    const first = idempotencyKey === undefined ? undefined : this.#answers.get(idempotencyKey)
    if (first !== undefined) return { ...first, replayed: true }
    const id = keep === 'none' ? undefined : this.#clock.next()
    const addresses = to.length === 1 ? to : [...new Set(to)]
    // Without an id, only this mark tells a stream that it got the same notification by another address.
    const once = id === undefined && addresses.length > 1 ? String(this.#clock.next()) : undefined
    const notification: Notification = { id: id ?? 0, event, json }
    const message = once === undefined && traceparent === undefined
      ? notification
      : { ...notification, ...once !== undefined && { once }, ...traceparent !== undefined && { traceparent } }
    const notifications = addresses.map((address) => {
      if (id !== undefined) this.#logs.append(address, { id, event, json, keep, key, ttlSeconds })
      return { to: address, receivers: this.#tell(address, message) }
    })
    const answer = { replayed: false, id, notifications }
    if (idempotencyKey !== undefined) this.#answers.set(idempotencyKey, answer, IDEMPOTENT_MS)
    return answer
  }

  retract ({ to, what, publisher }: RetractRequest): boolean {
    if (publisher !== undefined) this.#revocation.checkPublisher(publisher)
    const entry = this.#logs.retract(to, what)
    if (entry === undefined) return false
    const data = { to, id: String(entry.id), ...entry.key !== undefined && { key: entry.key } }
    this.#tell(to, { id: 0, event: 'retracted', json: JSON.stringify(data), asOf: this.#clock.next() })
    return true
  }

  visit (visitor: Visitor): Visit {
    const { userId, sessionCursor, counters = [] } = visitor
    if (this.#revocation.isRevoked(visitor)) return { verdict: 'revoked', counts: counters.map(() => 0), admittedAt: 0 }
    this.#see(visitor, undefined)
    const counts = counters.map((key) => this.hit(key, VISIT_WINDOW_MS, 1).count)
    const verdict = this.sessions.isReplaced(userId, sessionCursor) ? 'replaced' : 'admitted'
    return { verdict, counts, admittedAt: this.#clock.next() }
  }

  logout (userId: string): void {
    const id = this.#clock.next()
    const newestIssuedAtSeconds = this.members.get(userId)?.newestIssuedAtSeconds ?? -1
    this.#revocation.logout(userId, { id, newestIssuedAtSeconds })
    this.seats.tell(userAddress(userId), (listener) => { listener.control(userId, { control: 'logout', id }) })
  }

  ordinal (key: string, lifeMs: number): number {
    const nowMs = this.#steadyMs()
    const last = this.#hits.get(key)
    const endsAtMs = Math.max(last?.endsAtMs ?? 0, nowMs + lifeMs)
    const count = (last?.count ?? 0) + 1
    this.#hits.set(key, { count, endsAtMs }, endsAtMs - nowMs)
    return count
  }

  hit (key: string, windowMs: number, more: number): { count: number, restMs: number } {
    const nowMs = this.#steadyMs()
    let hits = this.#hits.get(key)
    if (hits === undefined) this.#hits.set(key, hits = { count: 0, endsAtMs: nowMs + windowMs }, windowMs)
    hits.count += more
    return { count: hits.count, restMs: hits.endsAtMs - nowMs }
  }

  /** Applies what a valid token says of its user and groups. */
  #see (user: Identity, groups: readonly string[] | undefined): void {
    this.#revocation.see(user)
    this.members.see(user)
    if (groups !== undefined) this.members.claim(user, groups)
  }

  #admit ({ token }: Reader): void {
    if (token === undefined) return
    this.#revocation.check(token)
    this.#see(token, token.groups)
  }

  resume ({ user, groups, admittedAt, cursor, maxBytes }: ResumeQuery): HistoryPage {
    const { userId } = user
    this.#revocation.checkStream(user, admittedAt)
    this.#see(user, groups)
    const position = this.#clock.next()
    const membership = this.members.groups(userId)
    const inbox = (): InboxCounts => this.#inbox.counts(userId, position)
    if (cursor === 'fresh') return { position, membership, gap: false, more: false, entries: [], inbox: inbox() }
    const { historySeconds } = this.#limits
    const page = readPage({ logs: this.#logs, born: this.#born, historySeconds }, {
      userId, member: this.members.get(userId), isDismissed: this.#inbox.isDismissed(userId, position), position, cursor, maxBytes
    })
    return { ...page, membership, inbox: page.more && !page.gap ? NOTHING : inbox() }
  }

  list ({ reader, ...query }: ListQuery): InboxPage {
    this.#admit(reader)
    return this.#inbox.list(reader.userId, query)
  }

  position (reader: Reader): InboxState {
    this.#admit(reader)
    const position = this.#clock.next()
    return { position, ...this.#inbox.counts(reader.userId, position) }
  }

  moveCursor (reader: Reader, cursor: 'seen' | 'read', upTo: number): InboxCounts {
    this.#admit(reader)
    return this.#inbox.move(reader.userId, cursor, upTo)
  }

  mark (reader: Reader, id: number, as: InboxMark): InboxCounts {
    this.#admit(reader)
    return this.#inbox.mark(reader.userId, id, as)
  }

  /** Frees the memory of expired things. */
  sweep (): void {
    for (const part of [this.#logs, this.#answers, this.#hits, this.kept, this.sessions, this.#revocation, this.members, this.trail]) part.sweep()
    this.#inbox.sweep(this.#clock.now)
  }
}
