// All keys under a prefix, wherever it stands, some at a time.
import type { Redis } from 'ioredis'

/** Keys of one turn. */
export const SCANNED = 500
const AT_ONCE = 50

/** Gives a command to where a key stands. */
export type Ask = <T>(key: string, command: (redis: Redis) => Promise<T>) => Promise<T>

/** What follows the prefix and its colon. */
export async function * keysUnder (ask: Ask, prefix: string, pattern = '*'): AsyncGenerator<string[]> {
  const match = `${prefix.replaceAll(/[*?[\]\\]/g, '\\$&')}:${pattern}`
  for (let cursor = '0'; ;) {
    const [next, keys] = await ask(prefix, (redis) => redis.scan(cursor, 'MATCH', match, 'COUNT', SCANNED))
    // Under the prefix without a tag stand those with one, too.
    const own = keys.map((key) => key.slice(prefix.length + 1)).filter((rest) => !/^\{\d+\}:/.test(rest))
    if (own.length > 0) yield own
    if (next === '0') return
    cursor = next
  }
}

export async function each<T> (list: readonly T[], act: (one: T) => Promise<void>): Promise<void> {
  for (let i = 0; i < list.length; i += AT_ONCE) await Promise.all(list.slice(i, i + AT_ONCE).map(act))
}
