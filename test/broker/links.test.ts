// Connections that several brokers share: whoever is closed leaves nothing behind in them, and they go where the address leads.
import net from 'node:net'
import t from 'tap'
import { Unavailable } from '../../src/broker/broker.ts'
import { Links } from '../../src/broker/redis/links.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import { parseRedisUrl } from '../../src/redis-url.ts'
import { startRedis } from '../fixtures/redis.ts'
import { limits, now, readPages, request, send } from './contract.ts'
import { Ear } from './ear.ts'
import { becomes, startRedisNode, up } from './nodes.ts'

t.test('a broker, closed while its connections serve others, hears of them no more', async (t) => {
  const { url, prefix } = await startRedis(t)
  const log = { info () {}, warn () {} }
  const links = new Links({ place: parseRedisUrl(url), nodeName: 'links', log })
  t.teardown(() => { links.close() })
  const broker = new RedisBroker({ ...limits, url, prefix, nodeName: 'links', log, links, onUp () {} })
  broker.start(new Ear())
  links.start()
  await broker.settled
  const link = links.of(prefix)!
  const listeners = (): number[] => [links.listenerCount('moved'), link.listenerCount('up'), link.listenerCount('loading')]
  t.same(listeners(), [2, 1, 1])
  await broker.close()
  t.same(listeners(), [0, 0, 0])
})

t.test('an address that leads to another server after a failover, as a DNS name does: both connections go there, and streams are filled', async (t) => {
  const [a, b] = await Promise.all([startRedis(t, { own: true }), startRedis(t, { own: true })])
  for (const { cli } of [a, b]) await cli('CONFIG', 'SET', 'repl-diskless-sync-delay', 0)
  await b.cli('REPLICAOF', '127.0.0.1', a.port)
  await becomes(async () => /master_link_status:up/.test(await b.cli('INFO', 'replication') as string), 'a replica')
  let target = a.port
  // For new connections: those that stand stay where they are, as Redis keeps them when it becomes a replica.
  const name = net.createServer((client) => {
    const server = net.connect(target, '127.0.0.1').on('error', () => client.destroy()).on('close', () => client.destroy())
    client.on('error', () => server.destroy()).on('close', () => server.destroy()).pipe(server).pipe(client)
  })
  await new Promise<void>((resolve) => { name.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { name.close() })
  const node = startRedisNode(t, { url: `redis://127.0.0.1:${(name.address() as net.AddressInfo).port}`, prefix: a.prefix })
  await up(node)
  await node.broker.subscribe(['all'])
  const cursor = await now(node)
  await node.ear.id(await send(node, 'all'))
  await becomes(async () => await b.cli('GET', `${a.prefix}:clock`) === await a.cli('GET', `${a.prefix}:clock`), 'the replica to have all')

  await b.cli('REPLICAOF', 'NO', 'ONE')
  await a.cli('REPLICAOF', '127.0.0.1', b.port)
  await becomes(() => /^REDIS_URL is that of a replica/.test(node.broker.state().detail), 'the replica to be noticed')
  t.notOk(node.broker.state().up)
  target = b.port
  await up(node)
  const hears = async ({ cli }: typeof a): Promise<unknown> => (await cli('PUBSUB', 'NUMSUB', `${a.prefix}:all`) as unknown[])[1]
  await becomes(async () => await hears(a) === 0 && await hears(b) === 1, 'the ear to have moved')
  await up(node)
  const answer = await node.broker.publish(request(['all']))
  t.match(answer.notifications, [{ to: 'all', receivers: 1 }])
  await node.ear.id(answer.id!)
  t.match(node.ear.lines.slice(0, 2), ['interrupted', 'restored'])
  t.equal((await readPages(node, { cursor }))[0]!.gap, false)
})

t.test('Redis, stopped in the middle of its work, leaves nobody waiting once it is noticed', async (t) => {
  const redis = await startRedis(t, { own: true })
  const node = startRedisNode(t, redis, {}, redis.prefix)
  await up(node)
  const waiting = new Set<Promise<unknown>>()
  let isNoticed = false
  const ask = (answer: Promise<unknown>): void => {
    waiting.add(answer)
    answer.catch((error: Error) => { isNoticed ||= error instanceof Unavailable }).finally(() => waiting.delete(answer))
  }
  redis.pause()
  await becomes(() => {
    ask(node.broker.publish(request('user:1')))
    ask(node.broker.groups('1'))
    return isNoticed
  }, 'a call to be refused at once')
  // Some of those that were asked before were sent after the first had waited in vain, and have waited less. Publishes
  // that were not sent yet are refused 64 in a turn of the event loop.
  for (let turn = 0; turn < 100 && waiting.size > 0; turn++) await new Promise(setImmediate)
  t.equal(waiting.size, 0)
  redis.resume()
  await up(node)
  await t.resolves(send(node, 'user:1'))
})
