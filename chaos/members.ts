// Those who join and leave groups while everything breaks, one at a time; and who waits for them, since it loses data
// or replaces masters.
import { setTimeout as pause } from 'node:timers/promises'
import type { Stay } from './ledger.ts'
import type { Random } from './random.ts'
import { DYNAMIC_GROUPS, type World } from './world.ts'

export class Members {
  readonly #world: World
  readonly #onOdd: (what: string) => void
  /** `<user>\n<group>` → the stay under way. */
  readonly #stays = new Map<string, Stay>()
  #lock: Promise<void> = Promise.resolve()

  /** `onOdd` is told of an answer that nobody should get. */
  constructor (world: World, onOdd: (what: string) => void) {
    this.#world = world
    this.#onOdd = onOdd
  }

  /** Resolves when the last of them has its answer. */
  async settled (): Promise<void> {
    await this.#lock
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

  /** In, or out again. */
  async move (random: Random): Promise<void> {
    await this.#locked(async () => {
      const userId = random.pick(this.#world.users)
      const group = random.pick(DYNAMIC_GROUPS)
      const stay = this.#stays.get(`${userId}\n${group}`)
      if (stay === undefined) await this.#join(userId, group)
      else await this.#leave(userId, group, stay)
    })
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
      if (status !== 0 && status !== 503) this.#onOdd(`${method} of a group: ${status}`)
      await pause(300)
    }
  }

  #locked (step: () => Promise<void>): Promise<void> {
    this.#lock = this.#lock.then(step)
    return this.#lock
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
