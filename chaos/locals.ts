// Which id a notification has in each partition: that of its publisher, or where the clock there was past it, one of
// its own.
import type { Division } from './division.ts'
import type { Ledger, Sent } from './ledger.ts'
import type { Outside } from './outside.ts'
import type { Judged } from './verdict.ts'

export class Locals {
  readonly #division: Division
  /** By partition: mark → ids under which clients were told of it. */
  readonly #seen: ReadonlyArray<Map<number, Set<number>>>
  /** By partition: mark → id there, of what no client was told of. */
  readonly #found: ReadonlyArray<Map<number, number>>

  constructor (division: Division, clients: readonly Judged[]) {
    this.#division = division
    this.#seen = division.prefixes.map(() => new Map<number, Set<number>>())
    this.#found = division.prefixes.map(() => new Map<number, number>())
    for (const { options: { userId }, told } of clients) {
      const seen = this.#seen[division.homeOf(`user:${userId}`)]!
      for (const { id, mark } of told) {
        if (id === 0) continue
        const ids = seen.get(mark)
        if (ids === undefined) seen.set(mark, new Set([id]))
        else ids.add(id)
      }
    }
  }

  /** Asks Redis for those that no client was told of. */
  async find (ledger: Ledger, outside: Outside): Promise<void> {
    if (this.isOne) return
    for (const [partition, seen] of this.#seen.entries()) {
      const missing = ledger.sent.flatMap((sent) => seen.has(sent.mark) ? [] : sent.ids.flatMap((id) => sent.to.map((to) => [to, id, sent.mark] as const)))
      const there = await outside.copiesOf(partition, missing)
      for (const [i, [, , mark]] of missing.entries()) if (there[i] !== undefined) this.#found[partition]!.set(mark, there[i])
    }
  }

  /** There is one partition alone, and its ids are those that were answered. */
  get isOne (): boolean { return this.#division.count === 1 }

  /** Undefined: nothing is known of it in that user's partition. */
  idOf (userId: string, { mark, to }: Sent, answered: number): number | undefined {
    if (this.isOne) return answered
    const partition = this.#division.homeOf(`user:${userId}`)
    const [seen] = this.#seen[partition]!.get(mark) ?? []
    // Where it was committed it has the id that was answered.
    const isHome = to.length === 1 && this.#division.homeOf(to[0]!) === partition
    return seen ?? this.#found[partition]!.get(mark) ?? (isHome ? answered : undefined)
  }

  /** All ids under which clients in that user's partition were told of it, where there are several partitions. */
  idsOf (userId: string, { mark }: Sent): ReadonlySet<number> {
    return (this.isOne ? undefined : this.#seen[this.#division.homeOf(`user:${userId}`)]!.get(mark)) ?? new Set()
  }

  /**
   * The ids under which clients were told of it, for each partition, and whether those are copies: of what was
   * committed in another one. Where there is one partition alone, with what was answered.
   */
  seen ({ mark, ids, to }: Sent): Array<{ readonly ids: ReadonlySet<number>, readonly isCopy: boolean }> {
    const home = this.#division.homeOf(to.find((address) => !address.startsWith('user:')) ?? to[0]!)
    const seen = this.#seen.flatMap((marks, partition) => {
      const some = marks.get(mark)
      return some === undefined ? [] : [{ ids: some, isCopy: partition !== home }]
    })
    return this.isOne ? [{ ids: new Set([...ids, ...seen.flatMap(({ ids }) => [...ids])]), isCopy: false }] : seen
  }
}
