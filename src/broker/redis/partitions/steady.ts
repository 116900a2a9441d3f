// Sends commands for a tool that must stop as soon as a server changes under it.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { isElsewhere, isUnanswered } from '../answers.ts'
import type { Link } from '../link.ts'
import type { Links } from '../links.ts'
import { keySlot } from '../slot.ts'

/** How long Redis may take to answer for the first time. */
const PATIENCE_MS = 10_000
const PAUSE_MS = 10

/**
 * Sends commands to the Redis that has a key, as long as it is the connection that was used first. A restarted Redis,
 * or another master, may have lost the last writes and does not know a SCAN that was begun before, so going on would
 * skip keys. After such a change every command is refused with a sentence that says so.
 */
export class Steady {
  readonly #links: Links
  readonly #known = new Map<number, Link>()
  #change = ''

  constructor (links: Links) {
    this.#links = links
  }

  async ask<T> (key: string, command: (redis: Redis) => Promise<T>): Promise<T> {
    const slot = this.#links.isCluster ? keySlot(key) : 0
    const link = this.#known.get(slot) ?? await this.#first(slot, key)
    if (this.#links.of(key) !== link) this.#changed(`${link.name} is not the master any more`)
    if (this.#change !== '') throw new Error(this.#change)
    try {
      return await link.send(command)
    } catch (error) {
      if (isElsewhere(error as Error) || isUnanswered(error as Error)) this.#changed(`${link.name} does not answer as before (${(error as Error).message})`)
      throw this.#change === '' ? error : new Error(this.#change)
    }
  }

  /** Connects to each master of a Cluster when it is first needed. */
  async #first (slot: number, key: string): Promise<Link> {
    for (const end = performance.now() + PATIENCE_MS; this.#links.faultOf(key) !== '';) {
      if (performance.now() > end) throw new Error(`Redis cannot be asked: ${this.#links.faultOf(key)}`)
      await sleep(PAUSE_MS)
    }
    const link = this.#links.of(key)!
    if (![...this.#known.values()].includes(link)) link.on('down', () => { this.#changed(`the connection to ${link.name} broke`) })
    this.#known.set(slot, link)
    return link
  }

  #changed (what: string): void {
    if (this.#change === '') this.#change = `${what}; what was done stands: call again when Redis is well`
  }
}
