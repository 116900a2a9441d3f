// Settles what partitions owe each other. The committing node copies at once; once a second what is left is copied.
import type { RedisBroker } from '../redis.ts'
import { Copies } from './copies.ts'

/** Ticks for which a node that could not copy leaves it to other nodes, since only its own connection may be broken. */
const REST_TICKS = 5

export interface OutboxesOptions {
  readonly partitions: readonly RedisBroker[]
  readonly tags: readonly string[]
  readonly nodeName: string
}

export class Outboxes {
  readonly #partitions: readonly RedisBroker[]
  readonly #tags: readonly string[]
  readonly #nodeName: string
  /** By source × number of partitions + target. */
  readonly #copies = new Map<number, Copies>()
  readonly #rests: number[]
  readonly #owed: number[]
  /** By source: a check that is under way, and whether another one must follow. */
  readonly #looks = new Map<number, { again: boolean }>()

  constructor ({ partitions, tags, nodeName }: OutboxesOptions) {
    this.#partitions = partitions
    this.#tags = tags
    this.#nodeName = nodeName
    this.#rests = tags.map(() => 0)
    this.#owed = tags.map(() => 0)
  }

  /** How many entries the outbox of each partition had at the last check. */
  get owed (): readonly number[] { return this.#owed }

  copies (source: number, target: number): Copies {
    const at = source * this.#tags.length + target
    let copies = this.#copies.get(at)
    if (copies === undefined) {
      const [from, to] = [this.#partitions[source]!, this.#partitions[target]!]
      copies = new Copies({ source: from, target: to, sourceTag: this.#tags[source]!, targetTag: this.#tags[target]! })
      this.#copies.set(at, copies)
    }
    return copies
  }

  /** Called once a second. */
  tick (): void {
    for (const copies of this.#copies.values()) copies.tick()
    for (const source of this.#tags.keys()) {
      if (this.#rests[source]! > 0) this.#rests[source]!--
      this.#look(source, false)
    }
  }

  /** Called when another service has published in this partition. */
  nudge (source: number): void {
    this.#look(source, true)
  }

  #look (source: number, isFresh: boolean): void {
    const under = this.#looks.get(source)
    if (under !== undefined) {
      under.again ||= isFresh
      return
    }
    const look = { again: false }
    this.#looks.set(source, look)
    // A partition that is away is reported elsewhere, and what it owes waits.
    void this.#copyRest(source, isFresh).catch(() => {}).then(() => {
      this.#looks.delete(source)
      if (look.again) this.#look(source, true)
    })
  }

  async #copyRest (source: number, isFresh: boolean): Promise<void> {
    const news = this.#tags.flatMap((_, target) => this.#copies.get(source * this.#tags.length + target)?.news() ?? [])
    // While this node rests it only reports what it knows, under a name that is never chosen for copying.
    const name = this.#rests[source]! > 0 ? '' : this.#nodeName
    const reply = await this.#partitions[source]!.call('tidings_outbox', this.#tags.join(' '), this.#tags[source]!, name, isFresh ? 1 : 0, ...news)
    const [count, ...owed] = reply as [number, ...string[]]
    this.#owed[source] = count
    for (let i = 0; i < news.length; i += 2) this.copies(source, this.#tags.indexOf(news[i] as string)).told(news[i + 1] as number)
    const finishes = []
    for (let i = 0; i < owed.length; i += 2) {
      const copies = this.copies(source, this.#tags.indexOf(owed[i]!))
      const taken = Number(owed[i + 1])
      copies.told(taken)
      finishes.push(copies.finish(taken))
    }
    const results = await Promise.allSettled(finishes)
    if (results.some(({ status }) => status === 'rejected')) this.#rests[source] = REST_TICKS
  }
}
