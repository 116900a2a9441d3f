// Whatever happens to streams in whatever order, nothing throws, clients that come back miss nothing, and no trace is left.
// More runs: ORDERS_RUNS; other ones: ORDERS_SEED=random; one that failed again: ORDERS_SEED and ORDERS_PATH, as the failure prints them.
import { mock } from 'node:test'
import t from 'tap'
import fc from 'fast-check'
import { seedOf } from '../fixtures/seed.ts'
import { LINES } from './orders-broker.ts'
import type { Page } from './orders-page.ts'
import { GROUPS, type Options, USERS, World } from './orders-world.ts'

const { ORDERS_RUNS, ORDERS_PATH } = process.env

type Act = (world: World) => unknown

class Step implements fc.AsyncCommand<object, World> {
  readonly #name: string
  readonly #act: Act
  constructor (name: string, act: Act) {
    this.#name = name
    this.#act = act
  }

  check = (): boolean => true
  async run (_model: object, world: World): Promise<void> { await this.#act(world) }
  toString = (): string => this.#name
}

const step = <T extends unknown[]>(name: string, args: { [K in keyof T]: fc.Arbitrary<T[K]> }, act: (world: World, ...args: T) => unknown): fc.Arbitrary<Step> =>
  fc.tuple<T>(...args).map((args) => new Step(`${name} ${args.map(String).join(' ')}`, (world) => act(world, ...args)))

const user = fc.constantFrom(...USERS)
const group = fc.constantFrom(...GROUPS)
const which = fc.nat(20)
const size = fc.constantFrom(10, 10, 900, 3000, 9000)
const address = fc.oneof(user.map((user) => `user:${user}`), fc.constant('all'), group.map((group) => `group:${group}`)) as fc.Arbitrary<'all'>
const keep = fc.constantFrom('inbox', 'inbox', 'replay', 'none')
const withPage = (act: (page: Page, world: World) => unknown) => (world: World, which: number): unknown => {
  const page = world.page(which)
  return page === undefined ? undefined : act(page, world)
}
const affected = fc.constantFrom(...LINES)
const stage = fc.constantFrom('before', 'after')
const call = fc.constantFrom('subscribe', 'resume', 'takeSession', 'verifySessions')

const publish = step('publish', [address, size, keep], async (world, to, size, keep) => { await world.publish([to], size, keep) })
const steps: Array<fc.Arbitrary<Step>> = [
  publish, publish, publish, publish, publish, publish,
  step('publish to several', [fc.uniqueArray(address, { minLength: 2, maxLength: 3 }), size, keep], async (world, to, size, keep) => { await world.publish(to, size, keep) }),
  step('come from another installation', [user], (world, user) => { world.open(user, { from: 'foreign' }) }),
  step('stop reading', [which], withPage((page) => { page.pause() })),
  step('flood', [address, fc.constantFrom(3, 20)], async (world, to, count) => { for (let i = 0; i < count; i++) await world.publish([to], 4000, 'inbox') }),
  step('open', [user, fc.subarray([...GROUPS]), fc.constantFrom(Infinity, Infinity, 5, 20), fc.boolean(), fc.boolean()],
    (world, user, groups, seconds, isChunked, isReading) => { world.open(user, { groups, seconds, isChunked, isReading }) }),
  step('open', [user, fc.constant([]), fc.constant(Infinity), fc.constant(true), fc.constant(true)],
    (world, user, groups, seconds, isChunked, isReading) => { world.open(user, { groups, seconds, isChunked, isReading }) }),
  step('open and be live', [user, fc.boolean()], async (world, user, isReading) => {
    world.open(user, { isReading })
    await world.turns(1)
  }),
  step('come back', [which], withPage((page, world) => { world.comeBack(page) })),
  step('stop reading', [which], withPage((page) => { page.pause() })),
  step('read on', [which], withPage((page) => { page.resume() })),
  step('lose the line', [which], withPage((page) => { page.lose(false) })),
  step('close its side', [which], withPage((page) => { page.lose(true) })),
  step('join', [user, group], async (world, user, group) => { await world.join(user, group) }),
  step('leave', [user, group], async (world, user, group) => { await world.leave(user, group) }),
  step('log out', [user], async (world, user) => { await world.logout(user) }),
  step('forge', [user, group, fc.constantFrom('join', 'leave', 'logout', 'takeover'), fc.boolean()], (world, user, group, control, isLate) => {
    world.forge(user, { control, group, id: isLate ? Number.MAX_SAFE_INTEGER : 1, tag: 'x' } as never)
  }),
  step('interrupt', [affected, fc.boolean()], (world, isAffected, isLost) => { world.interrupt(isAffected, isLost) }),
  step('restore', [], (world) => { world.restore() }),
  step('hold answers', [stage, call], (world, stage, call) => { world.answers(stage, call, false) }),
  step('fail answers', [stage, call], (world, stage, call) => { world.answers(stage, call, true) }),
  step('let answers go', [], (world) => { world.letGo() }),
  step('let answers fail', [], (world) => { world.letGo(true) }),
  step('drain', [fc.nat(9)], (world, chance) => { if (chance === 0) world.drain() }),
  step('a turn', [fc.constantFrom(1, 3)], async (world, count) => { await world.turns(count) }),
  step('milliseconds', [fc.constantFrom(1, 6, 60)], (world, ms) => { world.pass(ms) }),
  step('seconds', [fc.constantFrom(1, 4, 30)], (world, seconds) => { for (let i = 0; i < seconds; i++) world.pass(1000) })
]

const options: fc.Arbitrary<Options> = fc.record({
  isSingleSession: fc.constantFrom(false, false, true),
  isTls: fc.constantFrom(false, false, true),
  coalesceMs: fc.constantFrom(0, 5, 100),
  bufferBytes: fc.constantFrom(10_000, 20_000, 60_000),
  kernelBytes: fc.constantFrom(0, 3000, 30_000),
  maxStreamsPerUser: fc.constantFrom(2, 100)
})

t.test('streams, in any order of events: nothing throws, nobody who reads misses anything, and nothing is left', async (t) => {
  const fails: unknown[] = []
  const failed = (error: unknown): void => { fails.push(error) }
  process.on('unhandledRejection', failed)
  process.on('uncaughtException', failed)
  t.teardown(() => { process.off('unhandledRejection', failed).off('uncaughtException', failed) })
  mock.method(Math, 'random', () => 0.5)
  mock.timers.enable({ apis: ['Date', 'setInterval', 'setTimeout'], now: 1_800_000_000_000 })
  t.teardown(() => {
    mock.timers.reset()
    mock.restoreAll()
  })
  await fc.assert(fc.asyncProperty(options, fc.commands(steps, { maxCommands: 80, size: 'max', ...ORDERS_PATH !== undefined && { replayPath: ORDERS_PATH } }), async (options, commands) => {
    fails.length = 0
    const world = new World(options, failed)
    await fc.asyncModelRun(() => ({ model: {}, real: world }), commands)
    await world.ends()
    if (fails.length > 0) throw new Error('something was thrown through a loop over others', { cause: fails[0] })
  }), { numRuns: Number(ORDERS_RUNS ?? 200), seed: seedOf('ORDERS_SEED') })
})
