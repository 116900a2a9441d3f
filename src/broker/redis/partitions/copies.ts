// What one partition owes another, copied: in order, in few calls, and from the outbox where something before it is
// missing.
import { Unavailable } from '../../broker.ts'
import type { Args } from '../commands.ts'
import { Gathering } from '../gathering.ts'
import type { RedisBroker } from '../redis.ts'

/** What the target gets; `before`: the id of what it was owed before. Names and values as in outbox.lua. */
export interface Item {
  readonly id: number
  readonly before: number
  /** Nothing older is left for this target. */
  readonly isOldest: boolean
  readonly fields: readonly string[]
  readonly to: readonly string[]
}

type ItemReply = [id: string, before: string, isOldest: number, fields: string[], to: string[]]
type OutboxReply = [readTo: string, ...ItemReply[]]
type CopyReply = [taken: string, newest: string, ...receivers: number[][]]

/** How long whoever publishes waits for a partition that is not their notification's home. */
const PATIENCE_MS = 1000
/** Bytes in one call, more or less. */
const MOST_BYTES = 1_048_576
const ITEM_BYTES = 100

export interface CopiesOptions {
  readonly source: RedisBroker
  readonly target: RedisBroker
  readonly sourceTag: string
  readonly targetTag: string
}

/** From one partition to one other. */
export class Copies {
  readonly #options: CopiesOptions
  /** Up to which id the target has all, and up to which the source was told so. */
  #taken = 0
  #told = 0
  /** A call was not answered in time; until one is. */
  #isStuck = false
  readonly #gathering = new Gathering<Item, number[]>((items) => this.#copy(items), {
    weigh: ({ fields, to }) => fields.reduce((sum, field) => sum + field.length, ITEM_BYTES) + to.length * ITEM_BYTES, maxWeight: MOST_BYTES, maxCalls: 1
  })

  constructor (options: CopiesOptions) {
    this.#options = options
  }

  /**
   * Resolves with the number of nodes that took it, for each address. Rejects with the port's errors: then it is copied
   * later.
   */
  async copy (item: Item): Promise<number[]> {
    // It will be copied from the outbox: nobody who publishes waits for a target that does not answer.
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

  /** What the source does not know yet. */
  news (): [tag: string, taken: number] | [] {
    return this.#taken > this.#told ? [this.#options.targetTag, this.#taken] : []
  }

  told (taken: number): void {
    this.#told = Math.max(this.#told, taken)
  }

  async #call (items: readonly Item[]): Promise<CopyReply> {
    const args: Args = items.flatMap(({ id, before, isOldest, fields, to }) => [id, before, isOldest ? 1 : 0, fields.length, ...fields, to.length, ...to])
    const reply = await this.#options.target.call('tidings_copy', this.#options.sourceTag, ...args) as CopyReply
    this.#isStuck = false
    // A copy that is lost with the target's master is told there, as what a publisher was answered is.
    this.#options.target.saw(Number(reply[1]))
    this.#taken = Math.max(this.#taken, Number(reply[0]))
    return reply
  }

  async #copy (items: readonly Item[]): Promise<number[][]> {
    const [taken, , ...receivers] = await this.#call(items)
    if (receivers.length > 0) return receivers // what is left over is asked again
    // Another node's copy is under way still, or its publisher has died: what is missing stands in the outbox.
    await this.finish(Number(taken), items[0]!.id)
    const [, , again] = await this.#call([items[0]!])
    if (again === undefined) throw new Unavailable('the partition has not taken what was before it')
    return [again]
  }

  /** Copies what stands in the outbox after an id, up to another one. */
  async finish (after: number, upTo = Infinity): Promise<void> {
    const { source, targetTag } = this.#options
    for (let from = after; ;) {
      const [readTo, ...replies] = await source.call('tidings_read_outbox', targetTag, from) as OutboxReply
      const items = replies.map(([id, before, isOldest, fields, to]): Item =>
        ({ id: Number(id), before: Number(before), isOldest: isOldest === 1, fields, to }))
      if (items.length === 0) {
        if (readTo === '') return
        from = Number(readTo) // so far others are owed something
        continue
      }
      const taken = Number((await this.#call(items))[0])
      // Somebody else is further, or the target has lost what it had.
      if (taken >= upTo || taken === from) return
      from = taken
    }
  }
}
