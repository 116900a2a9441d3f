// One master of a Cluster away, without a replica: its users wait, nobody else notices, and afterwards everybody has everything once.
import t from 'tap'
import { Unavailable, Uncertain } from '../../src/broker/broker.ts'
import { PartitionedBroker } from '../../src/broker/redis/partitions/partitions.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { keySlot } from '../../src/broker/redis/slot.ts'
import { startRedis } from '../fixtures/redis.ts'
import { startRedisCluster } from '../fixtures/redis-cluster.ts'
import { entriesOf, limits, readPages, refusal, request, visitorOf } from './contract.ts'
import { Ear } from './ear.ts'
import { becomes, isUp, readMeter } from './nodes.ts'

const PARTITIONS = 8
const silent = { info () {}, warn () {} }
const userOf = (partition: number): string => Array.from({ length: 1000 }, (_, n) => `${n}`).find((name) => partitionOf(name, PARTITIONS) === partition)!
const users = Array.from({ length: PARTITIONS }, (_, i) => userOf(i))

t.test('a partition that is away, hurts its own users alone, and gets what was published meanwhile', async (t) => {
  const cluster = await startRedisCluster(t)
  const masters = await Promise.all(tagsOf(PARTITIONS).map((tag) => cluster.masterOf(keySlot(tag))))
  const away = masters.at(-1)!
  const isAway = (userId: string): boolean => masters[partitionOf(userId, PARTITIONS)] === away
  const others = users.filter((user) => !isAway(user))
  const theirs = users.filter(isAway)
  const group = Array.from({ length: 100 }, (_, i) => `g${i}`).find((name) => !isAway(name))!
  const lines: string[] = []
  const start = async (): Promise<{ broker: PartitionedBroker, ear: Ear }> => {
    const broker = new PartitionedBroker({ ...limits, url: cluster.url, prefix: cluster.prefix, nodeName: `outage ${Math.random()}`, log: silent, partitions: PARTITIONS })
    const ear = new Ear()
    broker.start({
      notification: (to, notification) => { ear.notification(to, notification) },
      control: (userId, control) => { ear.control(userId, control) },
      dropped: (channel, reason) => { ear.dropped(channel, reason) },
      interrupted: (isAffected) => { for (const user of users) if (isAffected(broker.channelOf(user, `user:${user}`))) lines.push(`interrupted ${user}`) },
      restored: (isAffected) => { for (const user of users) if (isAffected(broker.channelOf(user, `user:${user}`))) lines.push(`restored ${user}`) }
    })
    t.teardown(() => broker.close())
    await becomes(() => broker.state().up, 'a broker to be up')
    return { broker, ear }
  }
  const { broker, ear } = await start()
  await becomes(() => isUp(broker), 'all partitions to be up')
  for (const user of users) await broker.join(user, group)
  await broker.subscribe(users.flatMap((user) => [broker.channelOf(user, `user:${user}`), broker.channelOf(user, `group:${group}`)]))
  const measure = async (count: number): Promise<number> => {
    const tookMs: number[] = []
    for (let i = 0; i < count; i++) {
      const beganMs = performance.now()
      await broker.publish(request(`user:${others[i % others.length]!}`, `own ${i}`))
      tookMs.push(performance.now() - beganMs)
    }
    return tookMs.sort((a, b) => a - b)[Math.floor(count * 0.99)]!
  }
  const beforeMs = await measure(200)

  away.pause()
  const during = Promise.all(theirs.map(async (user) => await refusal(broker.publish(request(`user:${user}`)))))
  // Given after those, on the same node, and answered before them: nothing stands behind what is not answered.
  const answered = Promise.all(others.map(async (user) => await broker.publish(request(`user:${user}`, 'own'))))
  t.equal(await Promise.race([answered.then(() => 'the others'), during.then(() => 'those that wait')]), 'the others')
  const whileMs = await measure(200)
  t.comment(`p99 of publishing to the others: ${beforeMs.toFixed(1)} ms before, ${whileMs.toFixed(1)} ms while it is away`)
  for (const error of await during) t.ok(error instanceof Unavailable || error instanceof Uncertain, 'publishing to its users fails')
  const { pending, notifications } = await broker.publish(request(`group:${group}`, 'meanwhile'))
  t.equal(pending, theirs.length, 'a group is told, and its partitions get it later')
  t.equal(notifications[0]!.receivers, others.length)
  await becomes(() => broker.state().partitions!.filter(({ up }) => !up).length === theirs.length, 'those partitions to be down')
  t.match(broker.state(), { up: true, detail: /^partition \d: / })
  await becomes(async () => await refusal(broker.resume({ ...visitorOf(theirs[0]!), cursor: 'fresh', maxBytes: 1 })) instanceof Unavailable, 'its users to be refused, since it is known to be away')
  // The partition of an idempotency key takes part too.
  const idempotencyKey = Array.from({ length: 100 }, (_, i) => `key ${i}`).find((name) => !isAway(name))!
  const first = await broker.publish(request(`group:${group}`, 'meanwhile, too', { idempotencyKey }))
  t.match(first, { replayed: false, pending: theirs.length })
  const again = async () => await broker.publish(request(`group:${group}`, 'meanwhile, too', { idempotencyKey }))
  t.same(await again(), { ...first, replayed: true }, 'the same key is given the first answer')
  const owed = (): number => Object.values(readMeter(broker, 'tidings_partition_owed')).reduce((sum, count) => sum + count, 0)
  await becomes(() => owed() === 2, 'both to be owed, as metrics tell')
  const late = await start()
  t.equal(late.broker.state().up, true, 'a node that starts meanwhile serves the others')
  await late.broker.close()

  away.resume()
  await becomes(() => isUp(broker), 'all partitions to be up again', 30_000)
  const texts = async (userId: string) => entriesOf(await readPages({ broker, ear }, { userId, cursor: 0 })).map(({ json }) => json).filter((json) => json.includes('meanwhile'))
  for (const user of users) {
    await becomes(async () => (await texts(user)).length >= 2, `user ${user} to have both`)
    t.same(await texts(user), ['"meanwhile"', '"meanwhile, too"'], 'each once, in order')
  }
  await becomes(() => owed() === 0, 'nothing to be owed')
  t.same(await again(), { ...first, replayed: true }, 'also when all have it')
  t.same([...new Set(lines)].sort(), theirs.flatMap((user) => [`interrupted ${user}`, `restored ${user}`]).sort(), 'the lines of its own users alone were held and refilled')
})

t.test('a node, whose copy was not answered, finds out that its partition is back, also while another node copies what is left', async (t) => {
  const cluster = await startRedisCluster(t)
  const masters = await Promise.all(tagsOf(PARTITIONS).map((tag) => cluster.masterOf(keySlot(tag))))
  const away = masters.at(-1)!
  const isAway = (name: string): boolean => masters[partitionOf(name, PARTITIONS)] === away
  const group = Array.from({ length: 100 }, (_, i) => `g${i}`).find((name) => !isAway(name))!
  const home = partitionOf(group, PARTITIONS)
  const broker = new PartitionedBroker({ ...limits, url: cluster.url, prefix: cluster.prefix, nodeName: 'stuck', log: silent, partitions: PARTITIONS })
  broker.start(new Ear())
  t.teardown(() => broker.close())
  await becomes(() => isUp(broker), 'all partitions to be up')
  for (const user of users) await broker.join(user, group)
  const publish = async () => (await broker.publish(request(`group:${group}`))).pending
  t.equal(await publish(), undefined)
  // Another node is the one that copies, and stays it.
  const lead = setInterval(() => { void masters[home]!.cli('SET', `${cluster.prefix}:{${tagsOf(PARTITIONS)[home]}}:courier`, 'another', 'PX', 3000) }, 200)
  t.teardown(() => { clearInterval(lead) })

  away.pause()
  t.equal(await publish(), users.filter(isAway).length)
  await becomes(() => !isUp(broker), 'those partitions to be down')
  away.resume()
  await becomes(() => isUp(broker), 'all partitions to be up again', 30_000)
  await becomes(async () => await publish() === undefined, 'a publish to reach all of them at once')
})

t.test('a group whose home is away, with users who come with it in their token, lets them in, and they are told that something may be missing', async (t) => {
  const cluster = await startRedisCluster(t)
  const masters = await Promise.all(tagsOf(PARTITIONS).map((tag) => cluster.masterOf(keySlot(tag))))
  const away = masters.at(-1)!
  const isAway = (name: string): boolean => masters[partitionOf(name, PARTITIONS)] === away
  const [user, other] = users.filter((user) => !isAway(user)) as [string, string]
  const [far, known] = Array.from({ length: 100 }, (_, i) => `g${i}`).filter(isAway) as [string, string]
  const start = async () => {
    const refilled: string[] = []
    const broker = new PartitionedBroker({ ...limits, url: cluster.url, prefix: cluster.prefix, nodeName: `late ${Math.random()}`, log: silent, partitions: PARTITIONS })
    const ear = new Ear()
    broker.start({
      notification: (to, notification) => { ear.notification(to, notification) },
      control () {},
      dropped () {},
      interrupted () {},
      restored: (isAffected) => { for (const name of [user, other]) if (isAffected(broker.channelOf(name, `group:${far}`))) refilled.push(name) }
    })
    t.teardown(() => broker.close())
    await becomes(() => broker.state().up, 'a broker to be up')
    return { broker, ear, refilled }
  }
  const visit = async ({ broker }: Pick<Awaited<ReturnType<typeof start>>, 'broker'>, userId: string, groups: string[], cursor: number | 'fresh') => {
    const page = await broker.resume({ ...visitorOf(userId, { groups, issuedAtSeconds: 2e9 }), cursor, maxBytes: 1e6 })
    return { gap: page.gap, position: page.position, groups: [...page.membership.keys()].sort(), data: page.entries.map(({ json }) => json) }
  }
  const first = await start()
  await becomes(() => isUp(first.broker), 'all partitions to be up')
  await visit(first, user, [known], 'fresh')
  await first.broker.close()

  away.pause()
  const [a, b] = [await start(), await start()]
  // Known there before: nothing was lost, and nothing is said to be.
  const { position } = await visit(a, user, [known], 'fresh')
  t.match(await visit(a, user, [known], position), { gap: false, groups: [known] }, 'who was a member goes on as if nothing were')
  const cursors = new Map<string, number>()
  for (const name of [user, other]) {
    const page = await visit(a, name, [far, known], 'fresh')
    t.same(page.groups, [far, known].sort(), 'who is new there is let in')
    cursors.set(name, page.position)
  }
  // Another node lets one of them in; it dies before the home is back.
  t.match(await visit(b, other, [far, known], cursors.get(other)!), { gap: true, groups: [far, known].sort() })
  await b.broker.close()
  const refilledBefore = a.refilled.length

  away.resume()
  await becomes(() => [user, other].every((name) => a.refilled.slice(refilledBefore).includes(name)), 'the streams of that group to be filled', 30_000)
  for (const name of [user, other]) {
    const page = await visit(a, name, [far, known], cursors.get(name)!)
    t.equal(page.gap, true, 'they are told that something may be missing')
    cursors.set(name, page.position)
  }
  await a.broker.publish(request(`group:${far}`, 'later'))
  for (const name of [user, other]) {
    let page = await visit(a, name, [far, known], cursors.get(name)!)
    await becomes(async () => (page = await visit(a, name, [far, known], cursors.get(name)!)).data.length > 0, 'what is published afterwards')
    t.match(page, { gap: false, data: ['"later"'] }, 'and afterwards have all of it')
  }
})

t.test('a group whose home is away, with a node that lets users in and dies, is told by whoever comes next', async (t) => {
  const redis = await startRedis(t)
  // What a node leaves behind that died while the home was away.
  const options = { ...limits, url: redis.url, prefix: redis.prefix, nodeName: 'next', log: silent, partitions: PARTITIONS }
  const broker = new PartitionedBroker(options)
  broker.start(new Ear())
  t.teardown(() => broker.close())
  await becomes(() => broker.state().up, 'a broker to be up')
  const user = users[0]!
  const group = 'g0'
  const prefix = `${redis.prefix}:{${tagsOf(PARTITIONS)[0]}}`
  const visitor = { ...visitorOf(user, { groups: [group], issuedAtSeconds: 2e9 }), maxBytes: 1e6 }
  t.same(await redis.cli('FCALL', 'tidings_unheard', 1, prefix, user, group), [group])
  await redis.cli('FCALL', 'tidings_join', 1, prefix, user, group)
  const { position } = await broker.resume({ ...visitorOf(user), cursor: 'fresh', maxBytes: 1e6 })
  t.match(await broker.resume({ ...visitor, cursor: position }), { gap: true })
  const isOver = async (whose: typeof visitor): Promise<boolean> => {
    const { position } = await broker.resume({ ...whose, cursor: 'fresh' })
    return !(await broker.resume({ ...whose, cursor: position })).gap
  }
  await becomes(() => isOver(visitor), 'it to be over')
  // Also by a node that has told the home before, as for another group here.
  const [, second] = Array.from({ length: 1000 }, (_, n) => `${n}`).filter((name) => partitionOf(name, PARTITIONS) === 0)
  const known = { ...visitorOf(user, { groups: [group, 'g1'], issuedAtSeconds: 2e9 + 1 }), maxBytes: 1e6 }
  const { position: before } = await broker.resume({ ...known, cursor: 'fresh' })
  t.match(await broker.resume({ ...known, cursor: before }), { gap: false })
  t.same(await redis.cli('FCALL', 'tidings_unheard', 1, prefix, second!, 'g1'), ['g1'])
  t.match(await broker.resume({ ...known, cursor: before }), { gap: true })
  await becomes(() => isOver(known), 'it to be over again')
})
