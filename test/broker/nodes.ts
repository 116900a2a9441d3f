// RedisBrokers on a real Redis, for the contract and for what is Redis's own.
import type { Test } from 'tap'
import type { Broker, HistoryLimits, PublishRequest, RetractRequest } from '../../src/broker/broker.ts'
import type { Reading } from '../../src/broker/meters.ts'
import { PartitionedBroker } from '../../src/broker/redis/partitions/partitions.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import type { Redis } from '../fixtures/redis.ts'
import { limits, type Node } from './contract.ts'
import { Ear } from './ear.ts'

export interface RedisNode extends Node {
  readonly broker: RedisBroker
  /** What it logged. */
  readonly said: string[]
}

export interface PartitionedNode extends Node {
  readonly broker: PartitionedBroker
  /** What it logged. */
  readonly said: string[]
}

let count = 0

/** Starts a broker; it may not be up yet. */
export function startRedisNode (t: Test, redis: Pick<Redis, 'url' | 'prefix'>, options: Partial<HistoryLimits> = {}, prefix = redis.prefix): RedisNode {
  const said: string[] = []
  const log = { info: (text: string) => { said.push(text) }, warn: (text: string) => { said.push(text) } }
  const broker = new RedisBroker({ ...limits, ...options, url: redis.url, prefix, nodeName: `test ${++count}`, log })
  const ear = new Ear()
  broker.start(ear)
  t.teardown(() => broker.close())
  return { broker, ear, said }
}

/** The same over partitions, and up. Channels are heard as they are, each in its partition. */
export async function startPartitions (t: Test, { url, prefix }: Pick<Redis, 'url' | 'prefix'>, partitions: number): Promise<PartitionedNode> {
  const said: string[] = []
  const log = { info: (text: string) => { said.push(text) }, warn: (text: string) => { said.push(text) } }
  const broker = new PartitionedBroker({ ...limits, url, prefix, nodeName: `test ${++count}`, log, partitions })
  const ear = new Ear()
  broker.start(ear)
  t.teardown(() => broker.close())
  const node = { broker, ear, said }
  await up(node)
  return node
}

/**
 * The same for tests that are not about partitions. A test names channels by their addresses: it hears a user's own in their partition, and those that are shared where
 * user 1 is, who is made to have company in each group. What it hears has the address again.
 */
export function startPartitionedNode (t: Test, redis: Pick<Redis, 'url' | 'prefix'> & Partial<Pick<Redis, 'cli'>>, partitions: number, options: Partial<HistoryLimits> = {}, prefix = redis.prefix): PartitionedNode {
  const said: string[] = []
  const log = { info: (text: string) => { said.push(text) }, warn: (text: string) => { said.push(text) } }
  const broker = new PartitionedBroker({ ...limits, ...options, url: redis.url, prefix, nodeName: `test ${++count}`, log, partitions })
  const ear = new Ear()
  broker.start({
    notification: (channel, notification) => { ear.notification(broker.addressOf(channel), notification) },
    control: (userId, control) => { ear.control(userId, control) },
    dropped: (channel, reason) => { ear.dropped(broker.addressOf(channel), reason) },
    // The line of one partition is what a test looks at.
    interrupted: (isAffected) => { if (isAffected(broker.channelOf('1', 'all'))) ear.interrupted() },
    restored: (isAffected) => { if (isAffected(broker.channelOf('1', 'all'))) ear.restored() }
  })
  t.teardown(() => broker.close())
  const channelOf = (address: string): string => broker.channelOf(address.startsWith('user:') ? address.slice(5) : '1', address)
  // What a partition's clock has passed already, has another id there than its publisher was answered: a test goes by what user 1 would see.
  const answered = new Map<number, number>()
  const seen = async (id: number, to: readonly string[]): Promise<number> => {
    const address = to.find((address) => !address.startsWith('user:')) ?? to.find((address) => address === 'user:1') ?? to[0]!
    const key = `${prefix}:{${broker.homeOf(address.startsWith('user:') ? address.slice(5) : '1')}}:was:${address}:${id}`
    const local = Number(await redis.cli?.('GET', key)) || id
    answered.set(local, id)
    return local
  }
  const shown = new Proxy(broker, {
    get (target, name) {
      if (name === 'publish') {
        return async (request: PublishRequest) => {
          const answer = await target.publish(request)
          return answer.id === undefined ? answer : { ...answer, id: await seen(answer.id, answer.notifications.map(({ to }) => to)) }
        }
      }
      if (name === 'retract') {
        return async ({ what, ...rest }: RetractRequest) => await target.retract({ ...rest, what: 'id' in what ? { id: answered.get(what.id) ?? what.id } : what })
      }
      if (name === 'subscribe') {
        return async (addresses: readonly string[]) => {
          for (const address of addresses) if (address.startsWith('group:')) await target.join('{1}company', address.slice(6))
          await target.subscribe(addresses.map(channelOf))
        }
      }
      if (name === 'unsubscribe') return (addresses: readonly string[]) => { target.unsubscribe(addresses.map(channelOf)) }
      const value: unknown = target[name as keyof PartitionedBroker]
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value
    }
  })
  return { broker: shown, ear, said }
}

/** Resolves when `check` holds. For what nothing tells of: asked again after each turn of a few milliseconds. */
export async function becomes (check: () => boolean | Promise<boolean>, what: string, withinMs = 20_000): Promise<void> {
  const end = performance.now() + withinMs
  while (!await check()) {
    if (performance.now() > end) throw new Error(`waited ${withinMs} ms for ${what}`)
    await new Promise((resolve) => { setTimeout(resolve, 5) })
  }
}

/** Whether a broker is up, with all of its partitions. */
export function isUp (broker: Broker): boolean {
  const { up, partitions = [] } = broker.state()
  return up && partitions.every(({ up }) => up)
}

export const up = ({ broker, said }: Node & { readonly said: string[] }): Promise<void> =>
  becomes(() => isUp(broker), `a broker to be up; it said: ${said.join(' | ')}`)

/** What a broker tells of itself now; of a histogram how many values it has. */
export function readMeter (broker: Broker, name: string): Reading {
  const meter = broker.meters.find((meter) => meter.name === name)
  if (meter === undefined) throw new Error(`no meter ${name}`)
  return meter.kind === 'histogram' ? meter.spread.totals().at(-1)! : meter.read()
}

/** What `start` ticks by, and how to stop it: a node takes an id each second, which may come between any two steps. */
export function stoppable<T> (start: () => T): [started: T, stop: () => void] {
  const tickers: NodeJS.Timeout[] = []
  const { setInterval } = globalThis
  const noted = (act: () => void, ms: number): NodeJS.Timeout => {
    const ticker = setInterval(act, ms)
    tickers.push(ticker)
    return ticker
  }
  globalThis.setInterval = noted as typeof setInterval
  try {
    return [start(), () => { for (const ticker of tickers) clearInterval(ticker) }]
  } finally {
    globalThis.setInterval = setInterval
  }
}
