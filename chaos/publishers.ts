// Those who publish while everything breaks: over HTTP with retries, by FCALL and by PUBLISH, and those who join and
// leave groups.
import { setTimeout as pause } from 'node:timers/promises'
import type { Sent, Stay } from './ledger.ts'
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
  /** `<user>\n<group>` → the stay under way. */
  readonly #stays = new Map<string, Stay>()
  #isOver = false
  #moverLock: Promise<void> = Promise.resolve()
  /** Answers that a publisher should never see, by what they were. */
  readonly oddAnswers = new Map<string, number>()
  acknowledged = 0
  retries = 0

  constructor (world: World, random: Random) {
    this.#world = world
    this.#random = random
  }

  start (): void {
    const loops = [
      ...Array.from({ length: HTTP_LOOPS }, () => this.#loop(20, 90, (random) => this.http(this.#addresses(random), random))),
      ...Array.from({ length: FCALL_LOOPS }, () => this.#loop(20, 90, (random) => this.fcall([this.#address(random)]))),
      this.#loop(30, 150, (random) => this.#plain(random)),
      this.#loop(200, 600, (random) => this.#locked(() => this.#move(random)))
    ]
    this.#loops.push(...loops)
  }

  /** Resolves when the last of them has its answer. */
  async stop (): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#loops)
    await this.#moverLock
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

  // — one publish —

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

  /**
   * Out of a group and in again, as a login handler does that replaces all of them: who is away meanwhile is owed what
   * was published before.
   */
  async rejoin (userId: string): Promise<void> {
    await this.#locked(async () => {
      const mine = [...this.#stays].filter(([key]) => key.startsWith(`${userId}\n`))
      for (const [key, stay] of mine) {
        const group = key.split('\n')[1]!
        await this.#leave(userId, group, stay)
        await this.#join(userId, group)
      }
    })
  }

  /** Groups on the way that this user is in now. */
  groupsOf (userId: string): string[] {
    return [...this.#stays.keys()].filter((key) => key.startsWith(`${userId}\n`)).map((key) => key.split('\n')[1]!)
  }

  /** Joins one, if the user is in none. */
  async enter (userId: string, random: Random): Promise<void> {
    await this.#locked(async () => {
      if (this.groupsOf(userId).length === 0) await this.#join(userId, random.pick(DYNAMIC_GROUPS))
    })
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

  // — groups —

  async #move (random: Random): Promise<void> {
    const userId = random.pick(this.#world.users)
    const group = random.pick(DYNAMIC_GROUPS)
    const stay = this.#stays.get(`${userId}\n${group}`)
    if (stay === undefined) await this.#join(userId, group)
    else await this.#leave(userId, group, stay)
  }

  async #join (userId: string, group: string): Promise<void> {
    const { ledger } = this.#world
    const stay = ledger.asksToJoin(userId, group, await this.#world.outside.moment(userId))
    this.#stays.set(`${userId}\n${group}`, stay)
    await this.#manage('PUT', userId, group)
    stay.since = await this.#world.outside.moment(userId)
    stay.sinceMs = performance.now()
  }

  async #leave (userId: string, group: string, stay: Stay): Promise<void> {
    stay.untilMs = performance.now()
    stay.until = await this.#world.outside.moment(userId)
    await this.#manage('DELETE', userId, group)
    stay.gone = await this.#world.outside.moment(userId)
    this.#stays.delete(`${userId}\n${group}`)
  }

  async #manage (method: string, userId: string, group: string): Promise<void> {
    for (;;) {
      const status = await this.#world.call(method, `/api/users/${userId}/groups/${encodeURIComponent(group)}`).then(({ status }) => status, () => 0)
      if (status === 200) return
      if (status !== 0 && status !== 503) this.#odd(`${method} of a group: ${status}`)
      await pause(300)
    }
  }

  #locked (step: () => Promise<void>): Promise<void> {
    this.#moverLock = this.#moverLock.then(step)
    return this.#moverLock
  }

  /**
   * While masters change nobody joins or leaves, and an answer that was on its way may be forgotten together with its
   * key.
   */
  async whileMastersChange (change: () => Promise<void>): Promise<void> {
    const { ledger } = this.#world
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    void this.#locked(async () => {
      const haveChanged = ledger.mastersChange()
      await change().then(resolve, reject)
      haveChanged()
    })
    await promise
  }

  /**
   * Does what makes Redis lose everything, or something, while nobody joins or leaves; resolves when it is done. Then,
   * before anybody else may, all join again, as a login handler would have them do.
   */
  async whileDataIsLost (lose: () => Promise<void>): Promise<void> {
    const { ledger } = this.#world
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    void this.#locked(async () => {
      // From here on nobody can say which of the two a publish met.
      ledger.loses()
      const { division, outside } = this.#world
      const untilMs = performance.now()
      const until = await Promise.all(division.prefixes.map(async (_, partition) => await outside.moment(partition)))
      for (const [key, stay] of this.#stays) {
        stay.until = Math.min(stay.until, until[division.homeOf(`user:${key.split('\n')[0]}`)]!)
        stay.untilMs = Math.min(stay.untilMs, untilMs)
      }
      await lose().then(resolve, reject)
      ledger.losses++
      for (const [key, stay] of [...this.#stays]) {
        const [userId, group] = key.split('\n') as [string, string]
        await this.#join(userId, group)
        stay.gone = await this.#world.outside.moment(userId)
      }
    })
    await promise
  }
}
