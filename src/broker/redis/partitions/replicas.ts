// Whether replicas have what was written to their master: in a Cluster what goes from one master to another is taken
// away at the one only then, or a failover of the other would lose it.
import type { Ask } from './scan.ts'

const PATIENCE_MS = 2000

export interface ReplicasOptions {
  readonly ask: Ask
  readonly isCluster: boolean
}

export class Replicas {
  readonly #options: ReplicasOptions
  /** Prefix → how many replicas its master had when it was asked first. */
  readonly #counts = new Map<string, number>()

  constructor (options: ReplicasOptions) {
    this.#options = options
  }

  /**
   * Throws a sentence that says what to do, if they do not follow. Where one master has all, its replicas lose nothing
   * older without what is newer.
   */
  async have (prefixes: readonly string[]): Promise<void> {
    if (!this.#options.isCluster) return
    await Promise.all(prefixes.map(async (prefix) => {
      const count = this.#counts.get(prefix) ?? await this.#count(prefix)
      if (count === 0) return
      const have = await this.#options.ask(prefix, (redis) => redis.wait(count, PATIENCE_MS))
      if (have < count) throw new Error(`${count - have} of ${count} replicas of the master of ${prefix} do not follow it: mend or remove them, and call again`)
    }))
  }

  async #count (prefix: string): Promise<number> {
    const info = await this.#options.ask(prefix, (redis) => redis.info('replication'))
    const count = Number(/^connected_slaves:(\d+)/m.exec(info)?.[1] ?? 0)
    this.#counts.set(prefix, count)
    return count
  }
}
