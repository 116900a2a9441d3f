// The broker on a real Cluster of three masters and three replicas keeps the contract, with eight partitions over them.
import t from 'tap'
import { tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { keySlot, SLOTS } from '../../src/broker/redis/slot.ts'
import type { Redis } from '../fixtures/redis.ts'
import { startRedisCluster } from '../fixtures/redis-cluster.ts'
import { contract, type MakeBackend } from './contract.ts'
import { startPartitionedNode, up } from './nodes.ts'

const PARTITIONS = 8
const cluster = await startRedisCluster(t, { replicas: 1 })
let count = 0

const masters = await Promise.all(tagsOf(PARTITIONS).map((tag) => cluster.masterOf(keySlot(tag))))
/** Of a key of a partition. */
const cli: Redis['cli'] = async (command, key, ...args) => await masters[Math.floor(keySlot(String(key)) * PARTITIONS / SLOTS)]!.cli(command!, key!, ...args)

const make: MakeBackend = async (t, { bornSecondsAgo = 0, ...options } = {}) => {
  const prefix = `${cluster.prefix}:${++count}`
  return async () => {
    const node = startPartitionedNode(t, { ...cluster, cli }, PARTITIONS, options, prefix)
    await up(node)
    if (bornSecondsAgo > 0) {
      for (const tag of tagsOf(PARTITIONS)) {
        const master = await cluster.masterOf(keySlot(`{${tag}}`))
        await master.cli('SET', `${prefix}:{${tag}}:born`, (Date.now() - bornSecondsAgo * 1000) * 1000)
      }
    }
    return node
  }
}

contract('cluster', Object.assign(make, { hasLocalIds: true }))
