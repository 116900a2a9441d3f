// RedisBrokers on a real Redis, for the contract and for what is Redis's own.
import type { Test } from 'tap'
import type { HistoryLimits } from '../../src/broker/broker.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import type { Redis } from '../fixtures/redis.ts'
import { limits, type Node } from './contract.ts'
import { Ear } from './ear.ts'

export interface RedisNode extends Node {
  readonly broker: RedisBroker
  /** What it logged. */
  readonly said: string[]
}

let count = 0

/** Starts a broker; it may not be up yet. */
export function startRedisNode (t: Test, redis: Redis, options: Partial<HistoryLimits> = {}, prefix = redis.prefix): RedisNode {
  const said: string[] = []
  const log = { info: (text: string) => { said.push(text) }, warn: (text: string) => { said.push(text) } }
  const broker = new RedisBroker({ ...limits, ...options, url: redis.url, prefix, nodeName: `test ${++count}`, log })
  const ear = new Ear()
  broker.start(ear)
  t.teardown(() => broker.close())
  return { broker, ear, said }
}

/** Resolves when `check` holds. For what nothing tells of: asked again after each turn of a few milliseconds. */
export async function becomes (check: () => boolean | Promise<boolean>, what: string, withinMs = 20_000): Promise<void> {
  const end = performance.now() + withinMs
  while (!await check()) {
    if (performance.now() > end) throw new Error(`waited ${withinMs} ms for ${what}`)
    await new Promise((resolve) => { setTimeout(resolve, 5) })
  }
}

export const up = ({ broker, said }: RedisNode): Promise<void> =>
  becomes(() => broker.state().up, `a broker to be up; it said: ${said.join(' | ')}`)
