// Checks the number of partitions: the first start writes it into Redis, and a node with another number refuses to
// work.
import type { Links, Log } from '../links.ts'
import { NO_PARTITION, UNDER_WAY } from './under-way.ts'
import { Unavailable } from '../../broker.ts'
import type { RedisBroker } from '../redis.ts'

/**
 * Ticks (seconds) between two writes of what other services need, since a Redis that lost its data has lost that too.
 */
const RESTORE_TICKS = 5

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
  #ticks = 0
  #refusal = ''
  #checking: Promise<void> | undefined
  readonly #agreed = Promise.withResolvers<void>()
  readonly #refused = Promise.withResolvers<void>()

  constructor (options: DivisionOptions) {
    this.#options = options
    this.#prefixes = options.tags.map((tag) => tag === '' ? options.root : `${options.root}:{${tag}}`)
  }

  /** Redis has the number of partitions that this node is configured for. */
  get isAgreed (): boolean { return this.#isAgreed }

  /** Redis has another number, which this node can never work with. */
  get isRefused (): boolean { return this.#refusal !== '' }

  /** Resolves when isAgreed becomes true; `refused` when isRefused does. */
  get agreed (): Promise<void> { return this.#agreed.promise }
  get refused (): Promise<void> { return this.#refused.promise }

  /** Why the node does not work with these partitions; empty if it does. */
  get fault (): string {
    return this.#refusal === '' && !this.#isAgreed ? 'waiting for all partitions; at the first start all must be up at once' : this.#refusal
  }

  /**
   * Called once a second and when something may have changed. Also when all was agreed: a node that was stopped for
   * some seconds, or cut off, does not know that the partitions were divided meanwhile. A partition that is away is
   * reported elsewhere.
   */
  check (): void {
    if (this.#refusal !== '') return
    this.#checking ??= (this.#isAgreed ? this.#look() : this.#check()).catch(() => {}).finally(() => { this.#checking = undefined })
  }

  async #look (): Promise<void> {
    const { root, tags, links } = this.#options
    if (tags[0] !== '' && ++this.#ticks % RESTORE_TICKS === 0) await this.#list()
    const prefixes = await links.ask(`${root}:partitions`, (redis) => redis.lrange(`${root}:partitions`, 0, -1))
    if (prefixes.length > 0 && prefixes.join() !== this.#prefixes.join()) await this.#refuse(prefixes)
  }

  /** Reads the list from a partition when the list itself is out of reach. Throws if no partition has it. */
  async #listFromPartitions (): Promise<string[]> {
    const { partitions } = this.#options
    const tags = await Promise.any(partitions.map(async (partition, i) => {
      const text = await partition.ask((redis) => redis.hget(`${this.#prefixes[i]}:config`, 'partitions'))
      if (text === null) throw new Unavailable('it knows of no others')
      return text
    }))
    return this.#named(tags)
  }

  #named (tags: string): string[] {
    return tags.split(' ').map((tag) => `${this.#options.root}:{${tag}}`)
  }

  /** Returns the list of partitions, after writing it if there is none. */
  async #list (): Promise<string[]> {
    const { root, links } = this.#options
    const key = `${root}:partitions`
    const listed = await links.ask(key, (redis) => redis.fcall('tidings_list_partitions', 1, key, ...this.#prefixes)) as string[]
    if (listed.join() === this.#prefixes.join()) await this.#refuseAtRoot()
    return listed
  }

  /**
   * Makes publishing by FCALL to REDIS_PREFIX itself an error that says where to go, since nobody reads what is there.
   * In a Cluster Redis itself refuses it.
   */
  async #refuseAtRoot (): Promise<void> {
    const { root, tags, links } = this.#options
    if (tags[0] === '' || links.isCluster) return
    const key = `${root}:config`
    await links.ask(key, (redis) => redis.hset(key, { partitions: tags.join(' '), partition: NO_PARTITION }))
  }

  /** Whether Redis has one partition without a tag. */
  async #isRootAlone (): Promise<boolean> {
    const { root, links } = this.#options
    const key = `${root}:config`
    const [there, partition] = await links.ask(key, (redis) => Promise.all([redis.exists(key), redis.hget(key, 'partition')]))
    return there === 1 && partition !== NO_PARTITION
  }

  async #check (): Promise<void> {
    const { root, partitions, tags, links } = this.#options
    const key = `${root}:partitions`
    let prefixes = await links.ask(key, (redis) => redis.lrange(key, 0, -1)).catch(async () => await this.#listFromPartitions())
    if (prefixes.length === 0 && tags[0] === '') {
      // If there are several partitions, one has the tag 0, and knows the others even if the list is lost.
      const recorded = await links.ask(key, (redis) => redis.hget(`${root}:{0}:config`, 'partitions'))
      prefixes = recorded === null ? [...this.#prefixes] : this.#named(recorded)
    }
    if (prefixes.length === 0) {
      const recorded = await Promise.all(partitions.map((partition, i) => partition.ask((redis) => redis.hget(`${this.#prefixes[i]}:config`, 'partitions'))))
      const other = recorded.find((text) => typeof text === 'string' && text !== tags.join(' '))
      const isNew = recorded.every((text) => text === null)
      if (typeof other === 'string') prefixes = this.#named(other)
      else if (isNew && await this.#isRootAlone()) prefixes = [root]
      else {
        await Promise.all(partitions.map(async (partition, i) => { await partition.call('tidings_divide', tags.join(' '), tags[i]!, isNew ? 1 : 0) }))
        prefixes = await this.#list()
      }
    }
    if (prefixes.join() === this.#prefixes.join()) {
      await this.#refuseAtRoot()
      this.#isAgreed = true
      this.#agreed.resolve()
      return
    }
    await this.#refuse(prefixes)
  }

  /** The partitions are others than this node has. */
  async #refuse (prefixes: readonly string[]): Promise<void> {
    const { root, partitions, tags, log } = this.#options
    if (prefixes[0]?.startsWith(UNDER_WAY) === true) {
      this.#refusal = `"${root}" is being divided (${prefixes[0]}): call "npm run partitions" again until it is through`
    } else {
      this.#refusal = `REDIS_PARTITIONS is ${tags.length}, and what stands under "${root}" has ${prefixes.length}; set it to ${prefixes.length}, or double the partitions with "npm run partitions"`
    }
    this.#refused.resolve()
    log.warn(`Redis: ${this.#refusal}`)
    for (const partition of partitions) await partition.close()
  }
}
