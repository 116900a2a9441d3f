// A user of Redis who lacks one right of the documents' recipe (an upgrade adds some): FCALL does all of it, or nothing, and a node says so.
import t, { type Test } from 'tap'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { becomes, startPartitionedNode, startRedisNode, up } from '../broker/nodes.ts'
import { type Redis, startRedis } from '../fixtures/redis.ts'
import { RedisCli } from '../fixtures/resp.ts'
import { PASSWORD, recipesOf } from './recipes.ts'

const TO = 'group:Complaints'
const PARTITIONS = 4

/** Not Redis's own words, which name neither the command nor the key. */
const SENTENCE = /^NOPERM This user may not run [A-Z]+( on tidings:.+)?, which is needed here; nothing was done\. The documents have the ACL recipe$/

/** The recipe, less one command at a time. */
function lacking (page: string): Array<{ without: string, rules: string[] }> {
  const recipe = recipesOf(page).find(([user]) => user === 'complaints')!.slice(1).map((rule) => rule.replace('+spublish', '+publish'))
  return recipe.flatMap((rule, i) => !rule.startsWith('(')
    ? []
    : [...rule.matchAll(/ \+\w+/g)].map(([command]) => ({ without: rule + command, rules: recipe.with(i, rule.replace(`${command} `, ' ').replace(`${command})`, ')')).filter((rule) => rule.includes('+') || !rule.startsWith('(')) })))
}

/** `prefix`: that of the address's home. Refuses, or does it; and the same call of somebody who may, once it was refused, does it once. */
async function tryAll (t: Test, redis: Redis, page: string, prefix: string): Promise<void> {
  const count = async (mark: string): Promise<number> => (await redis.cli('XRANGE', `${prefix}:log:${TO}`, '-', '+') as unknown[]).filter((entry) => JSON.stringify(entry).includes(mark)).length
  // Up to which id the others are owed something.
  const owed = async (): Promise<string> => JSON.stringify(await redis.cli('HGETALL', `${prefix}:sent`))
  // What the key names, and that it stands.
  const holder = async (): Promise<string> => {
    const id = String(await redis.cli('ZSCORE', `${prefix}:keys:${TO}`, 'k'))
    return JSON.stringify(await redis.cli('XRANGE', `${prefix}:log:${TO}`, id, id))
  }
  const variants = lacking(page)
  let refusals = 0
  for (const [i, { without, rules }] of variants.entries()) {
    await redis.cli('ACL', 'SETUSER', `u${i}`, ...rules)
    await redis.cli('FCALL', 'tidings_publish', 1, prefix, TO, 'message', '"older"', 'KEY', 'k')
    const cli = new RedisCli(`redis://u${i}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}`)
    for (const options of [['KEY', 'k', 'IDEMPOTENCY', `first ${i}`], ['KEY', 'k', 'TTL', '60', 'IDEMPOTENCY', `second ${i}`], ['IDEMPOTENCY', `third ${i}`]]) {
      const mark = `${options.at(-1)!};`
      const call = ['FCALL', 'tidings_publish', 1, prefix, TO, 'message', JSON.stringify(mark), ...options] as const
      const [before, older] = [await owed(), await holder()]
      const error = await cli.send(...call).then(() => undefined, (error: Error) => error)
      t.equal(await count(mark), error === undefined ? 1 : 0, `without ${without}: ${options.join(' ')}: ${error?.message ?? 'done'}`)
      if (error !== undefined && !without.endsWith('+fcall')) t.match(error.message, SENTENCE, `without ${without}: ${options.join(' ')}`)
      if (page === 'publishing.md') t.equal(await owed() === before, error !== undefined, 'and what the others are owed')
      if (error === undefined) continue
      t.equal(await holder(), older, `without ${without}: ${options.join(' ')}: the older one stays`)
      refusals++
      await redis.cli(...call)
      t.equal(await count(mark), 1, 'called again by who may')
    }
    const error = await cli.send('FCALL', 'tidings_retract', 1, prefix, TO, 'KEY', 'k').then(() => undefined, (error: Error) => error)
    t.equal(await count(`second ${i};`), error === undefined ? 0 : 1, `without ${without}: retract: ${error?.message ?? 'done'}`)
    if (error !== undefined && !without.endsWith('+fcall')) t.match(error.message, SENTENCE, `without ${without}: retract`)
    for (const options of [[], ['KEEP', 'none']]) {
      const error = await cli.send('FCALL', 'tidings_publish', 1, prefix, TO, 'message', '1', ...options).then(() => undefined, (error: Error) => error)
      if (error !== undefined && !without.endsWith('+fcall')) t.match(error.message, SENTENCE, `without ${without}: ${options.join(' ')}`)
    }
    cli.close()
  }
  t.ok(variants.length > 15 && refusals > 10, `${refusals} refusals with ${variants.length} recipes`)
}

t.test('without partitions, a user who lacks one right: all or nothing', async (t) => {
  const redis = await startRedis(t, { own: true })
  await up(startRedisNode(t, redis, {}, 'tidings'))
  await tryAll(t, redis, 'security.md', 'tidings')
})

t.test('a user who lacks the channel, and what would undo the rest: nothing is done, and the key is still free', async (t) => {
  const redis = await startRedis(t, { own: true })
  await up(startRedisNode(t, redis, {}, 'tidings'))
  const recipe = recipesOf('security.md').find(([user]) => user === 'complaints')!.slice(1)
  await redis.cli('ACL', 'SETUSER', 'u', ...recipe.filter((rule) => !rule.includes('+publish')).map((rule) => rule.replace(/ \+(unlink|xdel)/g, '')))
  const cli = new RedisCli(`redis://u:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}`)
  t.teardown(() => { cli.close() })
  for (const options of [['IDEMPOTENCY', 'a'], ['TTL', '60', 'IDEMPOTENCY', 'b'], ['KEEP', 'replay']]) {
    const call = ['FCALL', 'tidings_publish', 1, 'tidings', TO, 'message', '1', ...options] as const
    const length = async (): Promise<number> => await redis.cli('XLEN', `tidings:log:${TO}`) as number
    const before = await length()
    await t.rejects(cli.send(...call), { message: SENTENCE })
    t.equal(await length(), before, options.join(' '))
    await redis.cli(...call)
    t.equal(await length(), before + 1, 'called again by who may')
  }
})

t.test('a node whose user lacks a right inside of a function is not ready, and says which', async (t) => {
  const redis = await startRedis(t, { own: true })
  const recipe = recipesOf('security.md').find(([user]) => user === 'tidings')!
  await redis.cli('ACL', 'SETUSER', ...recipe)
  const node = startRedisNode(t, { ...redis, url: `redis://tidings:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}` }, {}, 'tidings')
  await up(node)
  for (const name of ['xadd', 'hgetall', 'xread', 'xrevrange', 'xdel', 'zremrangebyscore']) {
    await redis.cli('ACL', 'SETUSER', 'tidings', `-${name}`)
    const pattern = new RegExp(`^the Redis user may not do what a node must.* ${name.toUpperCase()} on tidings:`)
    await becomes(() => pattern.test(node.broker.state().detail), name)
    t.equal(node.broker.state().up, false)
    await redis.cli('ACL', 'SETUSER', 'tidings', `+${name}`)
    await up(node)
  }
})

t.test('a publish to several addresses, of which the first channel is refused, stores nothing at any, and what its key names stays', async (t) => {
  const redis = await startRedis(t, { own: true })
  await up(startRedisNode(t, redis, {}, 'tidings'))
  await redis.cli('ACL', 'SETUSER', 'half', 'on', 'nopass', '~*', '+@all', 'resetchannels', '&tidings:user:*')
  const half = new RedisCli(`redis://half:any@127.0.0.1:${redis.port}`)
  t.teardown(() => { half.close() })
  const publish = (cli: Pick<RedisCli, 'send'>, key: string) => cli.send('FCALL', 'tidings_publish_all', 1, 'tidings', 1, 'once', '', '', 'message', '1', 3, 'inbox', '', key, '', 'all', 'user:1', 'user:2')
  await redis.cli('FCALL', 'tidings_publish', 1, 'tidings', 'user:1', 'message', '"older"', 'KEY', 'k')
  const logs = async () => await Promise.all(['all', 'user:1', 'user:2'].map(async (to) => await redis.cli('XLEN', `tidings:log:${to}`)))
  for (const key of ['', 'k', '', 'k']) {
    t.match(await publish(half, key), [['error', /^(NOPERM|ERR ACL failure|.*can't)/]])
    t.same(await logs(), [0, 1, 0], `key ${key}`)
  }
})

t.test('with partitions, a user who lacks one right, also of the outbox: all or nothing', async (t) => {
  const redis = await startRedis(t, { own: true })
  const { broker } = startPartitionedNode(t, redis, PARTITIONS, {}, 'tidings')
  await becomes(() => broker.state().up, 'the node')
  for (let i = 0; i < 8; i++) await broker.join(`user ${i}`, 'Complaints')
  await tryAll(t, redis, 'publishing.md', `tidings:{${tagsOf(PARTITIONS)[partitionOf('Complaints', PARTITIONS)]}}`)
})

type Call = ReadonlyArray<string | number>

/** `call`: publishes `mark` with the Idempotency-Key `mark`. After a refusal the same call of a node with all rights stores it once. */
async function tryAllOfNode (t: Test, redis: Redis, page: string, log: string, call: (mark: string, key: string, ttl: string) => Call): Promise<void> {
  const recipe = recipesOf(page).find(([user]) => user === 'tidings')!.slice(1).map((rule) => rule.replace('+spublish', '+publish'))
  const rights = [...new Set(recipe.join(' ').match(/\+\w+(?![|\w])/g))]
  await redis.cli('ACL', 'SETUSER', 'node', ...recipe)
  const cli = new RedisCli(`redis://node:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}`)
  t.teardown(() => { cli.close() })
  let refusals = 0
  for (const right of rights) {
    for (const [key, ttl] of [['', ''], ['k', ''], ['', '60'], ['k', '60']] as const) {
      const mark = `${right} ${key} ${ttl};`
      await redis.cli('ACL', 'SETUSER', 'node', right.replace('+', '-'))
      const [[answer, why]] = await cli.send(...call(mark, key, ttl)).then((reply) => reply as [unknown[]], (error: Error) => [['error', error.message]])
      await redis.cli('ACL', 'SETUSER', 'node', right)
      if (answer === 'error') refusals++
      await cli.send(...call(mark, key, ttl))
      t.equal(JSON.stringify(await redis.cli('XRANGE', log, '-', '+')).split(mark).length - 1, 1, `without ${right}, key "${key}", ttl "${ttl}": ${String(answer)} ${String(why)}`)
    }
  }
  t.ok(rights.length > 40 && refusals > 30, `${refusals} refusals without each of ${rights.length} rights`)
}

t.test('a node that lost one right a moment ago: what is published again with its Idempotency-Key is stored once', async (t) => {
  const redis = await startRedis(t, { own: true })
  await up(startRedisNode(t, redis, {}, 'tidings'))
  await tryAllOfNode(t, redis, 'security.md', `tidings:log:${TO}`, (mark, key, ttl) =>
    ['FCALL', 'tidings_publish_all', 1, 'tidings', 1, mark, '', '', 'message', JSON.stringify(mark), key === '' ? 2 : 1, 'inbox', ttl, key, '', TO, ...key === '' ? ['user:1'] : []])
})

t.test('with partitions, a node that lost one right a moment ago: the same', async (t) => {
  const redis = await startRedis(t, { own: true })
  const { broker } = startPartitionedNode(t, redis, PARTITIONS, {}, 'tidings')
  await becomes(() => broker.state().up, 'the node')
  for (let i = 0; i < 8; i++) await broker.join(`user ${i}`, 'Complaints')
  const prefix = `tidings:{${tagsOf(PARTITIONS)[partitionOf('Complaints', PARTITIONS)]}}`
  await tryAllOfNode(t, redis, 'redis.md', `${prefix}:log:${TO}`, (mark, key, ttl) =>
    ['FCALL', 'tidings_commit', 1, prefix, 1, mark, '', '', 'message', JSON.stringify(mark), 'inbox', ttl, key, '', 1, TO, 1, 0, 1, TO])
})
