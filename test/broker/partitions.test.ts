// The broker on eight partitions of one Redis keeps the contract.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { contract, type MakeBackend, send } from './contract.ts'
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

t.test('partitions, of a REDIS_PREFIX that has braces of its own, are heard', async (t) => {
  for (const own of ['x}', 'x{', '{x}', '{0}']) {
    const node = startPartitionedNode(t, redis, PARTITIONS, {}, `${redis.prefix}${own}`)
    await up(node)
    await node.broker.subscribe(['user:1', 'all'])
    for (const to of ['user:1', 'all'] as const) await node.ear.id(await send(node, to))
    t.pass(own)
    await node.broker.close()
  }
})
