// The directory: the home of each group records which partitions have members. A partition is entered there before
// anybody in it becomes a member.
import { Uncertain, Unavailable } from '../../broker.ts'
import type { RedisBroker } from '../redis.ts'
import { partitionOf } from './slots.ts'

/**
 * How much longer than needed an entry is made, so that it is renewed once a day and not at each visit. At least half
 * of this margin is always left.
 */
const SPARE_SECONDS = 2 * 86_400
/**
 * Memberships made through the API have no end, but their entries last this long after all nodes have gone. Nodes renew
 * them every few hours.
 */
const JOINED_SECONDS = 30 * 86_400
/** Ticks (seconds) between two checks whether a renewal is due. */
const RENEWAL_TICKS = 60
/** How many entries a node remembers. Past that it starts to remember from nothing. */
const MOST_REMEMBERED = 200_000
/**
 * How many groups of each partition may wait to be told to homes that are away. Past that, users with further groups
 * must wait.
 */
const MOST_LATE = 10_000

export interface DirectoryOptions {
  readonly partitions: readonly RedisBroker[]
  readonly tags: readonly string[]
  readonly historySeconds: number
  /**
   * Called when something may be missing for the members of these groups in a partition, because their homes did not
   * know of them for a while.
   */
  readonly onLate: (partition: number, groups: readonly string[]) => void
}

export class Directory {
  readonly #partitions: readonly RedisBroker[]
  readonly #tags: readonly string[]
  readonly #historySeconds: number
  readonly #onLate: DirectoryOptions['onLate']
  /** For each partition: groups whose home must still be told → until which second they must be entered. */
  readonly #late: ReadonlyArray<Map<string, number>>
  #isTelling = false
  #isRenewing = false
  #ticks = 0
  /** For each partition: group → until which second it is entered at its home. */
  #entered: ReadonlyArray<Map<string, number>>
  /** User → until which second all their groups are entered, and the tick at which they may be in others. */
  readonly #prolonged = new Map<string, readonly [untilSeconds: number, againAtTick: number]>()
  /** For each partition: groups whose homes are told again in this minute. */
  readonly #doubted: ReadonlyArray<Set<string>>

  constructor ({ partitions, tags, historySeconds, onLate }: DirectoryOptions) {
    this.#partitions = partitions
    this.#tags = tags
    this.#historySeconds = historySeconds
    this.#onLate = onLate
    this.#late = tags.map(() => new Map<string, number>())
    this.#entered = tags.map(() => new Map<string, number>())
    this.#doubted = tags.map(() => new Set<string>())
  }

  /** Forgets what was entered, since Redis may have lost it. */
  forget (): void {
    this.#ticks = 0
    this.#prolonged.clear()
    this.#entered = this.#tags.map(() => new Map<string, number>())
  }

  /**
   * Enters the user's partition at the homes of groups that are joined through the API. Renewed for as long as it has
   * such members. Costs nothing if this node has entered it before. Throws Unavailable if a home is away.
   */
  async enter (userId: string, groups: readonly string[]): Promise<void> {
    const { failure } = await this.#enter(partitionOf(userId, this.#tags.length), groups, Date.now() / 1000 + JOINED_SECONDS)
    if (failure !== undefined) throw failure
  }

  /**
   * The same for groups of a token: entered until the token expires, and for as long as the user may ask for their
   * history after that. A user with a token is admitted even if a home is away. Nothing can be published to such a
   * group meanwhile, but what is published after the home's return and before it is told would be missing in the
   * partition. So the log there counts as cut until then, even if this node dies.
   */
  async admit (userId: string, groups: readonly string[] | undefined, untilSeconds: number): Promise<void> {
    const partition = partitionOf(userId, this.#tags.length)
    const { away, failure } = await this.#enter(partition, groups ?? [], untilSeconds)
    if (failure === undefined) return
    const late = this.#late[partition]!
    if (late.size >= MOST_LATE) throw failure
    // Existing members were entered when they joined.
    const unheard = await this.#partitions[partition]!.call('tidings_unheard', userId, ...away) as string[]
    for (const group of unheard) late.set(group, Math.max(untilSeconds, late.get(group) ?? 0))
  }

  /**
   * A token without a claim prolongs what other ones claim, so those groups are entered for as long, too. Rejects if a
   * home is away.
   */
  async prolong (userId: string, untilSeconds: number): Promise<void> {
    const [until, againAtTick] = this.#prolonged.get(userId) ?? [0, 0]
    if (until >= untilSeconds && this.#ticks < againAtTick) return
    const partition = partitionOf(userId, this.#tags.length)
    const groups = await this.#partitions[partition]!.groups(userId)
    const { failure } = await this.#enter(partition, groups.keys(), untilSeconds + SPARE_SECONDS / 2)
    if (failure !== undefined) throw failure
    if (this.#prolonged.size > MOST_REMEMBERED) this.#prolonged.clear()
    this.#prolonged.set(userId, [untilSeconds + SPARE_SECONDS / 2, this.#ticks + SPARE_SECONDS / 2])
  }

  /**
   * Something may be missing for a member of these groups. If another node admitted somebody while a home was away, and
   * died, the log counts as cut although the home is back. So homes are told again, once a minute at most. Nobody waits
   * for it.
   */
  doubt (userId: string, groups: Iterable<string>, untilSeconds: number): void {
    const partition = partitionOf(userId, this.#tags.length)
    const doubted = this.#doubted[partition]!
    // Where this node has entered none yet, it does so at the next visit.
    const fresh = new Set([...groups].filter((group) => !doubted.has(group) && this.#entered[partition]!.has(group)))
    for (const group of fresh) doubted.add(group)
    void this.#enter(partition, fresh, untilSeconds, fresh).catch(() => {})
  }

  /** Called once a second: tells homes that are back, and now and then renews entries of memberships without an end. */
  tick (): void {
    const isDue = this.#ticks++ % RENEWAL_TICKS === 0
    if (isDue) for (const doubted of this.#doubted) doubted.clear()
    if (isDue && !this.#isRenewing) {
      this.#isRenewing = true
      void Promise.allSettled(this.#tags.map(async (_, partition) => { await this.#renew(partition) })).then(() => { this.#isRenewing = false })
    }
    if (this.#isTelling || this.#late.every(({ size }) => size === 0)) return
    this.#isTelling = true
    const calls = this.#late.map(async (late, partition) => { await this.#enter(partition, late.keys(), Math.max(...late.values())) })
    void Promise.allSettled(calls).then(() => { this.#isTelling = false })
  }

  /**
   * One node every few hours: enters all groups with members by the API again. If a home did not know of them,
   * notifications were not copied meanwhile.
   */
  async #renew (partition: number): Promise<void> {
    const until = Math.ceil(Date.now() / 1000 + JOINED_SECONDS)
    for (let at = ''; at !== '0';) {
      const [next, ...groups] = await this.#partitions[partition]!.call('tidings_joined', at) as [string, ...string[]]
      at = next
      const results = await Promise.allSettled([...this.#byHome(groups)].map(async ([home, some]) => await this.#tellHome(home, partition, until, some)))
      const unknown = results.flatMap((result) => result.status === 'fulfilled' ? result.value : [])
      if (unknown.length > 0) await this.#heard(partition, unknown, [])
    }
  }

  #byHome (groups: readonly string[]): Map<number, string[]> {
    return Map.groupBy(groups, (group) => partitionOf(group, this.#tags.length))
  }

  /**
   * Resolves with the groups whose homes are away, and why. Rejects if the failure is not a passing one, or if the
   * user's own partition is away. `again`: groups that are entered although this node has entered them.
   */
  async #enter (
    partition: number, groups: Iterable<string>, untilSeconds: number, again: ReadonlySet<string> = new Set()
  ): Promise<{ away: string[], failure: Error | undefined }> {
    const entered = this.#entered[partition]!
    const late = this.#late[partition]!
    const nowSeconds = Date.now() / 1000
    const needed = Math.max(untilSeconds, nowSeconds + this.#historySeconds) + this.#historySeconds
    const missing = [...groups].filter((group) => (entered.get(group) ?? 0) < needed + SPARE_SECONDS / 2 || late.has(group) || again.has(group))
    if (missing.length === 0) return { away: [], failure: undefined }
    const until = Math.ceil(needed + SPARE_SECONDS)
    const homes = [...this.#byHome(missing)]
    const results = await Promise.allSettled(homes.map(async ([home, some]) => await this.#tellHome(home, partition, until, some)))
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

  /** Resolves with the groups for which the partition was not entered before. */
  async #tellHome (home: number, partition: number, until: number, groups: readonly string[]): Promise<string[]> {
    const broker = this.#partitions[home]!
    const [id, ...unknown] = await broker.call('tidings_enter', this.#tags[partition]!, until, ...groups) as [string, ...string[]]
    if (id !== '') broker.saw(Number(id))
    return unknown
  }

  /** Homes were told: ends what `admit` began for these groups, on this node or another. */
  async #heard (partition: number, late: readonly string[], others: readonly string[]): Promise<void> {
    const cut = await this.#partitions[partition]!.call('tidings_heard', late.length, ...late, ...others) as string[]
    for (const group of late) this.#late[partition]!.delete(group)
    if (cut.length > 0) this.#onLate(partition, cut)
  }

  /** The tags of the partitions beside the home that have members, for each address. */
  async membersOf (home: number, addresses: readonly string[]): Promise<string[][]> {
    return await this.#partitions[home]!.call('tidings_members', ...addresses) as string[][]
  }
}
