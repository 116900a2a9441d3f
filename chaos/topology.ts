// Redis with replicas, behind Sentinels or as a Cluster, as the nodes, another service and the faults see it.
import { setTimeout as pause } from 'node:timers/promises'
import { keySlot } from '../src/broker/redis/slot.ts'
import { startRedisCluster, type RedisCluster } from '../test/fixtures/redis-cluster.ts'
import type { Redis } from '../test/fixtures/redis.ts'
import type { Reply } from '../test/fixtures/resp.ts'
import { startSentinels, type Sentinels } from '../test/fixtures/sentinel.ts'
import type { Scope } from '../test/fixtures/wait.ts'

export const topologies = ['single', 'sentinel', 'cluster'] as const
export type Topology = typeof topologies[number]

const ANSWER_MS = 3000
/** How long a replica may take to have what was published. */
const REPLICATED_MS = 500

export class Replicated {
  readonly url: string
  readonly cluster: RedisCluster | undefined
  readonly sentinels: Sentinels | undefined
  /** By slot, as far as it is known. */
  readonly #masters = new Map<number, Redis>()

  private constructor (servers: { cluster?: RedisCluster, sentinels?: Sentinels }) {
    this.cluster = servers.cluster
    this.sentinels = servers.sentinels
    this.url = (servers.cluster ?? servers.sentinels)!.url
  }

  static async start (scope: Scope, kind: Exclude<Topology, 'single'>): Promise<Replicated> {
    return new Replicated(kind === 'cluster' ? { cluster: await startRedisCluster(scope, { replicas: 1, nodeTimeoutMs: 2000 }) } : { sentinels: await startSentinels(scope) })
  }

  /** Who has this key now, as most say. */
  async master (key: string): Promise<Redis> {
    for (;;) {
      const found = await (this.cluster?.masterOf(keySlot(key)) ?? this.sentinels!.master()).catch(() => undefined)
      if (found !== undefined) return found
      await pause(100)
    }
  }

  get servers (): readonly Redis[] { return (this.cluster ?? this.sentinels)!.nodes }

  /** Resolves when somebody else is master for that key. */
  async isReplaced (old: Redis, key: string): Promise<void> {
    while ((await this.master(key)).port === old.port) await pause(100)
  }

  /** Resolves when that one follows a master. */
  async follows ({ cli }: Redis): Promise<void> {
    while (!/role:slave[^]*master_link_status:up/.test(String(await cli('INFO', 'replication').catch(() => '')))) await pause(100)
  }

  /**
   * What another service sends that must not be lost with a master: it waits until a replica has it. Throws Redis's
   * error, or that of the line.
   */
  async send (key: string, ...args: Array<string | number>): Promise<Reply> {
    try {
      const { cli } = await this.#known(key)
      const [answer, replicas] = await Promise.race([
        // Of one that is a master no more, WAIT is refused ("UNBLOCKED"), and what was before it is done all the same.
        Promise.all([cli(...args), cli('WAIT', 1, REPLICATED_MS).catch(() => 0)]),
        pause(ANSWER_MS).then(() => { throw new Error('no answer') })
      ])
      if (replicas === 0) throw new Error('on no replica')
      return answer
    } catch (error) {
      this.#masters.delete(keySlot(key))
      throw error
    }
  }

  async #known (key: string): Promise<Redis> {
    const slot = keySlot(key)
    const known = this.#masters.get(slot) ?? await this.master(key)
    this.#masters.set(slot, known)
    return known
  }

  /** What is live only. */
  async say (channel: string, text: string): Promise<void> {
    const { cli } = await this.#known(channel)
    await Promise.race([cli(this.cluster === undefined ? 'PUBLISH' : 'SPUBLISH', channel, text), pause(ANSWER_MS)])
  }
}
