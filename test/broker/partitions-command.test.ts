// npm run partitions as a command: what it refuses, when it gives up, what it says. (partitions-doubling.test.ts: what
// it does.)
import net, { type AddressInfo } from 'node:net'
import t from 'tap'
import { spawnChild, tail } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'

t.test('partitions, with settings that a node would refuse, change nothing and say what is wrong', async (t) => {
  for (const [prefix, env, sentence] of [['tidings:', {}, /^REDIS_PREFIX must be 1 to 64 visible ASCII characters without ":"/], ['tidings', { REDIS_URL_FILE: '/no' }, /^REDIS_URL and REDIS_URL_FILE are both set/]] as const) {
    const child = spawnChild(t, process.execPath, ['scripts/partitions.ts', '--from', '1', '--to', '4'], { name: 'partitions', env: { ...process.env, REDIS_URL: 'redis://127.0.0.1:1', REDIS_PREFIX: prefix, ...env } })
    t.match(await child.exited, { code: 2 })
    t.match(child.lines[0], sentence)
  }
})

t.test('partitions, asked for what cannot be, say what is wrong before the usage, and begin nothing', async (t) => {
  const both = ['--from', '1', '--to', '4']
  for (const [args, url, sentence] of [
    [both, '', 'REDIS_URL is not set.'], [both, 'memory:', /^REDIS_URL is memory:/], [[], 'memory:', '--from is missing.'], [['--from', '1'], 'memory:', '--to is missing.'],
    [['--from', '1', '--to', '3'], 'memory:', '--to must be 1, 2, 4, 8 … 256, not "3".'], [['--from', '4', '--to', '2'], 'memory:', /^Fewer partitions/]
  ] as Array<[string[], string, string | RegExp]>) {
    const child = spawnChild(t, process.execPath, ['scripts/partitions.ts', ...args], { name: 'partitions', env: { ...process.env, REDIS_URL: url } })
    t.match(await child.exited, { code: 2 })
    t.match(child.lines, [sentence, '', /^Usage: /], args.join(' '))
    t.same(child.lines.filter((line) => /^ +at /.test(line)), [], 'no stack')
  }
})

t.test('partitions, with a Redis that nobody reaches, give up with a sentence', async (t) => {
  const silent = net.createServer(() => {})
  await new Promise<void>((resolve) => { silent.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => silent.close())
  await Promise.all([1, (silent.address() as AddressInfo).port].map(async (port) => {
    const child = spawnChild(t, process.execPath, ['scripts/partitions.ts', '--from', '1', '--to', '4'], { name: 'partitions', env: { ...process.env, REDIS_URL: `redis://127.0.0.1:${port}` } })
    setTimeout(() => { child.signal('SIGKILL') }, 40_000).unref()
    t.match(await child.exited, { code: 1 }, tail(child.lines))
    t.match(child.lines.at(-1), /^Not done: Redis cannot be asked: /)
    t.notMatch(child.lines.join('\n'), 'until it answers', 'it does not say that it goes on')
  }))
})

t.test('partitions, stopped by a key of another kind, and refused by a Redis that is full, say what to do', async (t) => {
  const redis = await startRedis(t, { own: true })
  await redis.cli('HSET', `${redis.prefix}:config`, 'version', 7)
  await redis.cli('SET', `${redis.prefix}:groups:42`, 'theirs')
  for (const [memory, sentence] of [['0', /^Not done: a key under REDIS_PREFIX is not of the kind that Tidings writes/], ['1mb', /^Not done: Redis is full and takes no writes/]] as const) {
    await redis.cli('CONFIG', 'SET', 'maxmemory', memory)
    const child = spawnChild(t, process.execPath, ['scripts/partitions.ts', '--from', '1', '--to', '4'], { name: 'partitions', env: { ...process.env, REDIS_URL: redis.url, REDIS_PREFIX: redis.prefix } })
    t.match(await child.exited, { code: 1 }, tail(child.lines))
    t.match(child.lines.at(-1), sentence)
  }
})

t.test('partitions, with a key whose name would steer the terminal: such characters are escaped', async (t) => {
  const redis = await startRedis(t)
  await redis.cli('HSET', `${redis.prefix}:config`, 'version', 7)
  await redis.cli('SET', `${redis.prefix}:theirs\u202e\u001b[31m`, 1)
  const child = spawnChild(t, process.execPath, ['scripts/partitions.ts', '--from', '1', '--to', '2'], { name: 'partitions', env: { ...process.env, REDIS_URL: redis.url, REDIS_PREFIX: redis.prefix } })
  t.match(await child.exited, { code: 0 }, tail(child.lines))
  const text = child.lines.join('\n')
  t.match(text, String.raw`theirs\u202e\u001b[31m`)
  t.notMatch(text, /(?!\n)[\p{Cc}\p{Bidi_Control}]/u)
})

t.test('partitions: of the logs that are copied, every twentieth is compared', async (t) => {
  const redis = await startRedis(t)
  await redis.cli('HSET', `${redis.prefix}:config`, 'version', 7)
  for (let i = 0; i < 101; i++) await redis.cli('XADD', `${redis.prefix}:log:user:u${i}`, '1-0', 'e', 'message', 'd', i)
  const child = spawnChild(t, process.execPath, ['scripts/partitions.ts', '--from', '1', '--to', '2'], { name: 'partitions', env: { ...process.env, REDIS_URL: redis.url, REDIS_PREFIX: redis.prefix } })
  t.match(await child.exited, { code: 0 }, tail(child.lines))
  t.equal(child.lines.at(-1), 'moved 101 keys of users, made 0 copies of what is shared, compared 6 logs')
})

t.test('partitions, whose output nobody reads any more, go on to the end', async (t) => {
  const redis = await startRedis(t)
  await redis.cli('HSET', `${redis.prefix}:config`, 'version', 7)
  const child = spawnChild(t, 'bash', ['-c', 'set -o pipefail; "$0" scripts/partitions.ts --from 1 --to 2 | head -1', process.execPath], { name: 'partitions', env: { ...process.env, REDIS_URL: redis.url, REDIS_PREFIX: redis.prefix } })
  t.match(await child.exited, { code: 0 }, tail(child.lines))
  t.same(child.lines, ['looking whether a node is alive'], 'and no stack')
  t.equal(await redis.cli('LLEN', `${redis.prefix}:partitions`), 2)
})
