// Those who publish while everything breaks: over HTTP with retries, by FCALL and by PUBLISH.
import { setTimeout as pause } from 'node:timers/promises'
import type { Sent } from './ledger.ts'
import { Members } from './members.ts'
import type { Random } from './random.ts'
import { DYNAMIC_GROUPS, type World } from './world.ts'

const HTTP_LOOPS = 5
const FCALL_LOOPS = 2
/** What Redis itself refuses has not been done. */
const REFUSAL = /^[A-Z][A-Z_]+ /

export class Publishers {
  readonly #world: World
  readonly #random: Random
  readonly #loops: Array<Promise<void>> = []
  #isOver = false
  /** Those who join and leave. */
  readonly members: Members
  /** Answers that a publisher should never see, by what they were. */
  readonly oddAnswers = new Map<string, number>()
  acknowledged = 0
  retries = 0

  constructor (world: World, random: Random) {
    this.#world = world
    this.#random = random
    this.members = new Members(world, (what) => { this.#odd(what) })
  }

  start (): void {
    const loops = [
      ...Array.from({ length: HTTP_LOOPS }, () => this.#loop(20, 90, (random) => this.http(this.#addresses(random), random))),
      ...Array.from({ length: FCALL_LOOPS }, () => this.#loop(20, 90, (random) => this.fcall([this.#address(random)]))),
      this.#loop(30, 150, (random) => this.#plain(random)),
      this.#loop(200, 600, (random) => this.members.move(random))
    ]
    this.#loops.push(...loops)
  }

  /** Resolves when the last of them has its answer. */
  async stop (): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#loops)
    await this.members.settled()
  }

  async #loop (lowMs: number, highMs: number, step: (random: Random) => Promise<unknown>): Promise<void> {
    const random = this.#random.fork()
    while (!this.#isOver) {
      await step(random)
      await pause(random.between(lowMs, highMs))
    }
  }

  #address (random: Random): string {
    const dice = random.next()
    if (dice < 0.05) return 'all'
    if (dice < 0.65) return `user:${random.pick(this.#world.users)}`
    return `group:${random.pick(dice < 0.85 ? this.#world.fixedGroups : DYNAMIC_GROUPS)}`
  }

  /** To one address, to several, or to several that one user is in at once: their own, their groups, everybody's. */
  #addresses (random: Random): string[] {
    const dice = random.next()
    if (dice < 0.1) return this.overlapping(random)
    return [...new Set(Array.from({ length: dice < 0.2 ? 5 : 1 }, () => this.#address(random)))]
  }

  overlapping (random: Random): string[] {
    const { options: { userId, groups } } = random.pick(this.#world.listeners)
    const all = [`user:${userId}`, ...groups.map((group) => `group:${group}`), `group:${random.pick(DYNAMIC_GROUPS)}`, ...random.next() < 0.2 ? ['all'] : []]
    return random.shuffled(all).slice(0, 2 + random.below(all.length - 1))
  }

  /** The same key until it is answered: what a publisher is told to do. */
  async http (to: readonly string[], random: Random): Promise<void> {
    const { ledger } = this.#world
    const sent = ledger.publishes(to)
    const key = `chaos-${sent.mark}`
    for (let attempt = 0; ; attempt++) {
      if (attempt > 0) this.retries++
      let waitMs = 200
      try {
        const { status, retryAfter, body } = await this.#world.call('POST', '/api/notifications', { to, data: { mark: sent.mark } }, { 'idempotency-key': key })
        if (status === 202) {
          this.#acknowledge(sent, body.notifications.map(({ id }: { id: string }) => Number(id)))
          return
        }
        if (status !== 503 || retryAfter === null) this.#odd(`${status}${retryAfter === null ? ' without Retry-After' : ''}: ${String(body).slice(0, 120)}`)
        waitMs = 1000 * Number(retryAfter ?? 1)
      } catch {} // the line broke: nobody knows whether it was published
      await pause(waitMs * random.between(0.5, 1))
    }
  }

  /** Resolves with the id, or undefined if nobody knows whether it was published. */
  async fcall (to: readonly [string], more: object = {}): Promise<number | undefined> {
    const sent = this.#world.ledger.publishes(to)
    for (;;) {
      try {
        const id = await this.#world.outside.fcall(to[0], { mark: sent.mark, ...more })
        this.#acknowledge(sent, [id])
        return id
      } catch (error) {
        const { message } = error as Error
        if (!REFUSAL.test(message)) return undefined
        if (message.startsWith('TIDINGS_') && !message.startsWith('TIDINGS_NOT_READY')) {
          this.#odd(`FCALL: ${message}`)
          return undefined
        }
      }
      await pause(100)
    }
  }

  /**
   * All of this at once, by a process that is killed when it has committed it, and before more than so many copies are
   * made.
   */
  async die (publishes: ReadonlyArray<readonly string[]>, copies: number): Promise<void> {
    const { ledger, division, outside } = this.#world
    const sent = new Map(publishes.map((to) => ledger.publishes(to)).map((one) => [one.mark, one]))
    const committed = await this.#world.publisherDies([...sent.values()].map(({ mark, to }) => [{ mark }, ...to]), copies)
    // What a master must not take with it, a replica has.
    await Promise.all(division.prefixes.map(async (_, partition) => await outside.moment(partition)))
    for (const [mark, id] of committed) this.#acknowledge(sent.get(mark)!, [id])
  }

  async #plain (random: Random): Promise<void> {
    const { ledger } = this.#world
    const to = random.next() < 0.1 ? 'all' : `user:${random.pick(this.#world.users)}`
    const { mark } = ledger.publishes([to], 'plain')
    await this.#world.outside.say(to, JSON.stringify({ data: { mark } })).catch(() => {})
  }

  #acknowledge (sent: Sent, ids: readonly number[]): void {
    this.#world.ledger.acknowledged(sent, ids)
    this.acknowledged++
  }

  #odd (what: string): void {
    this.oddAnswers.set(what, (this.oddAnswers.get(what) ?? 0) + 1)
  }
}
