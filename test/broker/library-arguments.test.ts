// Every function of the library, called with arguments that nobody but a broken node would send: it answers at once,
// since a Redis that runs a function for ever serves nobody, and can only be killed.
import t from 'tap'
import { library } from '../../src/broker/redis/library.ts'
import { Random } from '../../chaos/random.ts'
import { startRedis } from '../fixtures/redis.ts'
import { seedOf } from '../fixtures/seed.ts'

const CALLS = Number(process.env['ARGUMENTS_CALLS'] ?? 6000)
const ANSWER_MS = 5000
const SEED = seedOf('ARGUMENTS_SEED')

const names = [...new Set(library().match(/\btidings_\w+(?=')/g))]
const values = [
  '', '0', '1', '2', '3', '5', '-1', '-0', '1.5', '1e3', '0x10', 'nan', 'inf', '-inf', '9007199254740993', '99999999999999999999', '1e400', '1795000000000000',
  'a', 'user:a', 'group:g', 'all', 'user:', 'message', 'id', 'key', 'inbox', 'read', 'seen', 'unread', '{"a":1}', '{', '\0', '%s%d%n', '\u{1F600}', 'x'.repeat(600)
]

t.test(`functions, each called with whatever arguments, answer at once (ARGUMENTS_SEED=${SEED})`, async (t) => {
  const redis = await startRedis(t, { own: true })
  await redis.cli('FUNCTION', 'LOAD', 'REPLACE', library())
  t.ok(names.length > 30, `${names.length} functions`)
  const random = new Random(SEED)
  for (let call = 0; call < CALLS; call++) {
    const name = random.pick(names)
    const args = Array.from({ length: random.below(14) }, () => random.pick(values))
    const late = Promise.withResolvers<false>()
    const deadline = setTimeout(late.resolve, ANSWER_MS, false)
    const isAnswered = await Promise.race([late.promise, redis.cli('FCALL', name, 1, redis.prefix, ...args).then(() => true, () => true)])
    clearTimeout(deadline)
    if (isAnswered) continue
    await redis.kill()
    t.fail(`${name} ${JSON.stringify(args)} has no end`)
    return
  }
  t.equal(await redis.cli('PING'), 'PONG')
})

t.test('a resume, from a cursor that nobody sends, leaves nothing behind for the calls of others', async (t) => {
  const redis = await startRedis(t, { own: true })
  await redis.cli('FUNCTION', 'LOAD', 'REPLACE', library())
  const publish = (prefix: string) => redis.cli('FCALL', 'tidings_publish', 1, prefix, 'user:ann', 'message', '1') as Promise<[string]>
  const read = (prefix: string, cursor: string) => redis.cli('FCALL', 'tidings_read_pages', 1, prefix, 131_072, 1_048_576, 'ann', 0, 9_000_000_000, 0, cursor, -1)
  const [cursor] = await publish('ours')
  for (const [i, odd] of ['-1', '-2', '-0', '0', 'nan', 'inf', '-inf', '1.5'].entries()) {
    await publish('theirs')
    await read('theirs', odd)
    const [id] = await publish('ours')
    for (const from of ['', cursor]) {
      const [, page] = await read('ours', from) as [string[], Array<string | number>]
      t.equal(page![0] === 'error' ? page![1] : page!.at(-1), i + 2, `after ${odd}, from ${from}: all are unread`)
    }
    t.same((await read('ours', String(Number(id) - 1)) as [string[]])[0], [id, 'message', '1'])
  }
})

t.test('the list of an inbox, asked for no number of notifications, is refused', async (t) => {
  const redis = await startRedis(t, { own: true })
  await redis.cli('FUNCTION', 'LOAD', 'REPLACE', library())
  const list = (limit: string) => redis.cli('FCALL', 'tidings_list', 1, redis.prefix, 'ann', '', limit, '0', '', '0', '-1')
  for (const limit of ['0', '-1', '1.5', 'nan', '']) await t.rejects(list(limit), /TIDINGS_BAD_REQUEST/, limit)
  t.match(await list('1'), [String, '0', '0'])
})
