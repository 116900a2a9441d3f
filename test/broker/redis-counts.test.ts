// Counts are had in three ways, at a glance, along the whole inbox, and for many who come back at once: whatever the
// logs hold, all say the same.
import t from 'tap'
import fc from 'fast-check'
import type { Reply } from '../fixtures/resp.ts'
import { startRedis } from '../fixtures/redis.ts'
import { seedOf } from '../fixtures/seed.ts'
import { startRedisNode, up } from './nodes.ts'

const redis = await startRedis(t)
// It brings the library.
await up(startRedisNode(t, redis, {}))
const GROUPS = Array.from({ length: 12 }, (_, i) => `group-${i}`)
const ADDRESSES = ['user:1', 'all', ...GROUPS.map((group) => `group:${group}`)]
const LENGTH = 60
const claiming = (groups: readonly string[]): Array<string | number> => [1, 4_000_000_000, groups.length, ...groups]
const TOKEN = claiming(GROUPS)
/** Users with so few groups are counted together. Each joins when first named, so what counts begins elsewhere for each. */
const FEW = GROUPS.slice(0, 3)
const NEWCOMERS = ['3', '4', '5']

/** 120 at once are more than a log is let outgrow its length by. */
const many = fc.constantFrom<number[]>(1, 1, 1, 2, 9, 40, 120)
const publish = fc.record({
  to: fc.nat(ADDRESSES.length - 1),
  many,
  options: fc.constantFrom([], [], [], ['KEEP', 'replay'], ['TTL', 50], ['KEY', 'k']),
  bytes: fc.constantFrom(1, 1, 1, 200, 3000, 20_000)
})
/** Of the ids so far, counted from the newest. */
const back = fc.oneof(fc.nat(20), fc.nat(300))
const steps = fc.array(fc.oneof(
  { arbitrary: publish, weight: 6 },
  { arbitrary: fc.record({ spread: many, copies: fc.constantFrom(1, 2, ADDRESSES.length), bytes: fc.constantFrom(1, 1, 5000) }), weight: 3 },
  { arbitrary: fc.record({ cursor: fc.constantFrom('seen', 'seen', 'read'), back }), weight: 4 },
  { arbitrary: fc.record({ mark: fc.constantFrom('read', 'dismissed'), back }), weight: 2 },
  { arbitrary: fc.record({ retract: back }), weight: 1 },
  { arbitrary: fc.record({ visit: fc.constantFrom(...NEWCOMERS) }), weight: 2 },
  { arbitrary: fc.record({ turn: fc.constantFrom(60, 500) }), weight: 1 }
), { minLength: 10, maxLength: 30, size: 'max' })

t.test('counts of a user in 12 groups, at a glance, are those along the whole inbox', async (t) => {
  const seed = seedOf('COUNTS_SEED')
  t.comment(`COUNTS_SEED=${seed}`)
  let runs = 0
  let compared = 0
  await fc.assert(fc.asyncProperty(steps, async (steps) => {
    const prefix = `${redis.prefix}:${++runs}`
    const fcall = async (name: string, ...args: Array<string | number>): Promise<Reply> => await redis.cli('FCALL', name, 1, prefix, ...args)
    await fcall('tidings_configure', 0, LENGTH, LENGTH, 600, 65_536, '', 0, 1, 0, 0)
    const published: Array<{ id: number, to: string }> = []
    const one = async (to: string, data: string, options: ReadonlyArray<string | number>): Promise<void> => {
      const [id] = await fcall('tidings_publish', to, 'message', data, ...options) as Reply[]
      published.push({ id: Number(id), to })
    }
    const spread = async (first: number, copies: number, data: string): Promise<void> => {
      const to = Array.from({ length: copies }, (_, i) => ADDRESSES[(first + i) % ADDRESSES.length]!)
      const [[, id]] = await fcall('tidings_publish_all', 1, '', '', 0, 'message', data, to.length, 'inbox', '', '', '', ...to) as [Reply[]]
      published.push({ id: Number(id), to: to[0]! })
    }
    const at = (back: number): { id: number, to: string } => published.at(-1 - back) ?? { id: 1, to: 'user:1' }
    let aheadSeconds = 0
    const visitors: string[] = []
    const position = async (user: string, token = claiming(FEW)): Promise<string> => (await fcall('tidings_position', user, ...token) as Reply[]).slice(1).join()
    await fcall('tidings_position', '1', ...TOKEN)
    for (const step of steps) {
      if ('many' in step) await Promise.all(Array.from({ length: step.many }, async () => { await one(ADDRESSES[step.to]!, JSON.stringify('x'.repeat(step.bytes)), step.options) }))
      else if ('spread' in step) await Promise.all(Array.from({ length: step.spread }, async (_, i) => { await spread(i, step.copies, JSON.stringify('x'.repeat(step.bytes))) }))
      else if ('cursor' in step) await fcall('tidings_move_cursor', '1', step.cursor, at(step.back).id, ...TOKEN)
      // What has left is refused, which is right, too.
      else if ('mark' in step) await fcall('tidings_mark', '1', at(step.back).id, step.mark, ...TOKEN).catch(() => {})
      else if ('visit' in step) {
        await position(step.visit)
        if (!visitors.includes(step.visit)) visitors.push(step.visit)
      } else if ('retract' in step) await fcall('tidings_retract', at(step.retract).to, 'ID', at(step.retract).id)
      // An hour ahead of Redis's own clock is still believed.
      else if ((aheadSeconds += step.turn) < 3000) await redis.cli('SET', `${prefix}:clock`, Number(await redis.cli('GET', `${prefix}:clock`)) + step.turn * 1_000_000)
      const glance = await fcall('tidings_position', '1', ...TOKEN) as Reply[]
      const whole = await fcall('tidings_list', '1', '', 1, 0, ...TOKEN) as Reply[]
      if (glance.slice(1).join() !== whole.slice(1, 5).join()) throw new Error(`at a glance ${glance.slice(1).join()}, along the whole ${whole.slice(1, 5).join()}`)
      // A second user comes later, and marks nothing; both ask in one call.
      const [, ...pages] = await fcall('tidings_read_pages', 65_536, 1_048_576, ...['2', '1'].flatMap((user) => [user, 1, 4_000_000_000, '', '', GROUPS.length, ...GROUPS])) as Reply[][]
      const second = await fcall('tidings_position', '2', ...TOKEN) as Reply[]
      const resumed = pages.map((page) => page.slice(5).join()).join(' and ')
      const positions = [second, glance].map((counts) => counts.slice(1).join()).join(' and ')
      if (resumed !== positions) throw new Error(`those who come back ${resumed}, at a glance ${positions}`)
      // In either order: those who came first are owed more of the same logs.
      for (const users of [visitors, visitors.toReversed()]) {
        const [, ...answers] = await fcall('tidings_read_pages', 65_536, 1_048_576, ...users.flatMap((user) => [user, 1, 4_000_000_000, '', '', FEW.length, ...FEW])) as Reply[][]
        const together = answers.map((page) => page.slice(5).join()).join(' and ')
        const alone = (await Promise.all(users.map(async (user) => await position(user)))).join(' and ')
        if (together !== alone) throw new Error(`users ${users.join()} together ${together}, alone ${alone}`)
      }
      compared++
    }
  }), {
    seed,
    numRuns: 30,
    interruptAfterTimeLimit: 4000,
    // More than are counted in one log, and few of them unseen. Large ones, each in two logs.
    examples: [
      [[{ to: 0, many: 120, options: [], bytes: 1 }, { cursor: 'seen' as const, back: 20 }]],
      [[{ spread: 40, copies: 2, bytes: 5000 }, { to: 0, many: 9, options: [], bytes: 20_000 }]],
      // What ends between the visits of two users counts for neither.
      [[
        { visit: '3' }, { to: 2, many: 1, options: ['TTL', 50], bytes: 1 }, { visit: '4' }, { to: 2, many: 1, options: [], bytes: 1 }, { turn: 60 as const }
      ]]
    ]
  })
  t.ok(compared > 0, `${compared} compared in ${runs} runs`)
})
