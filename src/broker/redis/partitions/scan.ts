// Iterates over all keys of a prefix, in batches.
import type { Redis } from 'ioredis'

/** Keys of one SCAN. */
export const SCANNED = 500
const AT_ONCE = 50

/** About how many bytes of keys are on their way at once, since Redis must answer each command within the time-out. */
const MOST_BYTES = 8_388_608
/** How much of the size of the largest key counts at the next step. Large ones come among many small ones. */
const REMEMBERED = 0.8

/** Sends a command to the Redis that has a key. */
export type Ask = <T>(key: string, command: (redis: Redis) => Promise<T>) => Promise<T>

/** Yields keys without the prefix and its colon. */
export async function * keysUnder (ask: Ask, prefix: string, pattern = '*'): AsyncGenerator<string[]> {
  const match = `${prefix.replaceAll(/[*?[\]\\]/g, '\\$&')}:${pattern}`
  for (let cursor = '0'; ;) {
    const [next, keys] = await ask(prefix, (redis) => redis.scan(cursor, 'MATCH', match, 'COUNT', SCANNED))
    // A prefix without a tag also matches the keys of those with one.
    const own = keys.map((key) => key.slice(prefix.length + 1)).filter((rest) => !/^\{\d+\}:/.test(rest))
    if (own.length > 0) yield own
    if (next === '0') return
    cursor = next
  }
}

export async function each<T> (list: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  for (let i = 0; i < list.length; i += AT_ONCE) await Promise.all(list.slice(i, i + AT_ONCE).map(act))
}

/** The same for keys of any size: as many at once as fit if they are as large as the largest of late. */
export class Pace {
  #largest = MOST_BYTES

  weigh (bytes: number): void {
    this.#largest = Math.max(this.#largest, bytes)
  }

  async each<T> (list: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
    for (let i = 0; i < list.length;) {
      const some = list.slice(i, i + Math.max(1, Math.min(AT_ONCE, Math.floor(MOST_BYTES / this.#largest))))
      i += some.length
      this.#largest *= REMEMBERED
      await Promise.all(some.map(act))
    }
  }
}
