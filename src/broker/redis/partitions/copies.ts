// Copies what one partition owes another: in order, in few calls, and from the outbox if something earlier is missing.
import { Unavailable } from '../../broker.ts'
import type { Args } from '../commands.ts'
import { Gathering } from '../gathering.ts'
import type { RedisBroker } from '../redis.ts'

/**
 * One copy. `before`: the id of the previous item that the target was owed. Names and values are those of outbox.lua.
 */
export interface Item {
  readonly id: number
  readonly before: number
  /** Nothing older is left for this target in the outbox. */
  readonly isOldest: boolean
  readonly fields: readonly string[]
  readonly to: readonly string[]
}

type ItemReply = [id: string, before: string, isOldest: number, fields: string[], to: string[]]
type OutboxReply = [readTo: string, ...ItemReply[]]
type CopyReply = [taken: string, newest: string, ...receivers: number[][]]

/** How long a publish waits for a partition that is not its home. */
const PATIENCE_MS = 1000
/** Roughly how many bytes one call makes the target write. Each address has a log of its own there. */
const MOST_WORK = 1_048_576
const ADDRESS_WORK = 1024

export interface CopiesOptions {
  readonly source: RedisBroker
  readonly target: RedisBroker
  readonly sourceTag: string
  readonly targetTag: string
}

/** Copies from one partition to one other. */
export class Copies {
  readonly #options: CopiesOptions
  /** Up to which id the target has everything, and up to which the source was told so. */
  #taken = 0
  #told = 0
  /** Set when a call was not answered in time, until one is answered. */
  #isStuck = false
  #isAsking = false
  readonly #gathering = new Gathering<Item, number[]>((items) => this.#copy(items), {
    weigh: ({ fields, to }) => to.length * fields.reduce((sum, field) => sum + field.length, ADDRESS_WORK), maxWeight: MOST_WORK, maxCalls: 1
  })

  constructor (options: CopiesOptions) {
    this.#options = options
  }

  /**
   * Resolves with the number of nodes that took it, for each address. Rejects with the port's errors if it will be
   * copied later.
   */
  async copy (item: Item): Promise<number[]> {
    // The outbox will be copied later, so no publish waits for a target that does not answer.
    if (this.#isStuck) throw new Unavailable('the partition does not answer')
    let timer: NodeJS.Timeout | undefined
    const patience = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        this.#isStuck = true
        reject(new Unavailable('the partition does not answer'))
      }, PATIENCE_MS)
    })
    try {
      return await Promise.race([this.#gathering.ask(item), patience])
    } finally {
      clearTimeout(timer)
    }
  }

  /**
   * Called once a second: asks a target that did not answer whether it does by now. Otherwise this node might never
   * find out, since another one copies what is left.
   */
  tick (): void {
    if (!this.#isStuck || this.#isAsking) return
    this.#isAsking = true
    void this.#call([]).catch(() => {}).then(() => { this.#isAsking = false })
  }

  /** What the source must still be told. */
  news (): [tag: string, taken: number] | [] {
    return this.#taken > this.#told ? [this.#options.targetTag, this.#taken] : []
  }

  /** What the source knows. It may be less than before: it forgets the newest if its master is lost. */
  told (taken: number): void {
    this.#told = taken
  }

  async #call (items: readonly Item[]): Promise<CopyReply> {
    const args: Args = items.flatMap(({ id, before, isOldest, fields, to }) => [id, before, isOldest ? 1 : 0, fields.length, ...fields, to.length, ...to])
    const reply = await this.#options.target.call('tidings_copy', this.#options.sourceTag, ...args) as CopyReply
    this.#isStuck = false
    // Remembered like an answered id, so that a failover of the target that loses this copy is noticed.
    this.#options.target.saw(Number(reply[1]))
    this.#taken = Math.max(this.#taken, Number(reply[0]))
    return reply
  }

  async #copy (items: readonly Item[]): Promise<number[][]> {
    const [taken, , ...receivers] = await this.#call(items)
    if (receivers.length > 0) return receivers // items without an answer are asked again
    // Something earlier is missing: another node's copy is still under way, or its publisher died. The outbox has it.
    await this.finish(Number(taken), items[0]!.id)
    const [, , again] = await this.#call([items[0]!])
    if (again === undefined) throw new Unavailable('the partition has not taken what was before it')
    return [again]
  }

  /** Copies entries of the outbox with after < id, until the target has everything up to `upTo`. */
  async finish (after: number, upTo = Infinity): Promise<void> {
    const { source, targetTag } = this.#options
    for (let from = after; ;) {
      const [readTo, ...replies] = await source.call('tidings_read_outbox', targetTag, from) as OutboxReply
      const items = replies.map(([id, before, isOldest, fields, to]): Item =>
        ({ id: Number(id), before: Number(before), isOldest: isOldest === 1, fields, to }))
      if (items.length === 0) {
        if (readTo === '') return
        from = Number(readTo) // up to here, only other targets are owed something
        continue
      }
      const taken = Number((await this.#call(items))[0])
      // Another node is further, or the target lost its data.
      if (taken >= upTo || taken === from) return
      from = taken
    }
  }
}
