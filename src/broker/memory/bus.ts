// What the embedded broker keeps in one process: the clock, the logs, the groups. The counterpart of functions.lua.
import { type Address, ALL, groupAddress, MAX_UNREAD, type Notification, userAddress } from '../../notification.ts'
import {
  type BrokerListener, type Channel, type Control, type HistoryLimits, type HistoryPage, type Identity, MAX_GROUPS,
  type Membership, type PublishAnswer, type PublishRequest, type ResumeQuery, TooManyGroups
} from '../broker.ts'
import { ExpiringMap, MemorySessions } from './sessions.ts'

const IDEMPOTENT_MS = 86_400_000
/** Renewed at every heartbeat of its stream. */
const SESSION_MS = 86_400_000

interface Log {
  /** Oldest first, grown at the end. */
  entries: Notification[]
  trimmed: boolean
  expiresAtMs: number
}

/** Group → +id joined or -id left. */
type Groups = Map<string, number>

function joined (groups: Groups): number {
  let count = 0
  for (const at of groups.values()) if (at > 0) count++
  return count
}

/** A node's place on the bus: what it is subscribed to, and who listens. */
export interface Seat {
  readonly channels: Set<Channel>
  readonly listener: BrokerListener
}

export interface MemoryBusOptions extends HistoryLimits {
  /** Milliseconds since 1970; a test may turn the clock. Default: Date.now. */
  readonly nowMs?: () => number
}

/** The first index whose entry is newer than a position. */
function indexAfter (entries: readonly Notification[], position: number): number {
  let low = 0
  let high = entries.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (entries[middle]!.id > position) high = middle
    else low = middle + 1
  }
  return low
}

export class MemoryBus {
  readonly #limits: HistoryLimits
  readonly #nowMs: () => number
  readonly #logs = new Map<Address, Log>()
  readonly #groups = new Map<string, Groups>()
  readonly #answers: ExpiringMap<PublishAnswer>
  readonly #hits: ExpiringMap<{ count: number, endsAtMs: number }>
  /** What `put` puts. */
  readonly kept: ExpiringMap<string>
  readonly sessions: MemorySessions
  readonly #seats = new Set<Seat>()
  #clock = 0
  readonly #born: number
  // Messages reach listeners in order and never inside the call that published them, as with a real line.
  #queue: Array<() => void> = []

  constructor ({ nowMs = Date.now, ...limits }: MemoryBusOptions) {
    this.#limits = limits
    this.#nowMs = nowMs
    this.#born = this.#nextId()
    this.#answers = new ExpiringMap(nowMs)
    this.#hits = new ExpiringMap(nowMs)
    this.kept = new ExpiringMap(nowMs)
    this.sessions = new MemorySessions({
      nextId: () => this.#nextId(),
      sessions: new ExpiringMap(nowMs),
      sessionMs: SESSION_MS,
      tell: (userId, control) => { this.#tell(userId, control) }
    })
  }

  #nextId (): number {
    this.#clock = Math.max(this.#nowMs() * 1000, this.#clock + 1)
    return this.#clock
  }

  sit (seat: Seat): void { this.#seats.add(seat) }
  leaveSeat (seat: Seat): void { this.#seats.delete(seat) }

  #seatsOf (address: Address): Seat[] {
    return [...this.#seats].filter((seat) => seat.channels.has(address))
  }

  presence (userId: string): number {
    return this.#seatsOf(userAddress(userId)).length
  }

  #post (seats: readonly Seat[], tell: (listener: BrokerListener) => void): void {
    if (this.#queue.push(() => { for (const seat of seats) tell(seat.listener) }) > 1) return
    queueMicrotask(() => {
      const queue = this.#queue
      this.#queue = []
      for (const send of queue) send()
    })
  }

  #tell (userId: string, control: Control): void {
    this.#post(this.#seatsOf(userAddress(userId)), (listener) => { listener.control(userId, control) })
  }

  hit (key: string, windowMs: number, more: number): { count: number, restMs: number } {
    const nowMs = this.#nowMs()
    let hits = this.#hits.get(key)
    if (hits === undefined) this.#hits.set(key, hits = { count: 0, endsAtMs: nowMs + windowMs }, windowMs)
    hits.count += more
    return { count: hits.count, restMs: hits.endsAtMs - nowMs }
  }

  publish ({ to, event, json, idempotencyKey, publisher }: PublishRequest): PublishAnswer {
    if (publisher !== undefined) this.sessions.check(publisher)
    const nowMs = this.#nowMs()
    if (idempotencyKey !== undefined) {
      const known = this.#answers.get(idempotencyKey)
      if (known !== undefined) return { ...known, replayed: true }
    }
    const notifications = to.map((address) => this.#deliver(address, event, json, nowMs))
    const answer = { replayed: false, notifications }
    if (idempotencyKey !== undefined) this.#answers.set(idempotencyKey, answer, IDEMPOTENT_MS)
    return answer
  }

  #deliver (address: Address, event: string, json: string, nowMs: number): PublishAnswer['notifications'][number] {
    const { historyLength, historySeconds } = this.#limits
    const notification = { id: this.#nextId(), event, json }
    let log = this.#log(address)
    if (log === undefined) this.#logs.set(address, log = { entries: [], trimmed: false, expiresAtMs: 0 })
    log.entries.push(notification)
    log.expiresAtMs = nowMs + historySeconds * 1000
    // As Redis does with "~": now and then a whole piece, not one entry at every publish.
    if (log.entries.length > historyLength + 100) {
      log.entries.splice(0, log.entries.length - historyLength)
      log.trimmed = true
    }
    const seats = this.#seatsOf(address)
    if (seats.length > 0) this.#post(seats, (listener) => { listener.notification(address, notification) })
    return { to: address, id: notification.id, receivers: seats.length }
  }

  #log (address: Address): Log | undefined {
    const log = this.#logs.get(address)
    return log !== undefined && log.expiresAtMs > this.#nowMs() ? log : undefined
  }

  /** Forgets what has expired. */
  sweep (): void {
    const nowMs = this.#nowMs()
    for (const [address, log] of this.#logs) if (log.expiresAtMs <= nowMs) this.#logs.delete(address)
    for (const map of [this.#answers, this.#hits, this.kept]) map.sweep()
    this.sessions.sweep()
  }

  /** To be read; one that is not known is kept when something is marked in it. */
  #groupsOf (userId: string): Groups {
    return this.#groups.get(userId) ?? new Map()
  }

  #mark (userId: string, groups: Groups, group: string, control: 'join' | 'leave'): void {
    if (control === 'join' && joined(groups) >= MAX_GROUPS) throw new TooManyGroups()
    const id = this.#nextId()
    groups.set(group, control === 'join' ? id : -id)
    this.#groups.set(userId, groups)
    this.#tell(userId, { control, id, group })
  }

  groups (userId: string): Membership {
    return new Map([...this.#groupsOf(userId)].filter(([, at]) => at > 0))
  }

  #enter (user: Identity, claimed: readonly string[]): Membership {
    this.sessions.check(user)
    const { userId, issuedAtSeconds } = user
    const groups = this.#groupsOf(userId)
    for (const group of claimed) {
      const at = groups.get(group)
      const joins = at === undefined || (at < 0 && -at < issuedAtSeconds * 1_000_000)
      if (joins && joined(groups) < MAX_GROUPS) this.#mark(userId, groups, group, 'join')
    }
    return this.groups(userId)
  }

  join (userId: string, group: string): void {
    const groups = this.#groupsOf(userId)
    if ((groups.get(group) ?? 0) <= 0) this.#mark(userId, groups, group, 'join')
  }

  leave (userId: string, group: string): void {
    this.#mark(userId, this.#groupsOf(userId), group, 'leave')
  }

  replaceGroups (userId: string, wanted: readonly string[]): void {
    const groups = this.#groupsOf(userId)
    const keep = new Set(wanted)
    if (keep.size > MAX_GROUPS) throw new TooManyGroups()
    for (const [group, at] of groups) if (at > 0 && !keep.has(group)) this.#mark(userId, groups, group, 'leave')
    for (const group of keep) this.join(userId, group)
  }

  resume ({ user, groups, cursor, maxBytes }: ResumeQuery): HistoryPage {
    const { userId } = user
    const membership = this.#enter(user, groups)
    let position = this.#nextId()
    const sources: Array<[log: Log | undefined, floor: number]> = [[this.#log(userAddress(userId)), 0], [this.#log(ALL), 0]]
    for (const [group, joined] of membership) sources.push([this.#log(groupAddress(group)), joined])

    let unread = 0
    for (const [log, floor] of sources) if (log !== undefined) unread += log.entries.length - indexAfter(log.entries, floor)
    unread = Math.min(unread, MAX_UNREAD)
    if (cursor === 'fresh') return { position, membership, gap: false, more: false, entries: [], unread }
    if (cursor > position) return { position, membership, gap: true, more: false, entries: [], unread }

    let gap = cursor < this.#born || cursor < position - this.#limits.historySeconds * 1_000_000
    const found: Notification[] = []
    for (const [log, floor] of sources) {
      if (log === undefined) continue
      const after = Math.max(cursor, floor)
      const start = indexAfter(log.entries, after)
      gap ||= log.trimmed && start === 0 && log.entries.length > 0
      for (let i = start; i < log.entries.length; i++) found.push(log.entries[i]!)
    }
    const [from, to] = (this.kept.get(`gap:${userId}`) ?? 'NaN NaN').split(' ').map(Number) as [number, number]
    gap ||= cursor > from && cursor <= to
    found.sort((a, b) => a.id - b.id)
    let bytes = 0
    const end = found.findIndex(({ json }, i) => (bytes += json.length) > maxBytes && i > 0)
    const more = end !== -1
    const entries = more ? found.slice(0, end) : found
    if (more) position = entries.at(-1)!.id
    // Copies: a frame that is made of one lives as long as it does, and the log's live long.
    return { position, membership, gap, more, entries: entries.map((entry) => ({ ...entry })), unread }
  }
}
