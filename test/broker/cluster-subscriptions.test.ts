// A Cluster takes subscriptions away: each time a slot is assigned, also to the master that has it. What is held is subscribed again.
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { Unavailable } from '../../src/broker/broker.ts'
import { Links } from '../../src/broker/redis/links.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import { keySlot } from '../../src/broker/redis/slot.ts'
import { parseRedisUrl } from '../../src/redis-url.ts'
import type { Redis } from '../fixtures/redis.ts'
import { startRedisCluster } from '../fixtures/redis-cluster.ts'
import { limits, refusal, request } from './contract.ts'
import { Ear } from './ear.ts'
import { becomes } from './nodes.ts'

interface Served {
  readonly broker: RedisBroker
  readonly ear: Ear
  readonly links: Links
  readonly prefix: string
  readonly slot: number
  readonly said: string[]
}

const cluster = await startRedisCluster(t)

/** One partition, as a node serves it; and another beside it, so that the line hears something all the time. */
async function serve (t: Test): Promise<Served> {
  const said: string[] = []
  const log = { info: (text: string) => { said.push(text) }, warn: (text: string) => { said.push(text) } }
  const links = new Links({ place: parseRedisUrl(cluster.url), nodeName: 'audit', log })
  const start = (tag: string) => {
    const prefix = `${cluster.prefix}:{${tag}}`
    const broker = new RedisBroker({ ...limits, url: cluster.url, prefix, nodeName: 'audit', log, links, onUp () {} })
    const ear = new Ear()
    broker.start(ear)
    t.teardown(() => broker.close())
    return { broker, ear, prefix }
  }
  const { broker, ear, prefix } = start('3')
  start('43') // at the same master
  links.start()
  const ticker = setInterval(() => { links.tick() }, 1000)
  t.teardown(() => {
    clearInterval(ticker)
    links.close()
  })
  await becomes(() => broker.state().up, 'a partition to be up')
  return { broker, ear, links, prefix, slot: keySlot(prefix), said }
}

/** As at the end of a move, where each master is told, the new one of them a second time: it takes all subscriptions of the slot away. */
async function assignAgain (slot: number): Promise<Redis> {
  const owner = await cluster.masterOf(slot)
  await owner.cli('CLUSTER', 'SETSLOT', slot, 'NODE', String(await owner.cli('CLUSTER', 'MYID')))
  return owner
}

const isSubscribed = async ({ cli }: Redis, channel: string): Promise<boolean> => Number((await cli('PUBSUB', 'SHARDNUMSUB', channel) as unknown[])[1]) === 1

async function hears (t: Test, { broker, ear }: Served): Promise<void> {
  const { id } = await broker.publish(request('user:1', 'afterwards'))
  await ear.id(id!)
  t.pass('what is published afterwards is heard')
}

t.test('a slot that is assigned anew between the channels and the canary, which speaks for them, leaves nobody deaf', async (t) => {
  const served = await serve(t)
  const { broker, ear, links, prefix, slot } = served
  await broker.subscribe(['user:1'])
  const line = links.of(prefix)!.ear
  const { subscribe } = line
  let taken = 0
  line.subscribe = async (channels) => {
    if (channels.includes(`${prefix}:node:audit`) && taken++ === 0) await assignAgain(slot)
    await subscribe.call(line, channels)
  }
  line.reconnect()
  await ear.until(() => ear.lines.at(-1) === 'restored' ? true : undefined, 'the line to be up again')
  t.ok(taken > 1, 'it was noticed, and the canary subscribed again')
  t.equal(await isSubscribed(await cluster.masterOf(slot), `${prefix}:user:1`), true, 'restored means that all that is held is subscribed')
  await hears(t, served)
})

t.test('subscriptions that are taken away although their slot stays, come back at once, and streams are filled', async (t) => {
  const served = await serve(t)
  const { broker, ear, prefix, slot, said } = served
  const channels = Array.from({ length: 700 }, (_, i) => `user:${i}`)
  await broker.subscribe(channels)
  const owner = await assignAgain(slot)
  await ear.until(() => ear.lines.join() === 'interrupted,restored' ? true : undefined, 'the streams to be held and filled')
  const counts = await owner.cli('PUBSUB', 'SHARDNUMSUB', ...channels.map((channel) => `${prefix}:${channel}`)) as unknown[]
  t.same(counts.filter((_, i) => i % 2 === 1), channels.map(() => 1))
  t.ok(said.includes('Redis: some subscriptions of this node are gone; streams stay open, it subscribes again'), 'and it is said')
  await hears(t, served)
})

t.test('a channel that is missing, whoever lost it, is found within a round, and subscribed again', async (t) => {
  const served = await serve(t)
  const { broker, ear, links, prefix } = served
  await broker.subscribe(['user:1'])
  links.of(prefix)!.ear.unsubscribe([`${prefix}:user:1`]) // past whoever holds it
  await ear.until(() => ear.lines.join() === 'interrupted,restored' ? true : undefined, 'the streams to be held and filled')
  await hears(t, served)
})

t.test('a channel that is taken away while it is subscribed, is refused, so that nobody waits on it in vain', async (t) => {
  const served = await serve(t)
  const { broker, ear, links, prefix, slot } = served
  const line = links.of(prefix)!.ear
  const { subscribe } = line
  line.subscribe = async (channels) => {
    line.subscribe = subscribe
    await line.subscribe(channels)
    await Promise.all([once(line.redis, 'moved'), assignAgain(slot)])
  }
  t.ok(await refusal(broker.subscribe(['user:1'])) instanceof Unavailable)
  await ear.until(() => ear.lines.at(-1) === 'restored' ? true : undefined, 'the line to be up again')
  await broker.subscribe(['user:1'])
  await hears(t, served)
})

t.test('a look for who has what, asked for while another one is under way, is not answered by that one', async (t) => {
  const links = new Links({ place: parseRedisUrl(cluster.url), nodeName: 'looks', log: { info () {}, warn () {} } })
  t.teardown(() => { links.close() })
  await links.look()
  const prefix = `${cluster.prefix}:{1}`
  const link = links.of(prefix)!
  await becomes(() => link.fault === '', 'a link to be up')
  // Answered before the move, and heard after it.
  const before = await link.redis.cluster('NODES')
  const to = cluster.nodes.find(({ port }) => !link.name.endsWith(`:${port}`))!
  await cluster.move(keySlot(prefix), to)
  const { promise: late, resolve } = Promise.withResolvers<unknown>()
  const ask = link.redis.cluster
  link.redis.cluster = (() => {
    link.redis.cluster = ask
    return late
  }) as unknown as typeof ask
  const first = links.look()
  const second = links.look() // by one who knows of the move
  resolve(before)
  await first
  t.equal(links.of(prefix), link)
  await second
  t.match(links.of(prefix)!.name, `:${to.port}`)
})
