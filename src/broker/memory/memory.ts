// The embedded broker: one process, nothing kept. Several nodes may share a bus (the demo does).
import { setImmediate } from 'node:timers/promises'
import { type Address, userAddress } from '../../notification.ts'
import type {
  Broker, Channel, HistoryPage, Membership, PublishAnswer, PublishRequest, Reader, ResumeQuery, RetractRequest, Session, Visit, Visitor
} from '../broker.ts'
import type { BrokerState } from '../state.ts'
import type { BrokerListener } from '../listener.ts'
import type { InboxCounts, InboxMark, InboxPage, InboxState, ListQuery } from '../inbox.ts'
import type { Trail } from '../trail.ts'
import type { MemoryBus } from './bus.ts'
import type { Seat } from './seats.ts'

const SWEEP_MS = 60_000

export class MemoryBroker implements Broker {
  readonly name = 'memory'
  readonly meters = []
  readonly trail: Trail
  readonly #bus: MemoryBus
  #seat: Seat | undefined
  #sweeper: NodeJS.Timeout | undefined

  constructor (bus: MemoryBus) {
    this.#bus = bus
    this.trail = bus.trail
  }

  readonly settled = Promise.resolve()

  start (listener: BrokerListener): void {
    this.#seat = { channels: new Set(), listener }
    this.#bus.seats.take(this.#seat)
    this.#sweeper = setInterval(() => { this.#bus.sweep() }, SWEEP_MS).unref()
  }

  async publish (request: PublishRequest): Promise<PublishAnswer> {
    return this.#bus.publish(request)
  }

  async retract (request: RetractRequest): Promise<boolean> {
    return this.#bus.retract(request)
  }

  channelOf (_userId: string, address: Address): Channel {
    return address
  }

  addressOf (channel: Channel): Address {
    return channel
  }

  async subscribe (channels: readonly Channel[]): Promise<void> {
    for (const channel of channels) this.#seat?.channels.add(channel)
  }

  unsubscribe (channels: readonly Channel[]): void {
    for (const channel of channels) this.#seat?.channels.delete(channel)
  }

  async groups (userId: string): Promise<Membership> {
    return this.#bus.members.groups(userId)
  }

  async join (userId: string, group: string): Promise<void> {
    this.#bus.members.join(userId, group)
  }

  async leave (userId: string, group: string): Promise<void> {
    this.#bus.members.leave(userId, group)
  }

  async replaceGroups (userId: string, groups: readonly string[]): Promise<void> {
    this.#bus.members.replace(userId, groups)
  }

  async resume (query: ResumeQuery): Promise<HistoryPage> {
    const page = this.#bus.resume(query)
    // Others come first before the next.
    if (page.more) await setImmediate()
    return page
  }

  async visit (visitor: Visitor): Promise<Visit> {
    return this.#bus.visit(visitor)
  }

  async logout (userId: string): Promise<void> {
    this.#bus.logout(userId)
  }

  async takeSession (userId: string, tag: string, cursor: number | 'fresh'): Promise<Session | undefined> {
    return this.#bus.sessions.take(userId, tag, cursor)
  }

  async verifySessions (sessions: ReadonlyArray<{ readonly userId: string, readonly session: Session }>): Promise<string[]> {
    return this.#bus.sessions.verify(sessions)
  }

  async list (query: ListQuery): Promise<InboxPage> {
    return this.#bus.list(query)
  }

  async position (reader: Reader): Promise<InboxState> {
    return this.#bus.position(reader)
  }

  async moveCursor (reader: Reader, cursor: 'seen' | 'read', upTo: number): Promise<InboxCounts> {
    return this.#bus.moveCursor(reader, cursor, upTo)
  }

  async mark (reader: Reader, id: number, as: InboxMark): Promise<InboxCounts> {
    return this.#bus.mark(reader, id, as)
  }

  homeOf (): string {
    return '0'
  }

  async put (_home: string, key: string, text: string, seconds: number): Promise<void> {
    this.#bus.kept.set(key, text, seconds * 1000)
  }

  async get (_home: string, key: string): Promise<string | undefined> {
    return this.#bus.kept.get(key)
  }

  async take (_home: string, key: string): Promise<string | undefined> {
    const text = this.#bus.kept.get(key)
    this.#bus.kept.delete(key)
    return text
  }

  async exchange (_home: string, key: string, kept: Parameters<Broker['exchange']>[2]): Promise<string | undefined> {
    const text = this.#bus.kept.get(key)
    if (text === undefined) return undefined
    this.#bus.kept.set(kept.key, kept.text, kept.seconds * 1000)
    this.#bus.kept.delete(key)
    return text
  }

  async ordinal (_home: string, key: string, seconds: number): Promise<number> {
    return this.#bus.ordinal(key, seconds * 1000)
  }

  async hit (_home: string, key: string, windowMs: number, hits = 1): Promise<{ count: number, restMs: number }> {
    return this.#bus.hit(key, windowMs, hits)
  }

  async presence (userId: string): Promise<number> {
    return this.#bus.seats.countOf(userAddress(userId))
  }

  state (): BrokerState {
    return {
      up: this.#seat !== undefined,
      detail: 'embedded',
      channels: this.#seat?.channels.size ?? 0,
      deafSeconds: 0,
      warnings: [],
      clockDifferenceSeconds: 0
    }
  }

  async close (): Promise<void> {
    clearInterval(this.#sweeper)
    if (this.#seat !== undefined) this.#bus.seats.leave(this.#seat)
    this.#seat = undefined
  }
}
