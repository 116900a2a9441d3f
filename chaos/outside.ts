// What other services do in the Redis of a run, in the partition where it belongs, and what the account of it asks
// there.
import { setTimeout as pause } from 'node:timers/promises'
import type { Reply } from '../test/fixtures/resp.ts'
import type { Division } from './division.ts'

/** A command to where a key stands. Throws Redis's error, or that of the line. */
type Ask = (key: string, args: Array<string | number>) => Promise<Reply>

export class Outside {
  readonly #division: Division
  readonly #ask: Ask
  readonly #say: (channel: string, text: string) => Promise<unknown>

  constructor (division: Division, ask: Ask, say: (channel: string, text: string) => Promise<unknown>) {
    this.#division = division
    this.#ask = ask
    this.#say = say
  }

  /** What another service publishes. Throws Redis's error, or that of the line. */
  async fcall (to: string, data: object): Promise<number> {
    const prefix = this.#division.prefixOf(to)
    const [id] = await this.#ask(prefix, ['FCALL', 'tidings_publish', 1, prefix, to, 'message', JSON.stringify(data)]) as [string, number]
    return Number(id)
  }

  /** Live only, from another service. */
  async say (to: string, text: string): Promise<void> {
    // What goes to all is said in each partition.
    for (const prefix of to === 'all' ? this.#division.prefixes : [this.#division.prefixOf(to)]) {
      await this.#say(`${prefix}:${to}`, text)
    }
  }

  /**
   * The id of something that nobody receives, in the partition of a user (or one by its number): what was before it
   * there and what comes after is told apart by it, whatever the clocks say.
   */
  async moment (where: string | number): Promise<number> {
    const nobody = typeof where === 'number' ? this.#division.nobodyIn(where) : this.#division.nobodyBeside(where)
    for (;;) {
      const id = await this.fcall(nobody, {}).catch(() => undefined)
      if (id !== undefined) return id
      await pause(100)
    }
  }

  /** Resolves with true when no partition owes another anything, or with false after a while. */
  async owesNothing (withinMs: number): Promise<boolean> {
    for (const end = performance.now() + withinMs; performance.now() < end; await pause(200)) {
      const owed = await Promise.all(this.#division.prefixes.map(async (prefix) => await this.#ask(prefix, ['EXISTS', `${prefix}:outbox`]).catch(() => 1)))
      if (owed.every((one) => Number(one) === 0)) return true
    }
    return false
  }

  /** The ids that copies have in a partition, where they are not the publisher's. */
  async copiesOf (partition: number, wanted: ReadonlyArray<readonly [address: string, id: number, ...unknown[]]>): Promise<Array<number | undefined>> {
    const prefix = this.#division.prefixes[partition]!
    const found: Array<number | undefined> = []
    for (let at = 0; at < wanted.length; at += 500) {
      const keys = wanted.slice(at, at + 500).map(([address, id]) => `${prefix}:was:${address}:${id}`)
      const replies = await this.#ask(prefix, ['MGET', ...keys]) as Array<string | null>
      found.push(...replies.map((text) => text === null ? undefined : Number(text)))
    }
    return found
  }
}
