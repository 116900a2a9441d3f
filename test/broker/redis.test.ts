// The broker on Redis keeps the contract, on a real one.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { contract, type MakeBackend } from './contract.ts'
import { startRedisNode, up } from './nodes.ts'

const redis = await startRedis(t)
let count = 0

const make: MakeBackend = async (t, { bornSecondsAgo = 0, ...options } = {}) => {
  const prefix = `${redis.prefix}:${++count}`
  return async () => {
    const node = startRedisNode(t, redis, options, prefix)
    await up(node)
    if (bornSecondsAgo > 0) await redis.cli('SET', `${prefix}:born`, (Date.now() - bornSecondsAgo * 1000) * 1000)
    return node
  }
}

contract('redis', make)
