// Whatever is done in whatever order, a broker agrees with the model: lists, counts, what a device that was away gets, and what streams hear.
// More runs: INBOX_MODEL_RUNS; other ones: INBOX_MODEL_SEED=random; one that failed again: INBOX_MODEL_SEED and INBOX_MODEL_PATH, as the failure prints them.
import t, { type Test } from 'tap'
import fc from 'fast-check'
import { MemoryBroker } from '../../src/broker/memory/memory.ts'
import { MemoryBus } from '../../src/broker/memory/bus.ts'
import { tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import type { Address } from '../../src/notification.ts'
import { startRedis } from '../fixtures/redis.ts'
import { seedOf } from '../fixtures/seed.ts'
import { Ear } from './ear.ts'
import { Model } from './model.ts'
import { ADDRESSES, GROUPS, type Real, USERS, World } from './model-world.ts'
import { startPartitionedNode, stoppable, startRedisNode, up } from './nodes.ts'

const limits = { historyLength: 6, groupHistoryLength: 4, historySeconds: 600, maxDataBytes: 10_000 }
const { INBOX_MODEL_RUNS, INBOX_MODEL_PATH } = process.env

class Step implements fc.AsyncCommand<object, World> {
  readonly #name: string
  readonly #run: (world: World) => Promise<void>
  constructor (name: string, run: (world: World) => Promise<void>) {
    this.#name = name
    this.#run = run
  }

  check = (): boolean => true
  async run (_model: object, world: World): Promise<void> { await this.#run(world) }
  toString = (): string => this.#name
}

const user = fc.constantFrom(...USERS)
const group = fc.constantFrom(...GROUPS)
const groups = fc.subarray([...GROUPS])
const address = fc.constantFrom(...ADDRESSES)
const key = fc.constantFrom('k', 'l')
/** One of the newest ids, counted from the end. */
const back = fc.nat(12)
const keep = fc.constantFrom('inbox', 'inbox', 'inbox', 'replay', 'none')
const step = <T extends unknown[]>(name: string, args: { [K in keyof T]: fc.Arbitrary<T[K]> }, run: (world: World, ...args: T) => Promise<void>): fc.Arbitrary<Step> =>
  fc.tuple<T>(...args).map((args) => new Step(`${name} ${JSON.stringify(args)}`, async (world) => { await run(world, ...args) }))

let published = 0

const publish = step('publish', [
  fc.array(address, { minLength: 1, maxLength: 3 }), keep, fc.option(fc.constantFrom(20, 200, 600), { nil: undefined }), fc.option(key, { nil: undefined }), fc.boolean(), fc.boolean()
], async (world, to, keep, ttlSeconds, key, isAgain, isLarge) => {
  await world.publish({ to, keep, ttlSeconds, key, isLarge, idempotencyKey: isAgain ? `i${published++}` : undefined })
})

const steps: Array<fc.Arbitrary<Step>> = [
  publish, publish, publish,
  step('flood', [address, fc.constantFrom(3, 55, 104), fc.boolean()], async (world, to, count, isLarge) => { await world.flood(to, count, isLarge) }),
  step('FCALL tidings_publish', [address, keep, fc.option(fc.constantFrom(20, 200, 600), { nil: undefined }), fc.option(key, { nil: undefined }), fc.boolean()],
    async (world, to, keep, ttlSeconds, key, isLarge) => { await world.publishOutside(to, { keep, ttlSeconds, key, isLarge }) }),
  step('PUBLISH', [address, key], async (world, to, key) => { await world.publishPlain(to, key) }),
  step('FCALL tidings_retract', [address, fc.oneof(back.map((back) => ({ back })), key.map((key) => ({ key })))],
    async (world, to, what) => { await world.retractOutside(to, 'key' in what ? what : { id: world.ids.at(-1 - what.back) ?? 1 }) }),
  step('retract by id', [address, back], async (world, to, back) => { await world.retract(to, { id: world.ids.at(-1 - back) ?? 1 }) }),
  step('retract by key', [address, key], async (world, to, key) => { await world.retract(to, { key }) }),
  step('join', [user, group], async (world, userId, group) => { await world.join(userId, group) }),
  step('join', [user, group], async (world, userId, group) => { await world.join(userId, group) }),
  step('leave', [user, group], async (world, userId, group) => { await world.leave(userId, group) }),
  step('replace', [user, groups], async (world, userId, groups) => { await world.replaceGroups(userId, groups) }),
  step('claim', [user, fc.constantFrom(0, 1, 2, 4_000_000_000, 4_000_000_001), groups], async (world, userId, iat, groups) => { await world.claim(userId, iat, groups) }),
  step('move', [user, fc.constantFrom('seen', 'read'), back], async (world, userId, cursor, back) => { await world.move(userId, cursor, world.ids.at(-1 - back) ?? 1) }),
  step('move to', [user, fc.constantFrom('seen', 'read'), fc.constantFrom('now', 'future')], async (world, userId, cursor, to) => { await world.move(userId, cursor, to) }),
  step('mark', [user, back, fc.constantFrom('read', 'unread', 'dismissed')], async (world, userId, back, as) => { await world.mark(userId, world.ids.at(-1 - back) ?? 1, as) }),
  step('mark', [user, back, fc.constantFrom('read', 'unread', 'unread')], async (world, userId, back, as) => { await world.mark(userId, world.ids.at(-1 - back) ?? 1, as) }),
  // No sum of them is a ttl or the history, so that seldom anything ends in the middle of a step.
  step('turn', [fc.constantFrom(7.031, 100.057, 250.013)], async (world, seconds) => { await world.turn(seconds) }),
  step('go away', [user], async (world, userId) => { await world.goAway(userId) }),
  step('come back', [user], async (world, userId) => { await world.comeBack(userId) }),
  step('look', [user, fc.integer({ min: 1, max: 10 }), fc.boolean()], async (world, userId, limit, unreadOnly) => { await world.look(userId, limit, unreadOnly) })
]

async function agrees (t: Test, make: () => Promise<{ real: Real, end: () => Promise<void> }>, forgets: boolean, usualRuns: number, withinMs = 15_000): Promise<void> {
  const seed = seedOf('INBOX_MODEL_SEED')
  t.comment(`seed ${seed}`)
  await fc.assert(fc.asyncProperty(fc.subarray([...ADDRESSES]), fc.commands(steps, { maxCommands: 60, size: 'max' }), async (floods, commands) => {
    const { real, end } = await make()
    const world = new World(new Model({ ...limits, forgets }), real, floods)
    try {
      await world.start()
      await fc.asyncModelRun(() => ({ model: {}, real: world }), commands)
      await world.finish()
    } finally {
      await end()
    }
  }), {
    seed,
    numRuns: Number(INBOX_MODEL_RUNS ?? usualRuns),
    ...INBOX_MODEL_RUNS === undefined && { interruptAfterTimeLimit: withinMs },
    ...INBOX_MODEL_PATH !== undefined && { path: INBOX_MODEL_PATH }
  })
  t.pass('no difference')
}

t.test('the embedded broker, done to as the model, agrees with it', async (t) => {
  await agrees(t, async () => {
    let aheadMs = 0
    const startMs = Date.now()
    const bus = new MemoryBus({ ...limits, nowMs: () => startMs + aheadMs, steadyMs: () => performance.now() + aheadMs })
    const node = () => {
      const broker = new MemoryBroker(bus)
      const ear = new Ear()
      broker.start(ear)
      return { broker, ear }
    }
    const nodes = [node(), node()] as const
    const turn = async (seconds: number): Promise<void> => {
      aheadMs += seconds * 1000
      bus.sweep()
    }
    return { real: { nodes, turn }, end: async () => { for (const { broker } of nodes) await broker.close() } }
  }, true, 150)
})

t.test('the broker on Redis, done to as the model, agrees with it', async (t) => {
  const redis = await startRedis(t)
  let count = 0
  await agrees(t, async () => {
    const prefix = `${redis.prefix}:${++count}`
    const nodes = [startRedisNode(t, redis, limits, prefix), startRedisNode(t, redis, limits, prefix)] as const
    await Promise.all(nodes.map(up))
    // Ids go on from the last one, wherever that is; an hour ahead of Redis's own clock is still believed.
    const turn = async (seconds: number): Promise<void> => {
      await redis.cli('SET', `${prefix}:clock`, Math.round(Number(await redis.cli('GET', `${prefix}:clock`)) + seconds * 1_000_000))
    }
    const fcall = async (name: string, ...args: Array<string | number>): Promise<unknown> => await redis.cli('FCALL', name, 1, prefix, ...args)
    const publishPlain = async (to: Address, payload: string): Promise<void> => { await redis.cli('PUBLISH', `${prefix}:${to}`, payload) }
    return { real: { nodes, turn, fcall, publishPlain }, end: async () => { for (const { broker } of nodes) await broker.close() } }
  }, false, 40)
})

t.test('the broker on eight partitions, done to as the model, agrees with it', async (t) => {
  const redis = await startRedis(t)
  const tags = tagsOf(8)
  let count = 0
  await agrees(t, async () => {
    const prefix = `${redis.prefix}:${++count}`
    const clocks = tags.map((tag) => `${prefix}:{${tag}}:clock`)
    // The model knows one clock: before each step all partitions are as far as the one that is furthest, so that a copy keeps its id.
    const align = async (seconds = 0): Promise<void> => {
      const furthest = Math.max(...(await redis.cli('MGET', ...clocks) as Array<string | null>).map(Number))
      await redis.cli('MSET', ...clocks.flatMap((clock) => [clock, Math.round(furthest + seconds * 1_000_000)]))
    }
    const [nodes, stop] = stoppable(() => [startPartitionedNode(t, redis, 8, limits, prefix), startPartitionedNode(t, redis, 8, limits, prefix)] as const)
    await Promise.all(nodes.map(up))
    stop()
    // The copy of a group's log begins when its partition has members: the model knows one log.
    await Promise.all(tags.flatMap((tag) => GROUPS.map(async (group) => { await nodes[0].broker.join(`{${tag}}company`, group) })))
    return { real: { nodes, turn: align, align }, end: async () => { for (const { broker } of nodes) await broker.close() } }
  }, false, 20, 8000)
})
