// The Redis ACL recipes of docs/security.md, word for word, on a real Redis: each user can do what it is for, and what else.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { library } from '../../src/broker/redis/library.ts'
import { startRedis } from '../fixtures/redis.ts'
import { spawnChild } from '../fixtures/process.ts'
import { RedisCli } from '../fixtures/resp.ts'
import { tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { startNodes } from './nodes.ts'
import { PASSWORD, recipesOf } from './recipes.ts'

/** Its own, with the prefix of the recipes. */
const redis = await startRedis(t, { own: true })
redis.prefix = 'tidings'
const recipes = recipesOf('security.md')
for (const recipe of recipes) await redis.cli('ACL', 'SETUSER', ...recipe)

function login (t: any, user: string): (...args: (string | number)[]) => Promise<unknown> {
  const cli = new RedisCli(`redis://${user}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}`)
  t.teardown(() => cli.close())
  return async (...args) => await cli.send(...args).catch((error: Error) => error)
}
// The nodes log in with their own recipe. Their prefix in this test is "tidings:1", which `~tidings:*` covers.
const all = await startNodes(t, 'redis', redis, {
  env: { SESSION_POLICY: 'single', PUBLISH_PER_MINUTE: '100' }, redisUrl: () => `redis://tidings:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}`
})
await redis.cli('FCALL', 'tidings_configure', 1, 'tidings', 0, 1000, 1000, 86_400, 65_536, 'run', 0, 1, 0, 0)

const refused = (answer: unknown): boolean => answer instanceof Error && /NOPERM|can't (run this command|access at least one)|has no permissions/.test(answer.message)

/** What FCALL refuses inside of a function, in a sentence that says what is missing. */
const sentence = (answer: unknown): boolean =>
  answer instanceof Error && /^NOPERM This user may not run [A-Z]+ on tidings:\S.*, which is needed here; nothing was done\. The documents have the ACL recipe$/.test(answer.message)

t.test('ACL recipes, as the page has them, are four', async (t) => {
  t.same(recipes.map(([user]) => user), ['stock', 'complaints', 'orders', 'tidings'])
  t.ok(recipes.every((recipe) => recipe.includes('reset') && recipe.includes('resetchannels')), 'each begins with nothing')
})

t.test('ACL recipe of the nodes, beside the function library, names every command in it', async (t) => {
  const used = new Set([...library().matchAll(/(?:redis\.p?call\(|local PUBLISH, NUMSUB = )'(\w+)'/g)].map(([, name]) => name!.toLowerCase()))
  const recipe = recipes.find(([user]) => user === 'tidings')!
  for (const name of used) t.ok(recipe.some((rule) => rule === `+${name}` || rule.startsWith(`+${name}|`)), name)
})

t.test('ACL recipe of the nodes, with a node that uses it, is enough for everything and for no more', async (t) => {
  const client = all.client(t, { sub: 'ann', groups: ['Complaints'] })
  await client.live()
  const { body: { ticket } } = await all.call('POST', '/api/notifications/tickets', { token: all.token({ sub: 'bob' }) })
  const bob = all.bare(t, { query: { ticket }, node: 1 })
  await bob.live()
  await all.call('POST', '/api/notifications', { body: { to: ['group:Complaints', 'all'], data: 1 }, headers: { 'idempotency-key': 'k' } })
  await client.next()
  await bob.next()
  client.drop()
  t.match((await client.live(2)).json, { resume: 'complete' })
  for (const [method, path, body] of [
    ['PUT', '/api/users/ann/groups', { groups: ['a', 'b'] }], ['PUT', '/api/users/ann/groups/c', undefined], ['DELETE', '/api/users/ann/groups/c', undefined],
    ['GET', '/api/users/ann/groups', undefined], ['GET', '/api/users/ann/presence', undefined]
  ] as const) t.equal((await all.call(method, path, { body })).status, 200, `${method} ${path}`)
  await all.client(t, { sub: 'ann' }, { node: 1 }).live()
  t.equal((await client.closed()).status, 204, 'a takeover')
  t.equal((await all.call('DELETE', '/api/users/bob/streams')).status, 204)
  await bob.closed()
  t.match(bob.events.at(-1), { event: 'closed' }, 'a logout')
  const node = login(t, 'tidings')
  for (const command of ['KEYS *', 'FLUSHALL', 'CONFIG GET *', 'ACL LIST', 'EVAL return(1) 0', 'DEL tidings:clock', 'SET other 1', 'GET other', 'PUBLISH other 1', 'SUBSCRIBE other', 'FUNCTION FLUSH', 'CLIENT LIST', 'SHUTDOWN']) {
    t.ok(refused(await node(...command.split(' '))), command)
  }
})

const data = JSON.stringify({ title: 'x' })
const fcall = (to: string): (string | number)[] => ['FCALL', 'tidings_publish', 1, 'tidings', to, 'message', data]

t.test('ACL recipe for PUBLISH, of one channel, allows that and nothing else', async (t) => {
  const stock = login(t, 'stock')
  t.equal(await stock('PUBLISH', 'tidings:group:Stock', `{"data":${data}}`), 0)
  for (const command of [
    ['PUBLISH', 'tidings:group:Stock2', data], ['PUBLISH', 'tidings:all', data], ['PUBLISH', 'tidings:user:42', data], ['PUBLISH', 'tidings:node:node-0', ''],
    fcall('group:Stock'), ['SUBSCRIBE', 'tidings:group:Stock'], ['PSUBSCRIBE', '*'], ['SPUBLISH', 'tidings:group:Stock', data], ['GET', 'tidings:clock'],
    ['XRANGE', 'tidings:log:group:Stock', '-', '+'], ['EVAL', 'return 1', 0], ['KEYS', '*'], ['CONFIG', 'GET', '*'], ['ACL', 'WHOAMI']
  ]) t.ok(refused(await stock(...command)), command.join(' '))
})

for (const [user, mine, theirs] of [
  ['complaints', ['group:Complaints'], ['group:Complaints2', 'group:complaints', 'group:Sales', 'user:42', 'all']],
  ['orders', ['user:42', 'user:43', 'user:a b*?'], ['group:Complaints', 'all']]
] as const) {
  t.test(`ACL recipe for FCALL, of ${user}, allows tidings_publish to ${mine[0]} and to nobody else`, async (t) => {
    const call = login(t, user)
    for (const to of mine) {
      t.match(await call(...fcall(to)), [/^\d{16}$/, 0], `FCALL to ${to}`)
      t.equal(await call('PUBLISH', `tidings:${to}`, `{"data":${data}}`), 0, `PUBLISH to ${to}`)
      t.match(await redis.cli('XLEN', `tidings:log:${to}`), 1)
    }
    t.match(await call(...fcall(mine[0]), 'KEEP', 'replay', 'TTL', 60, 'KEY', 'k', 'IDEMPOTENCY', 'i'), [/^\d{16}$/, 0], 'with every option')
    t.match(await call(...fcall(mine[0]), 'KEY', 'k'), [/^\d{16}$/, 0], 'in the place of an older one')
    t.equal(await call('FCALL', 'tidings_retract', 1, 'tidings', mine[0], 'KEY', 'k'), 1, 'and taken back')
    for (const to of theirs) {
      for (const what of [['ID', 1], ['KEY', 'k']] as const) t.ok(sentence(await call('FCALL', 'tidings_retract', 1, 'tidings', to, ...what)), `retract from ${to}`)
      for (const options of [[], ['KEEP', 'none'], ['KEEP', 'replay'], ['KEY', 'k', 'TTL', 60], ['IDEMPOTENCY', 'i2'], ['KEEP', 'none', 'IDEMPOTENCY', 'i2']]) {
        t.ok(sentence(await call(...fcall(to), ...options)), `FCALL to ${to}, ${options.join(' ')}`)
      }
      t.ok(refused(await call('PUBLISH', `tidings:${to}`, `{"data":${data}}`)), `PUBLISH to ${to}`)
      t.equal(await redis.cli('EXISTS', `tidings:log:${to}`), user === 'orders' && to === 'group:Complaints' ? 1 : 0, `nothing of it is in the log of ${to}`)
    }
    const [[, id]] = await redis.cli('FCALL', 'tidings_publish_all', 1, 'tidings', 1, '', '', 0, 'message', data, 2, 'inbox', '', '', '', mine[0], theirs[0]) as [[0, string]]
    t.ok(refused(await call('FCALL', 'tidings_retract', 1, 'tidings', theirs[0], 'ID', id)), 'of what went to two addresses, not from the other one')
    t.equal(await call('FCALL', 'tidings_retract', 1, 'tidings', mine[0], 'ID', id), 1)
    t.match(await redis.cli('XRANGE', `tidings:log:${theirs[0]}`, id, id), { length: 1 }, 'which has it still')
    for (const [name, ...args] of [
      ['tidings_logout', '42'], ['tidings_join', '42', 'g'], ['tidings_leave', '42', 'g'], ['tidings_replace_groups', '42'], ['tidings_groups', '42'], ['tidings_claim', '42', 't', ''],
      ['tidings_verify', '42', 't', '1'], ['tidings_hit', 'x', '1'], ['tidings_exchange', 'x', 'y', 'z', '1'], ['tidings_ordinal', 'x', '1'], ['tidings_setup', '1', '1', '1'], ['tidings_configure', '0', '1', '1', '1', '1', 'r', '0', '1', '0', '0'],
      ['tidings_visits', '60000', '42', '0', '0', '', '0'], ['tidings_read_pages', '1000', '1000', '42', '0', '0', '0', '1', '-1'], ['tidings_list', '42', '', '1', '0', '', '0', '-1'], ['tidings_position', '42', '', '0', '-1'],
      ['tidings_move_cursor', '42', 'read', '1', '', '0', '-1'], ['tidings_mark', '42', '1', 'read', '', '0', '-1'], ['tidings_publish_all', '1', '', 'x', '0', 'message', data, 'inbox', '', '', '', '1', mine[0]],
      ['tidings_retract_one', '', '0', mine[0], 'id', '1'], ['tidings_resume', '1000', '1000', '42', '0', '1', '0'], ['tidings_visit', '60000', '42', '0', '', '0'],
      ['tidings_publish_requests', '', 'x', '0', 'message', data, '1', mine[0]], ['tidings_version'], ['tidings_record', 'node', '', '0', '42', 'open x'], ['tidings_why', '42', '1']
    ]) t.ok(refused(await call('FCALL', name!, 1, 'tidings', ...args)), name!)
    t.match(await call('FCALL', 'tidings_publish', 1, 'other', mine[0], 'message', data), { message: /NOPERM/ }, 'under another prefix')
    t.strictSame(await call('LRANGE', 'tidings:partitions', 0, -1), [], 'asks whether there are partitions, as the programs of docs/publishing.md do')
    const other = mine[0].replace(/\w+$/, 'other')
    for (const command of [
      'GET tidings:revoked:42', 'GET tidings:session:42', 'SET tidings:session:42 x', 'SET tidings:revoked:42 1', 'SET tidings:kept:ticket:x y', 'GET tidings:kept:ticket:x', 'HSET tidings:config max_data_bytes 1',
      'HMGET tidings:groups:42 g', 'SET tidings:groups:42 g', `XRANGE tidings:log:${mine[0]} - +`, 'LPUSH tidings:partitions tidings:{x}', 'DEL tidings:partitions', 'LRANGE tidings:config 0 -1', 'LRANGE tidings:partitions2 0 -1', 'LRANGE tidings 0 -1', `DEL tidings:log:${mine[0]}`, 'SET tidings:born 1', `ZRANGE tidings:keys:${mine[0]} 0 -1`, `GET tidings:trim:${mine[0]}`, 'SMEMBERS tidings:overlong', 'SPOP tidings:overlong', 'DEL tidings:clock', 'GET tidings:born', 'KEYS *', 'SCAN 0', 'FUNCTION LOAD x',
      'FUNCTION DUMP', 'EVAL return(1) 0', 'SUBSCRIBE tidings:all', 'MONITOR', 'CLIENT LIST', 'ACL LIST', 'FLUSHALL', 'XADD tidings:log:all * d 1', 'EXPIRE tidings:clock 1', `COPY tidings:clock tidings:log:${other}`
    ]) t.ok(refused(await call(...command.split(' '))), command)
  })
}

// What stands under "What Redis cannot restrict": if one of these comes to be refused, the page has to say so.
t.test('ACL recipe for FCALL, what Redis cannot restrict: the commands inside the function, on their own keys, outside it', async (t) => {
  const call = login(t, 'complaints')
  const clock = String(await call('INCRBY', 'tidings:clock', 1))
  t.match(clock, /^\d{16}$/, 'reads the clock, and sets it ahead')
  t.equal(await call('SET', 'tidings:clock', clock), 'OK', 'sets the clock')
  t.match(await call('XADD', 'tidings:log:group:Complaints', 'MAXLEN', '5', String(Number(clock) + 1), 'e', 'message', 'd', '1'), /^\d+-\d+$/, 'writes, and trims, its own log past every check')
  t.equal(await call('EXPIREAT', 'tidings:log:group:Complaints', 1), 1, 'deletes its own log')
  t.equal(await call('PUBLISH', 'tidings:group:Complaints', '{"tidings":1,"id":1,"event":"message","data":1}'), 0, 'sends on its own channel what it likes')
})

t.test('ACL recipe of the nodes, with the rights that docs/redis.md adds, is enough to divide partitions; without them it says where they stand', async (t) => {
  const url = `redis://tidings:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}`
  const divide = (...args: string[]) => spawnChild(t, process.execPath, ['scripts/partitions.ts', '--from', '1', '--to', '2', ...args], { name: 'partitions', env: { ...process.env, REDIS_URL: url, REDIS_PREFIX: 'tidings' } })
  await redis.cli('FCALL', 'tidings_join', 1, 'tidings', '42', 'Complaints')
  const without = divide('--dry-run')
  t.match(await without.exited, { code: 1 })
  t.match(without.lines.at(-1), /^Not done: .*NOPERM.*; docs\/redis\.md, Partitions, has the rights that it needs$/)
  const [, line] = /^ {4}redis-cli (ACL SETUSER tidings .*)$/m.exec(readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8'))!
  await redis.cli(...line!.replaceAll("'", '').split(' '))
  const child = divide()
  t.match(await child.exited, { code: 0 }, child.lines.join(' | '))
  t.same(await redis.cli('LRANGE', 'tidings:partitions', 0, -1), tagsOf(2).map((tag) => `tidings:{${tag}}`))
})
