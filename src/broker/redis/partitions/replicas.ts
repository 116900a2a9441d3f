// Waits until replicas have what was written to their master. In a Cluster, keys move from one master to another. They
// are removed at the source only then, or a failover of the target could lose them.
import type { Ask } from './scan.ts'

const PATIENCE_MS = 2000

export interface ReplicasOptions {
  readonly ask: Ask
  readonly isCluster: boolean
}

export class Replicas {
  readonly #options: ReplicasOptions
  /** Prefix → how many replicas its master had when it was first asked. */
  readonly #counts = new Map<string, number>()

  constructor (options: ReplicasOptions) {
    this.#options = options
  }

  /**
   * Rejects with a sentence that says what to do if they do not follow. With a single master nothing is waited for: its
   * replicas get all writes in order.
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
