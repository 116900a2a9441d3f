// What the homes of groups know: in which partitions they have members. It is entered there before anybody becomes one.
import type { RedisBroker } from '../redis.ts'
import { partitionOf } from './slots.ts'

/** How much longer than needed an entry stands, so that it is renewed once a day and not at each visit. */
const SPARE_SECONDS = 2 * 86_400
/** Entries that a node remembers to have made; beyond, it begins to remember anew. */
const MOST_REMEMBERED = 200_000

export interface DirectoryOptions {
  readonly partitions: readonly RedisBroker[]
  readonly tags: readonly string[]
  readonly historySeconds: number
}

export class Directory {
  readonly #partitions: readonly RedisBroker[]
  readonly #tags: readonly string[]
  readonly #historySeconds: number
  /** For each partition: group → second until which it stands in its home. */
  #entered: ReadonlyArray<Map<string, number>>

  constructor ({ partitions, tags, historySeconds }: DirectoryOptions) {
    this.#partitions = partitions
    this.#tags = tags
    this.#historySeconds = historySeconds
    this.#entered = tags.map(() => new Map<string, number>())
  }

  /** Something that was entered may be lost. */
  forget (): void {
    this.#entered = this.#tags.map(() => new Map<string, number>())
  }

  /**
   * A partition has members of these groups while a token of theirs is good, and for as long as they may ask for what was published then; or for
   * ever. Costs nothing if the node has entered it before. Throws Unavailable if a home is away.
   */
  async enter (partition: number, groups: Iterable<string>, untilSeconds: number): Promise<void> {
    const entered = this.#entered[partition]!
    const nowSeconds = Date.now() / 1000
    const needed = untilSeconds === Infinity ? Infinity : Math.max(untilSeconds, nowSeconds + this.#historySeconds) + this.#historySeconds
    const missing = new Map<number, string[]>()
    for (const group of groups) {
      if ((entered.get(group) ?? 0) >= needed) continue
      const home = partitionOf(group, this.#tags.length)
      const some = missing.get(home)
      if (some === undefined) missing.set(home, [group])
      else some.push(group)
    }
    if (missing.size === 0) return
    const until = needed === Infinity ? Infinity : Math.ceil(needed + SPARE_SECONDS)
    await Promise.all([...missing].map(async ([home, groups]) => {
      await this.#partitions[home]!.call('tidings_enter', this.#tags[partition]!, until === Infinity ? 'inf' : until, ...groups)
      if (entered.size > MOST_REMEMBERED) entered.clear()
      for (const group of groups) entered.set(group, until)
    }))
  }

  /** The tags of the partitions beside the home that have members. */
  async membersOf (home: number, addresses: readonly string[]): Promise<string[][]> {
    return await this.#partitions[home]!.call('tidings_members', ...addresses) as string[][]
  }
}
