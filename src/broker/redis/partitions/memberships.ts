// Rebuilds the directory when partitions are divided: reads memberships from the users, since the old directory counted
// by the old partitions.
import { type Ask, each, keysUnder } from './scan.ts'
import { partitionOf } from './slots.ts'

/** How long after the end of a user's record its groups may still be asked for: as long as a history can be. */
const AFTER_SECONDS = 400 * 86_400

export interface MembershipsOptions {
  readonly ask: Ask
  /** Of the new partitions, in order. */
  readonly tags: readonly string[]
  readonly targets: readonly string[]
}

export class Memberships {
  readonly #options: MembershipsOptions
  /** Group → number of each new partition with members → until which second. */
  readonly #parts = new Map<string, Map<number, number>>()
  /** For each new partition: group → how many members it has by the API. */
  readonly #joined: ReadonlyArray<Map<string, number>>

  constructor (options: MembershipsOptions) {
    this.#options = options
    this.#joined = options.tags.map(() => new Map<string, number>())
  }

  /** Reads the users of one partition, some of whom may be in its parts already. */
  async read (source: string, parts: readonly string[]): Promise<void> {
    const { ask, targets } = this.#options
    const nowSeconds = Number((await ask(source, (redis) => redis.time()))[0])
    for (const prefix of new Set([source, ...parts])) {
      for await (const rests of keysUnder(ask, prefix, 'groups:*')) {
        await each(rests, async (rest) => {
          const part = partitionOf(rest.slice('groups:'.length), targets.length)
          const target = targets[part]!
          // A user who was being moved when the tool was killed is in both places.
          if (prefix === source && target !== source && await ask(target, (redis) => redis.exists(`${target}:${rest}`)) === 1) return
          const [ends, groups] = await Promise.all([
            ask(prefix, (redis) => redis.expiretime(`${prefix}:${rest}`)), ask(prefix, (redis) => redis.hgetall(`${prefix}:${rest}`))
          ])
          // Everything they may still ask for was published before their record ends.
          for (const [group, mark] of Object.entries(groups)) this.#add(group, mark, part, (ends < 0 ? nowSeconds : ends) + AFTER_SECONDS)
        })
      }
    }
  }

  #add (group: string, mark: string, part: number, until: number): void {
    if (group === '') return
    const parts = this.#parts.get(group) ?? new Map<number, number>()
    this.#parts.set(group, parts.set(part, Math.max(parts.get(part) ?? 0, until)))
    // As in functions/groups.lua: joined, and not by a claim.
    if (/^\+\d+(?!\d|c)/.test(mark)) this.#joined[part]!.set(group, (this.#joined[part]!.get(group) ?? 0) + 1)
  }

  hasMembersIn (group: string, part: number): boolean {
    return this.#parts.get(group)?.has(part) === true
  }

  async write (): Promise<void> {
    const { ask, tags, targets } = this.#options
    for (const [group, parts] of this.#parts) {
      const home = targets[partitionOf(group, targets.length)]!
      const key = `${home}:members:${group}`
      const ends = Object.fromEntries([...parts].map(([n, until]) => [tags[n]!, until]))
      await ask(home, (redis) => redis.multi().hset(key, ends).expireat(key, Math.max(...parts.values())).exec())
    }
    for (const [n, joined] of this.#joined.entries()) {
      const key = `${targets[n]}:joined`
      await ask(key, (redis) => redis.unlink(key))
      for (const [group, count] of joined) await ask(key, (redis) => redis.hset(key, group, count))
    }
  }
}
