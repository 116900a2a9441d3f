// Whatever is done to three nodes behind nginx, in whatever order, and whichever node dies over it: the inbox of every device is the model's.
// More runs: INBOX_MODEL_RUNS; other ones: INBOX_MODEL_SEED=random; one that failed again: INBOX_MODEL_SEED and INBOX_MODEL_PATH, as the failure prints them.
import t from 'tap'
import fc from 'fast-check'
import { Model } from '../broker/model.ts'
import { startCluster } from '../fixtures/cluster.ts'
import { seedOf } from '../fixtures/seed.ts'
import { Run, Service } from './inbox-world.ts'

const { INBOX_MODEL_RUNS, INBOX_MODEL_PATH } = process.env
const limits = { historyLength: 6, groupHistoryLength: 6, historySeconds: 600 }

const cluster = await startCluster(t, {
  env: {
    HISTORY_LENGTH: String(limits.historyLength),
    GROUP_HISTORY_LENGTH: String(limits.groupHistoryLength),
    HISTORY_SECONDS: String(limits.historySeconds),
    PUBLISH_PER_MINUTE: '0',
    CONNECTS_PER_MINUTE: '0'
  }
})
const service = new Service(t, cluster, new Model({ ...limits, forgets: false }))

class Step implements fc.AsyncCommand<object, Run> {
  readonly #name: string
  readonly #run: (run: Run) => Promise<void>
  constructor (name: string, run: (run: Run) => Promise<void>) {
    this.#name = name
    this.#run = run
  }

  check = (): boolean => true
  async run (_model: object, run: Run): Promise<void> { await this.#run(run) }
  toString = (): string => this.#name
}

const two = fc.nat(1)
const addresses = fc.array(fc.nat(4), { minLength: 1, maxLength: 3 })
const key = fc.constantFrom('k', 'l')
const back = fc.nat(8)
const step = <T extends unknown[]>(name: string, args: { [K in keyof T]: fc.Arbitrary<T[K]> }, run: (run: Run, ...args: T) => Promise<void>): fc.Arbitrary<Step> =>
  fc.tuple<T>(...args).map((args) => new Step(`${name} ${JSON.stringify(args)}`, async (world) => { await run(world, ...args) }))
/** An id, or one that is older than any. */
const idOf = (run: Run, back: number): number => run.ids.at(-1 - back) ?? 1e15
const userOf = (run: Run, index: number): string => run.users[index]!

const publish = step('publish', [
  addresses, fc.constantFrom('inbox', 'inbox', 'replay', 'none'), fc.option(fc.constantFrom(20, 200), { nil: undefined }), fc.option(key, { nil: undefined })
], async (run, to, keep, ttlSeconds, key) => {
  await run.publish([...new Set(to)].map((index) => run.addresses[index]!), { keep, ttlSeconds, key })
})

const steps: Array<fc.Arbitrary<Step>> = [
  publish, publish, publish, publish,
  step('FCALL', [fc.nat(4), fc.constantFrom('inbox', 'inbox', 'replay', 'none'), fc.option(fc.constantFrom(20, 200), { nil: undefined }), fc.option(key, { nil: undefined })],
    async (run, to, keep, ttlSeconds, key) => { await run.publishOutside(run.addresses[to]!, { keep, ttlSeconds, key }) }),
  step('PUBLISH', [fc.nat(4), key], async (run, to, key) => { await run.publishPlain(run.addresses[to]!, key) }),
  // Not to those whose notifications have a ttl: when what has outlived it makes room is the broker's affair.
  step('flood', [], async (run) => { await run.flood('all') }),
  step('retract by id', [fc.nat(4), back], async (run, to, back) => { await run.retract(run.addresses[to]!, { id: idOf(run, back) }) }),
  step('retract by key', [fc.nat(4), key], async (run, to, key) => { await run.retract(run.addresses[to]!, { key }) }),
  step('join', [two, two], async (run, user, group) => { await run.changeGroup(userOf(run, user), run.groups[group]!, 'join') }),
  step('leave', [two, two], async (run, user, group) => { await run.changeGroup(userOf(run, user), run.groups[group]!, 'leave') }),
  step('replace', [two, fc.subarray([0, 1] as const)], async (run, user, groups) => { await run.replaceGroups(userOf(run, user), groups.map((group) => run.groups[group])) }),
  step('claim', [two, fc.nat(3), fc.subarray([0, 1] as const)], async (run, user, age, groups) => {
    await run.claim(userOf(run, user), Math.floor(Date.now() / 1000) + 3000 + age, groups.map((group) => run.groups[group]))
  }),
  step('move', [two, fc.constantFrom('seen', 'read'), back], async (run, user, cursor, back) => { await run.move(userOf(run, user), cursor, idOf(run, back)) }),
  step('mark', [two, back, fc.constantFrom('read', 'unread', 'unread', 'dismissed')], async (run, user, back, as) => { await run.mark(userOf(run, user), idOf(run, back), as) }),
  step('turn', [fc.constantFrom(7.031, 100.057)], async (_run, seconds) => { await service.turn(seconds) }),
  step('go away', [two], async (run, user) => { run.goAway(userOf(run, user)) }),
  step('come back', [two], async (run, user) => { await run.comeBack(userOf(run, user)) }),
  step('look', [two, fc.integer({ min: 1, max: 10 }), fc.boolean()], async (run, user, limit, unread) => { await run.look(userOf(run, user), limit, unread) }),
  step('kill a node', [fc.nat(2)], async (_run, index) => { await service.killNode(index) })
]

/** When the usual test begins no more runs. */
const USUAL_MS = 18_000

t.test('three nodes behind nginx, done to as the model while nodes die, agree with it on every device', { timeout: 3_600_000 }, async (t) => {
  const seed = seedOf('INBOX_MODEL_SEED')
  t.comment(`seed ${seed}`)
  let runs = 0
  const end = performance.now() + USUAL_MS
  await fc.assert(fc.asyncProperty(fc.commands(steps, { maxCommands: 40, size: 'max' }), async (commands) => {
    // The first one always: a busy machine may need all of the time for it.
    if (INBOX_MODEL_RUNS === undefined && runs > 0 && performance.now() > end) return
    const run = new Run(service, String(++runs))
    try {
      await run.start()
      await fc.asyncModelRun(() => ({ model: {}, real: run }), commands)
      await run.finish()
    } finally {
      run.end()
      await service.settled()
    }
  }), {
    seed,
    numRuns: Number(INBOX_MODEL_RUNS ?? 12),
    // What one run leaves to `all` the next one lists: a shrunk run is not quite the same, and shrinking takes long.
    endOnFailure: true,
    ...INBOX_MODEL_PATH !== undefined && { path: INBOX_MODEL_PATH }
  })
  t.pass(`no difference in ${runs} runs`)
})
