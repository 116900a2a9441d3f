// docs/redis.md: its forms of REDIS_URL are taken, and its ACL recipes for a Cluster are enough for everything and for no more.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { keySlot } from '../../src/broker/redis/slot.ts'
import { redisUrlFault } from '../../src/redis-url.ts'
import { request, send } from '../broker/contract.ts'
import { becomes, startPartitionedNode } from '../broker/nodes.ts'
import { startRedisCluster } from '../fixtures/redis-cluster.ts'
import { RedisCli } from '../fixtures/resp.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'

const PARTITIONS = 4
const PASSWORD = 'a long password'
const page = readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8')
const recipes = [...page.matchAll(/^redis-cli ACL SETUSER ([^]*?[^\\])$/gm)].map(([, text]) =>
  [...text!.replaceAll('\\\n', ' ').matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!))

t.test('the forms of REDIS_URL, as the page shows them, are taken', async (t) => {
  const urls = [...page.matchAll(/^ {4}(rediss?\S*:\/\/\S+)$/gm)].map(([, url]) => url!)
  t.equal(urls.length, 3)
  for (const url of urls) t.equal(redisUrlFault(url), undefined, url)
})

t.test('the ACL recipes for a Cluster, on a real one, let nodes do all that they must and a service publish to users alone', async (t) => {
  t.same(recipes.map(([user]) => user), ['tidings', 'orders'])
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
  await a.broker.takeSession('u1', 'tag', 'fresh')
  await a.broker.verifySessions([{ userId: 'u1', session: { tag: 'tag', takenAt: 0, fence: 0 } }])
  await a.broker.put('u1', 'ticket', 'x', 10)
  t.equal(await a.broker.take('u1', 'ticket'), 'x')
  await a.broker.hit('u1', 'limit', 1000)
  await a.broker.logout('u1')
  t.ok(await a.broker.presence('u1') >= 1)

  // The service: at the master of the user's partition.
  const tag = tagsOf(PARTITIONS)[partitionOf('u2', PARTITIONS)]!
  const master = await cluster.masterOf(keySlot(`{${tag}}`))
  const service = new RedisCli(`redis://orders:${secret}@127.0.0.1:${master.port}`)
  t.teardown(() => { service.close() })
  const publish = (to: string, ...more: string[]) => service.send('FCALL', 'tidings_publish', 1, `tidings:{${tag}}`, to, 'message', '"from outside"', ...more)
  const [id] = await publish('user:u2', 'KEY', 'k', 'IDEMPOTENCY', 'once') as [string]
  await b.ear.id(Number(id))
  t.equal(await service.send('FCALL', 'tidings_retract', 1, `tidings:{${tag}}`, 'user:u2', 'KEY', 'k'), 1)
  const refused = async (answer: Promise<unknown>, what: string) => { t.match(await answer.catch((error: Error) => error.message), /NOPERM|can't|permission|TIDINGS_OTHER_PARTITION/, what) }
  await refused(publish('group:g'), 'a group')
  await refused(service.send('XRANGE', `tidings:{${tag}}:log:user:u2`, '-', '+'), 'to read')
  await refused(service.send('FCALL', 'tidings_logout', 1, `tidings:{${tag}}`, 'u2'), 'another function')

  for (const node of cluster.nodes) {
    const denied = (await node.cli('ACL', 'LOG') as string[][]).filter((entry) => entry[entry.indexOf('username') + 1] === 'tidings').map((entry) => entry[entry.indexOf('object') + 1])
    t.same(denied, [], 'nothing was refused to a node')
  }
})
