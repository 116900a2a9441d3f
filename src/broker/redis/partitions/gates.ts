// Refuses publishers by FCALL while partitions are divided, in case they were not stopped. What they wrote could be
// lost.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Ask } from './scan.ts'
import { tagsOf } from './slots.ts'
import { NO_PARTITION } from './under-way.ts'

/** Between two reads of Redis's clock. */
const TURN_MS = 50

export interface GatesOptions {
  readonly root: string
  readonly from: number
  readonly to: number
  /** Sends a command to the Redis that has a key. */
  readonly ask: Ask
  /** In a Cluster even a single partition has a tag. */
  readonly isCluster: boolean
}

export class Gates {
  readonly #options: GatesOptions
  readonly #sources: readonly string[]
  readonly #targets: readonly string[]
  /** REDIS_PREFIX, which is no partition. In a Cluster Redis itself refuses it. */
  readonly #bare: readonly string[]

  constructor (options: GatesOptions, sources: readonly string[], targets: readonly string[]) {
    this.#options = options
    this.#sources = sources
    this.#targets = targets
    this.#bare = options.isCluster || sources.includes(options.root) ? [] : [options.root]
  }

  /** Refuses publishes from now on, by telling every partition that it is none of the listed ones. */
  async shut (): Promise<void> {
    const { ask, to } = this.#options
    const secondOf = async (prefix: string): Promise<number> => Number((await ask(prefix, (redis) => redis.time()))[0])
    for (const bare of this.#bare) await this.#write(bare, to, '')
    for (const prefix of new Set([...this.#sources, ...this.#targets])) {
      if (!this.#sources.includes(prefix) && await ask(prefix, (redis) => redis.exists(`${prefix}:config`)) === 0) continue
      await this.#write(prefix, to, '')
      // Functions read this setting once a second.
      for (const second = await secondOf(prefix); await secondOf(prefix) === second;) await sleep(TURN_MS)
    }
  }

  /** Restores what was there before. */
  async reopen (): Promise<void> {
    const { root, from, ask } = this.#options
    for (const [i, source] of this.#sources.entries()) {
      if (source === root) await ask(source, (redis) => redis.hdel(`${source}:config`, 'partitions', 'partition'))
      else await this.#write(source, from, tagsOf(from)[i]!)
    }
    for (const bare of this.#bare) await this.#write(bare, from, NO_PARTITION)
  }

  /** Lets the new partitions accept publishes. A prefix that is no partition any more answers where to go. */
  async open (): Promise<void> {
    const { to, ask } = this.#options
    for (const [n, target] of this.#targets.entries()) await this.#write(target, to, tagsOf(to)[n]!)
    for (const source of this.#sources) {
      if (this.#targets.includes(source)) continue
      await ask(source, (redis) => redis.unlink(`${source}:config`, `${source}:clock`, `${source}:born`))
      await this.#write(source, to, NO_PARTITION)
    }
    for (const bare of this.#bare) await this.#write(bare, to, NO_PARTITION)
  }

  async #write (prefix: string, count: number, partition: string): Promise<void> {
    await this.#options.ask(prefix, (redis) => redis.hset(`${prefix}:config`, { partitions: tagsOf(count).join(' '), partition }))
  }
}
