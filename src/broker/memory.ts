// The embedded broker: no Redis, one process. Several nodes may share a bus (the demo does).
import type { Address } from '../notification.ts'
import type {
  Broker, BrokerListener, BrokerState, GroupClaim, HistoryPage, HistoryQuery, Membership, PublishAnswer, PublishRequest
} from './broker.ts'
import type { MemoryBus, Seat } from './memory-bus.ts'

const SWEEP_MS = 60_000

export class MemoryBroker implements Broker {
  readonly kind = 'memory'
  readonly #bus: MemoryBus
  #seat: Seat | undefined
  #sweeper: NodeJS.Timeout | undefined

  constructor (bus: MemoryBus) {
    this.#bus = bus
  }

  start (listener: BrokerListener): void {
    this.#seat = { addresses: new Set(), listener }
    this.#bus.sit(this.#seat)
    this.#sweeper = setInterval(() => { this.#bus.sweep() }, SWEEP_MS).unref()
  }

  async publish (request: PublishRequest): Promise<PublishAnswer> {
    return this.#bus.publish(request)
  }

  async subscribe (addresses: readonly Address[]): Promise<void> {
    for (const address of addresses) this.#seat?.addresses.add(address)
  }

  unsubscribe (addresses: readonly Address[]): void {
    for (const address of addresses) this.#seat?.addresses.delete(address)
  }

  async enter (userId: string, claim: GroupClaim = { groups: [], issuedAtSeconds: 0 }): Promise<Membership> {
    return this.#bus.enter(userId, claim)
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

  async history (query: HistoryQuery): Promise<HistoryPage> {
    return this.#bus.history(query)
  }

  async presence (userId: string): Promise<number> {
    return this.#bus.presence(userId)
  }

  state (): BrokerState {
    return { up: this.#seat !== undefined, detail: 'embedded', channels: this.#seat?.addresses.size ?? 0 }
  }

  async close (): Promise<void> {
    clearInterval(this.#sweeper)
    if (this.#seat !== undefined) this.#bus.leaveSeat(this.#seat)
    this.#seat = undefined
  }
}
