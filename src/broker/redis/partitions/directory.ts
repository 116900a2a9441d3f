// What the homes of groups know: in which partitions they have members. It is entered there before anybody becomes one.
import { Uncertain, Unavailable } from '../../broker.ts'
import type { RedisBroker } from '../redis.ts'
import { partitionOf } from './slots.ts'

/**
 * How much longer than needed an entry stands, so that it is renewed once a day and not at each visit; less than half
 * of it is never left.
 */
const SPARE_SECONDS = 2 * 86_400
/**
 * What the routes joined lasts for ever, and what its home knows of it so long, after all nodes have gone: they renew
 * it every few hours.
 */
const JOINED_SECONDS = 30 * 86_400
/** Ticks (seconds) between two looks whether that is due. */
const RENEWAL_TICKS = 60
/** Entries that a node remembers to have made; beyond, it begins to remember anew. */
const MOST_REMEMBERED = 200_000
/** Groups that a node has let users in with, of each partition, whose homes are away. Beyond, who comes waits. */
const MOST_LATE = 10_000

export interface DirectoryOptions {
  readonly partitions: readonly RedisBroker[]
  readonly tags: readonly string[]
  readonly historySeconds: number
  /**
   * Something may be missing for the members of these groups in a partition: their homes did not know of them for a
   * while.
   */
  readonly onLate: (partition: number, groups: readonly string[]) => void
}

export class Directory {
  readonly #partitions: readonly RedisBroker[]
  readonly #tags: readonly string[]
  readonly #historySeconds: number
  readonly #onLate: DirectoryOptions['onLate']
  /** For each partition: group, whose home has yet to be told → second until which. */
  readonly #late: ReadonlyArray<Map<string, number>>
  #isTelling = false
  #isRenewing = false
  #ticks = 0
  /** For each partition: group → second until which it stands in its home. */
  #entered: ReadonlyArray<Map<string, number>>

  constructor ({ partitions, tags, historySeconds, onLate }: DirectoryOptions) {
    this.#partitions = partitions
    this.#tags = tags
    this.#historySeconds = historySeconds
    this.#onLate = onLate
    this.#late = tags.map(() => new Map<string, number>())
    this.#entered = tags.map(() => new Map<string, number>())
  }

  /** Something that was entered may be lost. */
  forget (): void {
    this.#ticks = 0
    this.#entered = this.#tags.map(() => new Map<string, number>())
  }

  /**
   * A partition has members of these groups, whom the routes join: renewed for as long as it has. Costs nothing if the
   * node has entered it before.
   * Throws Unavailable if a home is away.
   */
  async enter (userId: string, groups: readonly string[]): Promise<void> {
    const { failure } = await this.#enter(partitionOf(userId, this.#tags.length), groups, Date.now() / 1000 + JOINED_SECONDS)
    if (failure !== undefined) throw failure
  }

  /**
   * While a token of theirs is good, and for as long as they may ask for what was published then; who comes with one is
   * let in although a home is away. Nothing can be published to such a group meanwhile; what is published between the
   * home's return and its being told is missing in the partition. So its log counts as cut until then, also if this
   * node dies.
   */
  async admit (userId: string, groups: readonly string[] | undefined, untilSeconds: number): Promise<void> {
    const partition = partitionOf(userId, this.#tags.length)
    const { away, failure } = await this.#enter(partition, groups ?? [], untilSeconds)
    if (failure === undefined) return
    const late = this.#late[partition]!
    if (late.size >= MOST_LATE) throw failure
    // Who is a member already was entered when they became one.
    const unheard = await this.#partitions[partition]!.call('tidings_unheard', userId, ...away) as string[]
    for (const group of unheard) late.set(group, Math.max(untilSeconds, late.get(group) ?? 0))
  }

  /** Once a second: tells homes that are back, and now and then what must not end. */
  tick (): void {
    if (this.#ticks++ % RENEWAL_TICKS === 0 && !this.#isRenewing) {
      this.#isRenewing = true
      void Promise.allSettled(this.#tags.map(async (_, partition) => { await this.#renew(partition) })).then(() => { this.#isRenewing = false })
    }
    if (this.#isTelling || this.#late.every(({ size }) => size === 0)) return
    this.#isTelling = true
    const told = this.#late.map(async (late, partition) => { if (late.size > 0) await this.#enter(partition, [...late.keys()], Math.max(...late.values())) })
    void Promise.allSettled(told).then(() => { this.#isTelling = false })
  }

  /**
   * One node in some hours: the homes of all that the routes joined in a partition are told again. What they did not
   * know, was not copied meanwhile.
   */
  async #renew (partition: number): Promise<void> {
    const until = Math.ceil(Date.now() / 1000 + JOINED_SECONDS)
    for (let at = ''; at !== '0';) {
      const [next, ...groups] = await this.#partitions[partition]!.call('tidings_joined', at) as [string, ...string[]]
      at = next
      const told = await Promise.allSettled([...this.#byHome(groups)].map(async ([home, some]) =>
        await this.#partitions[home]!.call('tidings_enter', this.#tags[partition]!, until, ...some) as string[]))
      const unknown = told.flatMap((result) => result.status === 'fulfilled' ? result.value : [])
      if (unknown.length > 0) await this.#heard(partition, unknown, [])
    }
  }

  #byHome (groups: readonly string[]): Map<number, string[]> {
    return Map.groupBy(groups, (group) => partitionOf(group, this.#tags.length))
  }

  /**
   * `away`: groups whose homes could not be told. Throws what is no passing condition, or if the partition itself is
   * away.
   */
  async #enter (partition: number, groups: Iterable<string>, untilSeconds: number): Promise<{ away: string[], failure: Error | undefined }> {
    const entered = this.#entered[partition]!
    const late = this.#late[partition]!
    const nowSeconds = Date.now() / 1000
    const needed = Math.max(untilSeconds, nowSeconds + this.#historySeconds) + this.#historySeconds
    const missing = [...groups].filter((group) => (entered.get(group) ?? 0) < needed + SPARE_SECONDS / 2 || late.has(group))
    if (missing.length === 0) return { away: [], failure: undefined }
    const until = Math.ceil(needed + SPARE_SECONDS)
    const homes = [...this.#byHome(missing)]
    const results = await Promise.allSettled(homes.map(async ([home, some]) =>
      await this.#partitions[home]!.call('tidings_enter', this.#tags[partition]!, until, ...some)))
    const away: string[] = []
    const told: string[] = []
    let failure: Error | undefined
    for (const [i, result] of results.entries()) {
      const [, some] = homes[i]!
      if (result.status === 'fulfilled') told.push(...some)
      else if (result.reason instanceof Unavailable || result.reason instanceof Uncertain) {
        failure = result.reason
        away.push(...some)
      } else throw result.reason
    }
    if (told.length > 0) await this.#heard(partition, told.filter((group) => late.has(group)), told.filter((group) => !late.has(group)))
    if (entered.size > MOST_REMEMBERED) entered.clear()
    for (const group of told) entered.set(group, until)
    return { away, failure }
  }

  /** Ends what `admit` began, here or on another node. */
  async #heard (partition: number, late: readonly string[], others: readonly string[]): Promise<void> {
    const cut = await this.#partitions[partition]!.call('tidings_heard', late.length, ...late, ...others) as string[]
    for (const group of late) this.#late[partition]!.delete(group)
    if (cut.length > 0) this.#onLate(partition, cut)
  }

  /** The tags of the partitions beside the home that have members. */
  async membersOf (home: number, addresses: readonly string[]): Promise<string[][]> {
    return await this.#partitions[home]!.call('tidings_members', ...addresses) as string[][]
  }
}
