// A broker whose answers a test can hold back or let fail, and whose lines can break one by one.
import { Unavailable } from '../../src/broker/broker.ts'
import type { BrokerListener } from '../../src/broker/listener.ts'
import { MemoryBroker } from '../../src/broker/memory/memory.ts'
import type { MemoryBus } from '../../src/broker/memory/bus.ts'

export type Affects = (channel: string) => boolean
const named = (name: string, affects: Affects): Affects => Object.assign((channel: string) => affects(channel), { toString: () => name })
/** The channels that a line carries. */
export const LINES: readonly Affects[] = [
  named('everything', () => true), named('user:1', (name) => name === 'user:1'), named('groups', (name) => name.startsWith('group:')), named('all', (name) => name === 'all')
]

export type Call = 'subscribe' | 'resume' | 'takeSession' | 'verifySessions'
type Gate = PromiseWithResolvers<void>

/** A broker whose answers can be held back or fail, whose lines can break, and that reports what the hub throws at it. */
export class Broker extends MemoryBroker {
  hears!: BrokerListener
  readonly #failed: (error: unknown) => void
  deaf: Affects[] = []
  /** Answers that are held back. */
  gates: Gate[] = []
  /** Those who wait for their line. */
  mended: Gate[] = []
  /** What happens to the next answers. */
  plans: Array<{ at: string, isFailing: boolean }> = []
  isUp = true

  constructor (bus: MemoryBus, failed: (error: unknown) => void) {
    super(bus)
    this.#failed = failed
    const { takeSession, verifySessions } = this
    this.takeSession = async (...args) => await this.#staged('takeSession', async () => await takeSession(...args))
    this.verifySessions = async (sessions) => await this.#staged('verifySessions', async () => await verifySessions(sessions))
  }

  isDeafTo = (channel: string): boolean => this.deaf.some((affects) => affects(channel))

  override start (hub: BrokerListener): void {
    const careful = <T extends unknown[]>(call: (...args: T) => void) => (...args: T): void => {
      try {
        call(...args)
      } catch (error) {
        this.#failed(error)
      }
    }
    this.hears = {
      notification: careful((name, what) => { if (!this.isDeafTo(name)) hub.notification(name, what) }),
      control: careful((userId, control) => { if (!this.isDeafTo(`user:${userId}`)) hub.control(userId, control) }),
      dropped: careful((...what) => { hub.dropped(...what) }),
      interrupted: careful((...what) => { hub.interrupted(...what) }),
      restored: careful((...what) => { hub.restored(...what) })
    }
    super.start(this.hears)
  }

  override state (): ReturnType<MemoryBroker['state']> { return { ...super.state(), up: this.isUp } }

  async #stage (at: string): Promise<void> {
    const plan = this.plans.findIndex((plan) => plan.at === at)
    if (plan === -1) return
    const [{ isFailing }] = this.plans.splice(plan, 1) as [Broker['plans'][number]]
    if (isFailing) throw new Unavailable('down')
    const gate = Promise.withResolvers<void>()
    this.gates.push(gate)
    await gate.promise
  }

  async #staged<T> (call: Call, work: () => Promise<T>): Promise<T> {
    await this.#stage(`before ${call}`)
    const answer = await work()
    await this.#stage(`after ${call}`)
    return answer
  }

  override async subscribe (channels: readonly string[]): Promise<void> {
    await this.#staged('subscribe', async () => {
      // A subscription comes into force only once its line is there.
      while (channels.some(this.isDeafTo)) {
        const gate = Promise.withResolvers<void>()
        this.mended.push(gate)
        await gate.promise
      }
      await super.subscribe(channels)
    })
  }

  override resume: MemoryBroker['resume'] = async (query) => await this.#staged('resume', async () => await super.resume(query))
}
