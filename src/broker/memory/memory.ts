// The embedded broker: one process, in memory only. Several nodes may share a bus, as in the demo.
import { setImmediate } from 'node:timers/promises'
import { userAddress } from '../../notification.ts'
import type { Broker, Channel, HistoryPage, ResumeQuery } from '../broker.ts'
import type { BrokerState } from '../state.ts'
import type { BrokerListener } from '../listener.ts'
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

  publish: Broker['publish'] = async (request) => this.#bus.publish(request)
  retract: Broker['retract'] = async (request) => this.#bus.retract(request)
  channelOf: Broker['channelOf'] = (_userId, address) => address
  addressOf: Broker['addressOf'] = (channel) => channel

  async subscribe (channels: readonly Channel[]): Promise<void> {
    for (const channel of channels) this.#seat?.channels.add(channel)
  }

  unsubscribe (channels: readonly Channel[]): void {
    for (const channel of channels) this.#seat?.channels.delete(channel)
  }

  groups: Broker['groups'] = async (userId) => this.#bus.members.groups(userId)
  join: Broker['join'] = async (userId, group) => { this.#bus.members.join(userId, group) }
  leave: Broker['leave'] = async (userId, group) => { this.#bus.members.leave(userId, group) }
  replaceGroups: Broker['replaceGroups'] = async (userId, groups) => { this.#bus.members.replace(userId, groups) }
  presence: Broker['presence'] = async (userId) => this.#bus.seats.countOf(userAddress(userId))

  async resume (query: ResumeQuery): Promise<HistoryPage> {
    const page = this.#bus.resume(query)
    // Other work runs before the next page is read.
    if (page.more) await setImmediate()
    return page
  }

  visit: Broker['visit'] = async (visitor) => this.#bus.visit(visitor)
  logout: Broker['logout'] = async (userId) => { this.#bus.logout(userId) }
  takeSession: Broker['takeSession'] = async (userId, tag, cursor, admittedAt) => this.#bus.sessions.take(userId, tag, cursor, admittedAt)
  verifySessions: Broker['verifySessions'] = async (sessions) => this.#bus.sessions.verify(sessions)

  list: Broker['list'] = async (query) => this.#bus.list(query)
  position: Broker['position'] = async (reader) => this.#bus.position(reader)
  moveCursor: Broker['moveCursor'] = async (reader, cursor, upTo) => this.#bus.moveCursor(reader, cursor, upTo)
  mark: Broker['mark'] = async (reader, id, as) => this.#bus.mark(reader, id, as)

  homeOf: Broker['homeOf'] = () => '0'
  put: Broker['put'] = async (_home, key, text, seconds) => { this.#bus.kept.set(key, text, seconds * 1000) }
  get: Broker['get'] = async (_home, key) => this.#bus.kept.get(key)

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

  ordinal: Broker['ordinal'] = async (_home, key, seconds) => this.#bus.ordinal(key, seconds * 1000)
  hit: Broker['hit'] = async (_home, key, windowMs, hits = 1) => this.#bus.hit(key, windowMs, hits)

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
