// The broker on eight partitions of one Redis keeps the contract.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { contract, type MakeBackend } from './contract.ts'
import { startPartitionedNode, up } from './nodes.ts'
import { tagsOf } from '../../src/broker/redis/partitions/slots.ts'

const PARTITIONS = 8
const redis = await startRedis(t)
let count = 0

const make: MakeBackend = async (t, { bornSecondsAgo = 0, ...options } = {}) => {
  const prefix = `${redis.prefix}:${++count}`
  return async () => {
    const node = startPartitionedNode(t, redis, PARTITIONS, options, prefix)
    await up(node)
    if (bornSecondsAgo > 0) {
      for (const tag of tagsOf(PARTITIONS)) await redis.cli('SET', `${prefix}:{${tag}}:born`, (Date.now() - bornSecondsAgo * 1000) * 1000)
    }
    return node
  }
}

contract('partitions', Object.assign(make, { hasLocalIds: true }))
