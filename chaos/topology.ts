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
  /** First part of every key. */
  readonly prefix: string
  readonly url: string
  readonly cluster: RedisCluster | undefined
  readonly sentinels: Sentinels | undefined
  readonly slot: number
  #master: Redis | undefined

  private constructor (name: string, servers: { cluster?: RedisCluster, sentinels?: Sentinels }) {
    this.cluster = servers.cluster
    this.sentinels = servers.sentinels
    this.url = (servers.cluster ?? servers.sentinels)!.url
    this.prefix = servers.cluster === undefined ? name : `${name}:{0}`
    this.slot = keySlot(this.prefix)
  }

  static async start (scope: Scope, kind: Exclude<Topology, 'single'>, name: string): Promise<Replicated> {
    return new Replicated(name, kind === 'cluster' ? { cluster: await startRedisCluster(scope, { replicas: 1, nodeTimeoutMs: 2000 }) } : { sentinels: await startSentinels(scope) })
  }

  /** Who has the keys now, as most say. */
  async master (): Promise<Redis> {
    for (;;) {
      const found = await (this.cluster?.masterOf(this.slot) ?? this.sentinels!.master()).catch(() => undefined)
      if (found !== undefined) return found
      await pause(100)
    }
  }

  get servers (): readonly Redis[] { return (this.cluster ?? this.sentinels)!.nodes }

  /** Resolves when somebody else is master. */
  async isReplaced (old: Redis): Promise<void> {
    while ((await this.master()).port === old.port) await pause(100)
  }

  /** Resolves when that one follows a master. */
  async follows ({ cli }: Redis): Promise<void> {
    while (!/role:slave[^]*master_link_status:up/.test(String(await cli('INFO', 'replication').catch(() => '')))) await pause(100)
  }

  /** What another service sends that must not be lost with a master: it waits until a replica has it. Throws Redis's error, or that of the line. */
  async send (...args: Array<string | number>): Promise<Reply> {
    try {
      const { cli } = this.#master ??= await this.master()
      const [answer, replicas] = await Promise.race([
        // Of one that is a master no more, WAIT is refused ("UNBLOCKED"), and what was before it is done all the same.
        Promise.all([cli(...args), cli('WAIT', 1, REPLICATED_MS).catch(() => 0)]),
        pause(ANSWER_MS).then(() => { throw new Error('no answer') })
      ])
      if (replicas === 0) throw new Error('on no replica')
      return answer
    } catch (error) {
      this.#master = undefined
      throw error
    }
  }

  /** What is live only. */
  async say (channel: string, text: string): Promise<void> {
    const { cli } = this.#master ??= await this.master()
    await Promise.race([cli(this.cluster === undefined ? 'PUBLISH' : 'SPUBLISH', channel, text), pause(ANSWER_MS)])
  }
}
