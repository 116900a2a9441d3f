// How many partitions there are: written where they are at the first start, and a node that was told another number does not work with them.
import { randomUUID } from 'node:crypto'
import type { Links, Log } from '../links.ts'
import { UNDER_WAY } from './under-way.ts'
import { Unavailable } from '../../broker.ts'
import type { RedisBroker } from '../redis.ts'

/** What is half made when its maker dies. */
const HALF_MADE_SECONDS = 60

export interface DivisionOptions {
  /** REDIS_PREFIX. */
  readonly root: string
  readonly partitions: readonly RedisBroker[]
  readonly tags: readonly string[]
  readonly links: Links
  readonly log: Log
}

export class Division {
  readonly #options: DivisionOptions
  readonly #prefixes: readonly string[]
  #isAgreed = false
  #refusal = ''
  #checking: Promise<void> | undefined

  constructor (options: DivisionOptions) {
    this.#options = options
    this.#prefixes = options.tags.map((tag) => tag === '' ? options.root : `${options.root}:{${tag}}`)
  }

  /** What stands there is what this node was told. */
  get isAgreed (): boolean { return this.#isAgreed }

  /** What stands there will never be what this node was told. */
  get isRefused (): boolean { return this.#refusal !== '' }

  /** Why the node does not work with what stands there; empty if it does. */
  get fault (): string {
    return this.#refusal === '' && !this.#isAgreed ? 'waiting for all partitions, to found them' : this.#refusal
  }

  /** Looks, if it is not known yet. */
  check (): void {
    if (this.#isAgreed || this.#refusal !== '') return
    this.#checking ??= this.#check().catch(() => {}).finally(() => { this.#checking = undefined })
  }

  /** The list is away: each partition knows it, too. Throws if none is there. */
  async #known (): Promise<string[]> {
    const { root, partitions } = this.#options
    const tags = await Promise.any(partitions.map(async (partition, i) => {
      const text = await partition.ask((redis) => redis.hget(`${this.#prefixes[i]}:config`, 'partitions'))
      if (text === null) throw new Unavailable('it knows of no others')
      return text.split(' ')
    }))
    return tags.map((tag) => `${root}:{${tag}}`)
  }

  async #check (): Promise<void> {
    const { root, partitions, tags, links, log } = this.#options
    const key = `${root}:partitions`
    let found = await links.ask(key, (redis) => redis.lrange(key, 0, -1)).catch(async () => await this.#known())
    if (found.length === 0 && tags[0] === '') found = [...this.#prefixes]
    if (found.length === 0) {
      if (await links.ask(`${root}:config`, (redis) => redis.exists(`${root}:config`)) === 1) found = [root]
      else {
        const known = await Promise.all(partitions.map(async (partition, i) => await partition.ask((redis) => redis.hget(`${this.#prefixes[i]}:config`, 'partitions'))))
        const isNew = known.every((text) => text === null)
        await Promise.all(partitions.map(async (partition, i) => { await partition.call('tidings_divide', tags.join(' '), tags[i]!, isNew ? 1 : 0) }))
        // All at once, by whoever is first.
        const made = `{${key}}:${randomUUID()}`
        await links.ask(key, (redis) => redis.rpush(made, ...this.#prefixes))
        await links.ask(key, (redis) => redis.expire(made, HALF_MADE_SECONDS))
        if (await links.ask(key, (redis) => redis.renamenx(made, key)) === 1) await links.ask(key, (redis) => redis.persist(key))
        found = await links.ask(key, (redis) => redis.lrange(key, 0, -1))
      }
    }
    if (found.join() === this.#prefixes.join()) {
      this.#isAgreed = true
      return
    }
    if (found[0]?.startsWith(UNDER_WAY) === true) {
      this.#refusal = `"${root}" is being divided (${found[0]}): call "npm run partitions" again until it is through`
    } else {
      this.#refusal = `REDIS_PARTITIONS is ${tags.length}, and what stands under "${root}" has ${found.length}; set it to ${found.length}, or double the partitions with "npm run partitions"`
    }
    log.warn(`Redis: ${this.#refusal}`)
    for (const partition of partitions) await partition.close()
  }
}
