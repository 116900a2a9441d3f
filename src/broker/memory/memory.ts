// The embedded broker: no Redis, one process. Several nodes may share a bus (the demo does).
import type { Address } from '../../notification.ts'
import {
  type Broker, type BrokerListener, type BrokerState, type Channel, type HistoryPage, type Membership, type PublishAnswer,
  type PublishRequest, type ResumeQuery, type Session, type Visit, VISIT_WINDOW_MS, type Visitor
} from '../broker.ts'
import type { MemoryBus, Seat } from './bus.ts'

const SWEEP_MS = 60_000

export class MemoryBroker implements Broker {
  readonly name = 'memory'
  readonly #bus: MemoryBus
  #seat: Seat | undefined
  #sweeper: NodeJS.Timeout | undefined

  constructor (bus: MemoryBus) {
    this.#bus = bus
  }

  start (listener: BrokerListener): void {
    this.#seat = { channels: new Set(), listener }
    this.#bus.sit(this.#seat)
    this.#sweeper = setInterval(() => { this.#bus.sweep() }, SWEEP_MS).unref()
  }

  async publish (request: PublishRequest): Promise<PublishAnswer> {
    return this.#bus.publish(request)
  }

  channelOf (_userId: string, address: Address): Channel {
    return address
  }

  async subscribe (channels: readonly Channel[]): Promise<void> {
    for (const channel of channels) this.#seat?.channels.add(channel)
  }

  unsubscribe (channels: readonly Channel[]): void {
    for (const channel of channels) this.#seat?.channels.delete(channel)
  }

  async groups (userId: string): Promise<Membership> {
    return this.#bus.groups(userId)
  }

  async join (userId: string, group: string): Promise<void> {
    this.#bus.join(userId, group)
  }

  async leave (userId: string, group: string): Promise<void> {
    this.#bus.leave(userId, group)
  }

  async replaceGroups (userId: string, groups: readonly string[]): Promise<void> {
    this.#bus.replaceGroups(userId, groups)
  }

  async resume (query: ResumeQuery): Promise<HistoryPage> {
    return this.#bus.resume(query)
  }

  async visit (visitor: Visitor): Promise<Visit> {
    const counts = (visitor.counters ?? []).map((key) => this.#bus.hit(key, VISIT_WINDOW_MS, 1).count)
    return { verdict: this.#bus.sessions.visit(visitor), counts }
  }

  async logout (userId: string): Promise<void> {
    this.#bus.sessions.logout(userId)
  }

  async takeSession (userId: string, tag: string, cursor: number | 'fresh'): Promise<Session | undefined> {
    return this.#bus.sessions.take(userId, tag, cursor)
  }

  async verifySessions (sessions: ReadonlyArray<{ readonly userId: string, readonly session: Session }>): Promise<string[]> {
    return this.#bus.sessions.verify(sessions)
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

  async hit (_home: string, key: string, windowMs: number, hits = 1): Promise<{ count: number, restMs: number }> {
    return this.#bus.hit(key, windowMs, hits)
  }

  async presence (userId: string): Promise<number> {
    return this.#bus.presence(userId)
  }

  state (): BrokerState {
    return { up: this.#seat !== undefined, detail: 'embedded', channels: this.#seat?.channels.size ?? 0, deafSeconds: 0 }
  }

  async close (): Promise<void> {
    clearInterval(this.#sweeper)
    if (this.#seat !== undefined) this.#bus.leaveSeat(this.#seat)
    this.#seat = undefined
  }
}
