// Divides each partition into several, offline, by its range of slots. Ids stay the same, so cursors do too.
//
// Every step can be repeated: a key is copied to where it belongs and only then removed. A tool that was killed at any
// moment is started again. Until it is done, the list of partitions says so and no node starts.
import type { Redis } from 'ioredis'
import { Gates, type GatesOptions } from './gates.ts'
import { KEY_SECONDS, kindOf } from './keys.ts'
import { Memberships } from './memberships.ts'
import { Progress } from './progress.ts'
import { refuseDebts, refuseNodes } from './quiet.ts'
import { Replicas } from './replicas.ts'
import { each, keysUnder, Pace, SCANNED } from './scan.ts'
import { COPYING, IN_PLACE, NO_PARTITION, UNDER_WAY } from './under-way.ts'
import { compare, verify } from './verify.ts'
import { nameOf, partitionOf, tagsOf } from './slots.ts'

/** One of this many logs is compared byte for byte after copying. */
const COMPARED_EVERY = 20
/** How many unknown keys are named in the output. */
const MOST_NAMED = 5

export interface DoublingOptions extends GatesOptions {
  readonly isDryRun: boolean
  readonly say: (text: string) => void
}

export interface Doubled {
  readonly moved: number
  readonly copied: number
  readonly compared: number
}

interface Copied {
  readonly from: string
  readonly targets: readonly string[]
  /** It must be removed from its source. */
  readonly isLeaving: boolean
}

export class Doubling {
  readonly #options: DoublingOptions
  readonly #sources: readonly string[]
  readonly #tags: readonly string[]
  readonly #targets: readonly string[]
  readonly #progress: Progress
  readonly #gates: Gates
  readonly #memberships: Memberships
  readonly #replicas: Replicas
  readonly #pace = new Pace()
  #moved = 0
  #copied = 0
  #logs = 0
  #compared = 0
  readonly #unknown: string[] = []
  #unknownCount = 0

  constructor (given: DoublingOptions) {
    this.#progress = new Progress(`${given.root}:partitions`, given.ask)
    const options = { ...given, ask: this.#progress.ask.bind(this.#progress) }
    this.#options = options
    const prefixes = (count: number): string[] => count === 1 && !options.isCluster ? [options.root] : tagsOf(count).map((tag) => `${options.root}:{${tag}}`)
    this.#sources = prefixes(options.from)
    this.#tags = tagsOf(options.to)
    this.#targets = prefixes(options.to)
    this.#memberships = new Memberships({ ask: options.ask, tags: this.#tags, targets: this.#targets })
    this.#replicas = new Replicas(options)
    this.#gates = new Gates(options, this.#sources, this.#targets)
  }

  /** Rejects with a sentence that says what to do. */
  async run (): Promise<Doubled> {
    const { from, to, isDryRun, say } = this.#options
    const state = await this.#state()
    if (state === 'done') {
      say(`there are ${to} partitions already`)
      return { moved: 0, copied: 0, compared: 0 }
    }
    if (!isDryRun) {
      // Takes over from a call that was killed, or only stopped.
      if (state !== 'not yet') await this.#progress.begin(state)
      await refuseNodes(this.#options, [...this.#sources, ...this.#targets])
    }
    if (state === this.#inPlace) {
      if (!isDryRun) await this.#open()
      say(`all was in place: there ${isDryRun ? 'would be' : 'are'} ${to} partitions`)
      return { moved: 0, copied: 0, compared: 0 }
    }
    if (!isDryRun) await this.#shut(state)
    for (const [i, source] of this.#sources.entries()) {
      say(`partition ${i} of ${from}: who is in which group`)
      await this.#memberships.read(source, this.#numbersOf(source).map((n) => this.#targets[n]!))
    }
    for (const [i, source] of this.#sources.entries()) {
      if (!isDryRun) await this.#setUp(i)
      await this.#divide(i, source)
    }
    if (!isDryRun) {
      await this.#memberships.write()
      await verify(this.#options, this.#sources, this.#targets)
      await this.#replicas.have(this.#targets)
      await this.#progress.begin(this.#inPlace)
      await this.#open()
    }
    if (this.#unknownCount > 0) say(`left ${this.#unknownCount} keys where they are, which are none of Tidings: ${this.#unknown.join(', ')}${this.#unknownCount > MOST_NAMED ? ', …' : ''}`)
    say(`${isDryRun ? 'would have moved' : 'moved'} ${this.#moved} keys of users, ${isDryRun ? 'would have made' : 'made'} ${this.#copied} copies of what is shared, compared ${this.#compared} logs`)
    return { moved: this.#moved, copied: this.#copied, compared: this.#compared }
  }

  /** Refuses what would be written to the old partitions from now on. */
  async #shut (state: string): Promise<void> {
    if (state === 'not yet') {
      await refuseDebts(this.#options, this.#sources)
      await this.#progress.begin(this.#underWay)
    }
    await this.#gates.shut()
    await refuseDebts(this.#options, this.#sources).catch(async (error: Error) => {
      // Something was published at the last moment, or since a call was killed. Only nodes can copy it, and none starts
      // while this is under way. So all is made as it was, unless keys are in new places already.
      if (state !== this.#copying) {
        await this.#gates.reopen()
        await this.#progress.end(this.#isBare ? [] : this.#sources)
      }
      throw error
    })
    if (state !== this.#copying) await this.#progress.begin(this.#copying)
  }

  async #redis<T> (prefix: string, command: (redis: Redis) => Promise<T>): Promise<T> {
    return await this.#options.ask(prefix, command)
  }

  get #underWay (): string { return `${UNDER_WAY} from ${this.#options.from} to ${this.#options.to}` }
  get #copying (): string { return this.#underWay + COPYING }
  get #inPlace (): string { return this.#underWay + IN_PLACE }
  get #isBare (): boolean { return this.#sources[0] === this.#options.root }

  /** Lets the new partitions take publishes. What they take is not in the old ones, so nothing is copied any more. */
  async #open (): Promise<void> {
    await this.#replicas.have([`${this.#options.root}:partitions`])
    await this.#gates.open()
    await this.#replicas.have(this.#targets)
    await this.#progress.end(this.#targets)
  }

  /** 'done', 'not yet', or what the list says of a division that was begun. */
  async #state (): Promise<string> {
    const { root, from } = this.#options
    const listed = await this.#progress.read()
    const [first = ''] = listed
    if (listed.join() === this.#targets.join()) return 'done'
    if ([this.#underWay, this.#copying, this.#inPlace].includes(first)) return first
    if (first.startsWith(UNDER_WAY)) throw new Error(`${first} is under way; finish it first, with these numbers`)
    if (listed.length === 0 && from === 1) {
      const config = await this.#redis(this.#sources[0]!, (redis) => redis.hgetall(`${this.#sources[0]}:config`))
      if (Object.keys(config).length > 0 && config['partition'] !== NO_PARTITION) return 'not yet'
    }
    if (listed.join() !== this.#sources.join()) throw new Error(`there are ${listed.length === 0 ? 'no' : listed.length} partitions under "${root}", not ${from}`)
    return 'not yet'
  }

  #numbersOf (source: string): number[] {
    const share = this.#options.to / this.#options.from
    const i = this.#sources.indexOf(source)
    return Array.from({ length: share }, (_, n) => i * share + n)
  }

  /** Sets the new partitions up with the clock, the history's beginning and the limits of their source. */
  async #setUp (i: number): Promise<void> {
    const source = this.#sources[i]!
    const [clock, born, config] = await this.#redis(source, (redis) =>
      Promise.all([redis.get(`${source}:clock`), redis.get(`${source}:born`), redis.hgetall(`${source}:config`)]))
    for (const n of this.#numbersOf(source)) {
      const target = this.#targets[n]!
      if (clock !== null) await this.#redis(target, (redis) => redis.set(`${target}:clock`, clock))
      if (born !== null) await this.#redis(target, (redis) => redis.set(`${target}:born`, born))
      await this.#redis(target, (redis) => redis.hset(`${target}:config`, { ...config, partitions: this.#tags.join(' '), partition: '', directory: '1' }))
      await this.#redis(target, (redis) => redis.unlink(`${target}:sent`, `${target}:taken`, `${target}:copied`, `${target}:courier`))
    }
  }

  async #divide (i: number, source: string): Promise<void> {
    const { say, from } = this.#options
    let done = 0
    for await (const rests of keysUnder(this.#options.ask, source)) {
      const copied: Copied[] = []
      await this.#pace.each(rests, async (rest) => {
        const copy = await this.#copy(source, rest)
        if (copy !== undefined) copied.push(copy)
      })
      // Removed at the source only once the replicas of the target have it.
      await this.#replicas.have([...new Set(copied.flatMap(({ targets }) => targets))])
      await each(copied.filter(({ isLeaving }) => isLeaving), async (copy) => { await this.#redis(source, (redis) => redis.unlink(copy.from)) })
      done += rests.length
      if (done % (SCANNED * 20) < rests.length) say(`partition ${i} of ${from}: ${done} keys`)
    }
  }

  /**
   * The numbers of the partitions in which a key belongs: parts of its source, except for pointers and answers, which
   * go by their idempotency key.
   */
  #placesOf (source: string, rest: string): number[] {
    const [numbers, info] = [this.#numbersOf(source), kindOf(rest)]
    switch (info.kind) {
      case 'user': return [partitionOf(info.userId, this.#options.to)]
      case 'pointer': return [partitionOf(info.key, this.#options.to)]
      // Where its pointer leads. One partition without a tag (so not in a Cluster) had no pointers: the key decides.
      case 'answer': return this.#isBare ? [partitionOf(info.key, this.#options.to)] : [Math.max(numbers[0]!, this.#targets.indexOf(source))]
      case 'shared': {
        const home = partitionOf(nameOf(info.address), this.#options.to)
        return numbers.filter((n) => n === home || info.address === 'all' || this.#memberships.hasMembersIn(nameOf(info.address), n))
      }
      case 'each': return numbers
      case 'own': case 'unknown': return []
    }
  }

  /** Copies a key to where it belongs. Undefined: there is nothing to remove. */
  async #copy (source: string, rest: string): Promise<Copied | undefined> {
    const info = kindOf(rest)
    const from = `${source}:${rest}`
    if (info.kind === 'unknown') {
      if (this.#unknownCount++ < MOST_NAMED) this.#unknown.push(from)
      return undefined
    }
    if (info.kind === 'own') return (rest.startsWith('members:') || rest === 'joined') && !this.#options.isDryRun ? { from, targets: [], isLeaving: true } : undefined
    const places = this.#placesOf(source, rest)
    const targets = places.map((n) => this.#targets[n]!).filter((target) => target !== source)
    if (info.kind === 'user') this.#moved += targets.length
    else this.#copied += targets.length
    if (this.#options.isDryRun) return undefined
    if (targets.length > 0) {
      const [dump, ttl] = await Promise.all([this.#redis(source, (redis) => redis.dumpBuffer(from)), this.#redis(source, (redis) => redis.pexpiretime(from))])
      if (dump === null || ttl === -2) return undefined // it has just expired
      this.#pace.weigh(dump.length)
      for (const target of targets) {
        const to = `${target}:${rest}`
        await this.#redis(target, (redis) => ttl < 0 ? redis.restore(to, 0, dump, 'REPLACE') : redis.restore(to, ttl, dump, 'REPLACE', 'ABSTTL'))
      }
      if (info.kind === 'answer' && this.#isBare) {
        await this.#redis(targets[0]!, (redis) => redis.set(`${targets[0]}:kept:idempotency:${info.key}`, this.#tags[places[0]!]!, 'EX', KEY_SECONDS))
      }
      if (rest.startsWith('log:') && this.#logs++ % COMPARED_EVERY === 0) {
        for (const target of targets) await compare(this.#options.ask, from, `${target}:${rest}`, dump)
        this.#compared++
      }
    }
    return { from, targets, isLeaving: !places.some((n) => this.#targets[n] === source) }
  }
}
