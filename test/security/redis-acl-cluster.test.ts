// docs/redis.md and docs/publishing.md: their forms of REDIS_URL are taken, and their ACL recipes for a Cluster are enough for everything and for no more.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { library } from '../../src/broker/redis/library.ts'
import { keySlot } from '../../src/broker/redis/slot.ts'
import { redisUrlFault } from '../../src/redis-url.ts'
import { listOf, request, send } from '../broker/contract.ts'
import { becomes, startPartitionedNode } from '../broker/nodes.ts'
import { startRedisCluster } from '../fixtures/redis-cluster.ts'
import { RedisCli } from '../fixtures/resp.ts'
import { nameOf, partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import type { Address } from '../../src/notification.ts'
import { PASSWORD, recipesOf } from './recipes.ts'

const PARTITIONS = 4
const page = readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8')
const recipes = [...recipesOf('redis.md'), ...recipesOf('publishing.md')]

t.test('the forms of REDIS_URL, as the page shows them, are taken', async (t) => {
  const urls = [...page.matchAll(/^ {4}(rediss?\S*:\/\/\S+)$/gm)].map(([, url]) => url!)
  t.equal(urls.length, 4)
  for (const url of urls) t.equal(redisUrlFault(url), undefined, url)
})

t.test('the ACL recipe of the nodes of a Cluster names every command of the function library', async (t) => {
  const used = new Set([...library({ isCluster: true }).matchAll(/redis\.p?call\('(\w+)'/g)].map(([, name]) => name!.toLowerCase()))
  const recipe = recipes.find(([user]) => user === 'tidings')!
  t.same([...used].filter((name) => !recipe.some((rule) => rule === `+${name}` || rule.startsWith(`+${name}|`))), [])
})

t.test('the ACL recipes for a Cluster, on a real one, let nodes do all that they must, and services publish to whom they should alone', async (t) => {
  t.same(recipes.map(([user]) => user), ['tidings', 'orders', 'complaints'])
  const cluster = await startRedisCluster(t)
  for (const node of cluster.nodes) for (const recipe of recipes) t.equal(await node.cli('ACL', 'SETUSER', ...recipe), 'OK')
  const secret = encodeURIComponent(PASSWORD)
  const options = { prefix: 'tidings', url: cluster.url.replace('://', `://tidings:${secret}@`) }
  const [a, b] = [startPartitionedNode(t, options, PARTITIONS), startPartitionedNode(t, options, PARTITIONS)] as const
  for (const { broker, said } of [a, b]) await becomes(() => broker.state().partitions?.every(({ up }) => up) === true && broker.state().up, `all partitions: ${said.join(' | ')}`)
  const users = Array.from({ length: 8 }, (_, i) => `u${i}`)
  for (const user of users) await a.broker.join(user, 'g')
  await b.broker.subscribe(users.map((user) => `user:${user}`))
  await send(a, ['group:g', ...users.map((user) => `user:${user}` as const)], 'all of them')
  await b.ear.count(users.length)
  await a.broker.publish(request('group:g', 1, { key: 'k', idempotencyKey: 'i', ttlSeconds: 60 }))
  t.equal(await a.broker.retract({ to: 'group:g', what: { key: 'k' } }), true)
  const reader = { userId: 'u1', token: { userId: 'u1', issuedAtSeconds: 1e9, expiresAtSeconds: 1e10, groups: ['g', 'h'] } }
  const { notifications: [first] } = await a.broker.list({ reader, limit: 10, unreadOnly: false })
  await a.broker.mark(reader, first!.id, 'read')
  await a.broker.moveCursor(reader, 'seen', first!.id)
  await a.broker.takeSession('u1', 'tag', 'fresh', 0)
  await a.broker.verifySessions([{ userId: 'u1', session: { tag: 'tag', takenAt: 0, fence: 0, isLowered: false } }])
  await a.broker.put('u1', 'ticket', 'x', 10)
  t.equal(await a.broker.take('u1', 'ticket'), 'x')
  await a.broker.hit('u1', 'limit', 1000)
  await a.broker.logout('u1')
  t.ok(await a.broker.presence('u1') >= 1)

  for (const user of ['u2', 'u3']) await a.broker.join(user, 'Complaints')
  for (const [user, mine, theirs] of [
    ['orders', 'user:u2', ['group:Complaints', 'group:g', 'all']], ['complaints', 'group:Complaints', ['user:u2', 'group:Complaints2', 'group:g', 'all']]
  ] as const) {
    const prefixOf = (to: Address): string => `tidings:{${tagsOf(PARTITIONS)[partitionOf(nameOf(to), PARTITIONS)]}}`
    /** A command at the master of an address. */
    const at = async (to: Address, ...command: Array<string | number>): Promise<unknown> => {
      const { port } = await cluster.masterOf(keySlot(prefixOf(to)))
      const cli = new RedisCli(`redis://${user}:${secret}@127.0.0.1:${port}`)
      return await cli.send(...command).catch((error: Error) => error.message).finally(() => { cli.close() })
    }
    const fcall = (to: Address, name: string, ...args: string[]): Promise<unknown> => at(to, 'FCALL', name, 1, prefixOf(to), to, ...args)
    const [id] = await fcall(mine, 'tidings_publish', 'message', `"by ${user}"`) as [string]
    await fcall(mine, 'tidings_publish', 'message', `"by ${user}"`, 'KEY', 'k', 'IDEMPOTENCY', 'once', 'TTL', '60')
    for (const reader of mine === 'user:u2' ? ['u2'] : ['u2', 'u3']) {
      await becomes(async () => (await listOf(a, reader)).notifications.filter(({ json }) => json === `"by ${user}"`).length === 2, `both at ${reader}`)
    }
    t.equal(await fcall(mine, 'tidings_retract', 'KEY', 'k'), 1)
    if (mine !== 'user:u2') {
      const { cli } = await cluster.masterOf(keySlot(prefixOf(mine)))
      t.ok(Number(await cli('ZSCORE', `${prefixOf(mine)}:late:${mine}`, 'kk')) > 0, 'older copies that come later will be known as replaced')
      t.ok(await cli('TTL', `${prefixOf(mine)}:late:${mine}`) as number > 0)
    }
    t.equal(await fcall(mine, 'tidings_retract', 'ID', id), 1)
    for (const reader of mine === 'user:u2' ? ['u2'] : ['u2', 'u3']) {
      await becomes(async () => (await listOf(a, reader)).notifications.every(({ json }) => json !== `"by ${user}"`), `neither at ${reader}`)
    }
    for (const to of theirs) {
      t.match(await fcall(to, 'tidings_publish', 'message', '1'), /NOPERM|can't|permission/, `${user} to ${to}`)
      t.match(await fcall(to, 'tidings_retract', 'ID', id), /NOPERM|can't|permission/, `${user} takes back from ${to}`)
      t.match(await at(to, 'SPUBLISH', `${prefixOf(to)}:${to}`, '{"data":1}'), /NOPERM/, `${user} to the channel of ${to}`)
    }
    const prefix = prefixOf(mine)
    for (const command of [
      `XRANGE ${prefix}:log:${mine} - +`, `FCALL tidings_logout 1 ${prefix} u2`, `HGET ${prefix}:members:g x`, `HSET ${prefix}:members:Complaints x inf`, `XRANGE ${prefix}:outbox - +`, `DEL ${prefix}:outbox`,
      `SET ${prefix}:was:${mine}:1 2`, `HSET ${prefix}:config partition x`, `HGETALL ${prefix}:config`, `SSUBSCRIBE ${prefix}:${mine}`, `SSUBSCRIBE ${prefix}:outbox`, 'RPUSH tidings:partitions x', 'KEYS *', 'CLUSTER FAILOVER',
      `GET ${prefix}:born`, `GET ${prefix}:revoked:u2`, `SET ${prefix}:kept:x y`, 'FUNCTION FLUSH'
    ]) t.match(await at(mine, ...command.split(' ')), /NOPERM|can't|permission/, `${user}: ${command}`)
  }

  for (const node of cluster.nodes) {
    const denied = (await node.cli('ACL', 'LOG') as string[][]).filter((entry) => entry[entry.indexOf('username') + 1] === 'tidings').map((entry) => entry[entry.indexOf('object') + 1])
    t.same(denied, [], 'nothing was refused to a node')
  }
})
