// What goes over partitions arrives exactly once in each, in one order, whoever dies between the commit and the copy.
import t, { type Test } from 'tap'
import { Revoked } from '../../src/broker/broker.ts'
import { PartitionedBroker } from '../../src/broker/redis/partitions/partitions.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { keySlot } from '../../src/broker/redis/slot.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import { startRedis, type Redis } from '../fixtures/redis.ts'
import { entriesOf, limits, type Node, readPages, refusal, request } from './contract.ts'
import { Ear } from './ear.ts'
import { becomes, type PartitionedNode, startPartitions, up } from './nodes.ts'

const PARTITIONS = 8
const tags = tagsOf(PARTITIONS)
/** A user in each partition, by its number. */
const users = tags.map((_, i) => Array.from({ length: 1000 }, (_, n) => `${n}`).find((name) => partitionOf(name, PARTITIONS) === i)!)

const start = (t: Test, redis: Redis, partitions = PARTITIONS) => startPartitions(t, redis, partitions)

/** What a node does that dies as soon as it has committed: nothing is copied by it. */
async function commitAndDie (redis: Redis, address: string, data: number | string, key = ''): Promise<void> {
  const home = partitionOf(address === 'all' ? 'all' : address.slice(address.indexOf(':') + 1), PARTITIONS)
  const reply = await redis.cli('FCALL', 'tidings_commit', 1, `${redis.prefix}:{${tags[home]}}`, 1, key, '', 0, 'message', JSON.stringify(data), 'inbox', '', '', '', 1, address, 1, 0, ...key === '' ? [0] : [1, address])
  if (!/^\d+$/.test(String((reply as string[][])[0]![1]))) throw new Error(`not committed: ${JSON.stringify(reply)}`)
}

/** What each user's log brings, by the numbers published. */
async function ledger (node: Node): Promise<number[][]> {
  return await Promise.all(users.map(async (userId) => entriesOf(await readPages(node, { userId, cursor: 0 })).map(({ json }) => Number(json))))
}

const sorted = (numbers: readonly number[]): number[] => [...numbers].sort((a, b) => a - b)

t.test('an idempotency key, whose publisher died before the copy, is told how many partitions get it later; of a later one, none', async (t) => {
  const redis = await startRedis(t)
  const a = await start(t, redis)
  const publish = async (idempotencyKey: string) => await a.broker.publish(request('all', 1, { idempotencyKey }))
  await commitAndDie(redis, 'all', 1, 'dead')
  t.match(await publish('dead'), { replayed: true, pending: PARTITIONS - 1 })
  t.match(await publish('alive'), { replayed: false, pending: undefined })
  t.match(await publish('alive'), { replayed: true, pending: undefined })
})

t.test('an idempotency key, used on two nodes at once, brings all of them the first answer', async (t) => {
  const redis = await startRedis(t)
  const nodes = [await start(t, redis), await start(t, redis)]
  for (const { broker } of nodes) await broker.subscribe(users.map((user) => broker.channelOf(user, 'all')))
  for (const keep of ['inbox', 'none'] as const) {
    for (let i = 0; i < 5; i++) {
      const publish = async ({ broker }: PartitionedNode) => await broker.publish(request('all', i, { keep, idempotencyKey: `${keep} ${i}` }))
      const answers = await Promise.all([...nodes, ...nodes].map(publish))
      const first = answers.filter(({ replayed }) => !replayed)
      t.match(first, [{ notifications: [{ to: 'all', receivers: nodes.length * PARTITIONS }], pending: undefined }])
      t.same(answers.map((answer) => ({ ...answer, replayed: false })), nodes.flatMap(() => [first[0], first[0]]))
    }
  }
})

t.test('an idempotency key, refused where it was used first, publishes with a key to users of other partitions', async (t) => {
  const { broker } = await start(t, await startRedis(t))
  const [first, other] = [users[0]!, users[1]!]
  await broker.logout('p')
  const publisher = { userId: 'p', issuedAtSeconds: 1, expiresAtSeconds: 1e10 }
  const publish = async (user: string, rest: object) => await broker.publish(request(`user:${user}`, 1, { idempotencyKey: 'i', key: 'k', ...rest }))
  t.ok(await refusal(publish(first, { publisher })) instanceof Revoked)
  t.match(await publish(other, {}), { replayed: false, notifications: [{ to: `user:${other}` }], pending: undefined })
  t.match(await broker.list({ reader: { userId: other }, limit: 1, unreadOnly: false }), { notifications: [{ key: 'k' }] })
})

t.test('a partition, of a name, is that of its slot in a Redis Cluster', async (t) => {
  t.equal(keySlot('123456789'), 12739)
  t.equal(keySlot('foo{}{bar}'), 8363)
  t.equal(keySlot('foo{{bar}}zap'), keySlot('{bar'))
  t.equal(keySlot('{user1000}.following'), keySlot('user1000'))
  t.same(tagsOf(16), '10 3 61 43 11 2 60 42 12 1 63 41 13 0 62 40'.split(' '))
})

t.test('a publish to a group and to all, its publisher dead before the copy, reaches every partition once and in one order', async (t) => {
  const redis = await startRedis(t)
  const [a, b] = [await start(t, redis), await start(t, redis)]
  for (const user of users) await a.broker.join(user, 'g')
  await b.broker.subscribe(users.flatMap((user) => [b.broker.channelOf(user, 'group:g'), b.broker.channelOf(user, 'all')]))
  const published = 400
  const work = Array.from({ length: published }, (_, i) => i)
  // Two nodes that copy, and hundreds that die before they do; all at the same time.
  await Promise.all(Array.from({ length: 8 }, async (_, worker) => {
    for (const i of work.filter((i) => i % 8 === worker)) {
      const to = i % 3 === 0 ? 'all' : 'group:g'
      if (i % 2 === 0) await commitAndDie(redis, to, i)
      else if (i % 5 === 0) await a.broker.publish(request(['group:g', 'group:h', 'all'], i))
      else await (i % 4 === 1 ? a : b).broker.publish(request(to, i))
    }
  }))
  await becomes(async () => (await ledger(a)).every(({ length }) => length >= published), 'every partition to have all')
  const seen = await ledger(a)
  for (const [i, numbers] of seen.entries()) t.same(sorted(numbers), work, `all of it, each once, in partition ${i}`)
  const single = (numbers: readonly number[], isAll: boolean) => numbers.filter((i) => (i % 2 === 0 || i % 5 !== 0) && (i % 3 === 0) === isAll)
  for (const numbers of seen) {
    for (const isAll of [true, false]) t.same(single(numbers, isAll), single(seen[0]!, isAll), 'those of one address in the same order everywhere')
  }
  // An id more than once: it came to a group and to all.
  await b.ear.until(() => users.every((user) => heard(b, user).size === published) || undefined, 'all to be heard')
  for (const user of users) {
    const channel = [b.broker.channelOf(user, 'all'), b.broker.channelOf(user, 'group:g')]
    for (const one of channel) {
      const ids = b.ear.notifications.filter(({ to }) => to === one).map(({ id }) => id)
      t.same(ids, [...new Set(sorted(ids))], 'heard in the order of ids, none twice')
    }
  }
})

t.test('copies that a crash took with it are told to be missing in their partitions, also where nobody was answered an id', async (t) => {
  const redis = await startRedis(t, { own: true, args: ['--dbfilename', 'kept.rdb'] })
  const a = await start(t, redis)
  for (const user of users) await a.broker.join(user, 'g')
  await a.broker.publish(request('group:g', 1))
  const cursors = await Promise.all(users.map(async (userId) => (await a.broker.position({ userId })).position))
  await redis.cli('SAVE')
  await a.broker.publish(request('group:g', 2))
  await redis.kill()
  await becomes(() => !a.broker.state().up, 'the node to notice')
  await redis.start()
  await up(a)
  for (const [i, userId] of users.entries()) t.ok((await readPages(a, { userId, cursor: cursors[i]! }))[0]!.gap, `in partition ${i}`)
})

t.test('publishes to several groups of one home, and to users beside them, come in one order everywhere', async (t) => {
  const redis = await startRedis(t)
  const [a, b] = [await start(t, redis), await start(t, redis)]
  // What stands in braces decides, so these have one home.
  const groups = ['{room 7}writers', '{room 7}readers', '{room 7}guests']
  for (const user of users) await a.broker.replaceGroups(user, groups)
  const published = 240
  await Promise.all(Array.from({ length: 8 }, async (_, worker) => {
    for (let i = worker; i < published; i += 8) {
      const [first, second] = [groups[i % 3]!, groups[(i + 1) % 3]!]
      const to = [[`group:${first}`], [`group:${first}`, `group:${second}`], [`user:${users[i % PARTITIONS]}`, `group:${second}`, `group:${first}`]][i % 4 % 3]!
      await (i % 2 === 0 ? a : b).broker.publish({ ...request(to, i), ...i % 5 === 0 && { idempotencyKey: `key ${i}` } })
    }
  }))
  await becomes(async () => (await ledger(a)).every(({ length }) => length === published), 'every partition to have all')
  const seen = await ledger(a)
  for (const [i, numbers] of seen.entries()) t.same(numbers, seen[0], `as in partition 0, in partition ${i}`)
})

function heard ({ broker, ear }: PartitionedNode, user: string): Set<string> {
  const channels = [broker.channelOf(user, 'group:g'), broker.channelOf(user, 'all')]
  return new Set(ear.notifications.filter(({ to }) => channels.includes(to)).map(({ json }) => json))
}

t.test('the ledger, with nobody there who copies, tells what is missing', async (t) => {
  const redis = await startRedis(t)
  const a = await start(t, redis)
  for (const user of users) await a.broker.join(user, 'g')
  await a.broker.close()
  await commitAndDie(redis, 'group:g', 1)
  // Each partition, read without those that copy.
  const found = await Promise.all(users.map(async (userId, i) => {
    const broker = new RedisBroker({ ...limits, url: redis.url, prefix: `${redis.prefix}:{${tags[i]}}`, nodeName: 'reads', log: { info () {}, warn () {} }, onUp () {} })
    broker.start(new Ear())
    t.teardown(() => broker.close())
    await becomes(() => broker.state().up, 'a partition to be up')
    return entriesOf(await readPages({ broker, ear: new Ear() }, { userId, cursor: 0 })).length
  }))
  t.same(found.filter((length) => length === 1).length, 1, 'the home alone has it')
  const b = await start(t, redis)
  await becomes(async () => (await ledger(b)).every(({ length }) => length === 1), 'the next node to copy it')
})

t.test('what a partition is owed behind a megabyte that is owed to another, is copied', async (t) => {
  const redis = await startRedis(t)
  const a = await start(t, redis)
  // Two groups of one home, each with a member in one other partition.
  const home = partitionOf('g', PARTITIONS)
  const other = Array.from({ length: 1000 }, (_, n) => `g${n}`).find((name) => partitionOf(name, PARTITIONS) === home)!
  const [early, late] = users.filter((user) => partitionOf(user, PARTITIONS) !== home) as [string, string]
  await a.broker.join(early, 'g')
  await a.broker.join(late, other)
  await a.broker.close()
  for (let i = 0; i < 20; i++) await commitAndDie(redis, 'group:g', 'x'.repeat(60_000))
  await commitAndDie(redis, `group:${other}`, 'behind it')
  const b = await start(t, redis)
  const owed = async (userId: string): Promise<number> => entriesOf(await readPages(b, { userId, cursor: 0 })).length
  await becomes(async () => await owed(early) === 20, 'the first to have all of theirs')
  await becomes(async () => await owed(late) === 1, 'the other one to have theirs')
})

t.test('a publish from another service, by one FCALL at the home, is copied at once; elsewhere it is refused with the prefix to call', async (t) => {
  const redis = await startRedis(t)
  const a = await start(t, redis)
  for (const user of users) await a.broker.join(user, 'g')
  await a.broker.subscribe(users.map((user) => a.broker.channelOf(user, 'group:g')))
  const prefixes = await redis.cli('LRANGE', `${redis.prefix}:partitions`, 0, -1) as string[]
  t.same(prefixes, tags.map((tag) => `${redis.prefix}:{${tag}}`))
  const home = partitionOf('g', PARTITIONS)
  await redis.cli('FCALL', 'tidings_publish', 1, prefixes[home]!, 'group:g', 'message', '"from outside"', 'KEY', 'k')
  await a.ear.count(PARTITIONS)
  const other = prefixes[(home + 1) % PARTITIONS]!
  t.match(await redis.cli('FCALL', 'tidings_publish', 1, other, 'group:g', 'message', '1').catch((error: Error) => error.message), `TIDINGS_OTHER_PARTITION The home of group:g is the prefix ${prefixes[home]}: call it there`)
  const said = async (name: string, prefix: string, ...args: string[]): Promise<unknown> => await redis.cli('FCALL', name, 1, prefix, 'group:g', ...args).catch((error: Error) => error.message)
  for (const answer of [await said('tidings_publish', redis.prefix, 'message', '1'), await said('tidings_retract', redis.prefix, 'KEY', 'k')]) {
    t.match(answer, `TIDINGS_OTHER_PARTITION The home of group:g is the prefix ${prefixes[home]}: call it there`, 'at REDIS_PREFIX itself, where nobody reads')
  }
  for (const none of [`${redis.prefix}:{none}`, `${prefixes[home]!}:more`]) {
    t.match(await said('tidings_publish', none, 'message', '1'), `TIDINGS_OTHER_PARTITION ${none} is no prefix of a partition: "${redis.prefix}:partitions" says which there are`)
  }
  t.equal(await redis.cli('FCALL', 'tidings_retract', 1, prefixes[home]!, 'group:g', 'KEY', 'k'), 1)
  await a.ear.until(() => a.ear.events('retracted').length === PARTITIONS || undefined, 'all partitions to hear it taken back')
  await becomes(async () => (await ledger(a)).every(({ length }) => length === 0), 'it to be gone everywhere')
})

t.test('a node with another number of partitions, is refused, and says which', async (t) => {
  const redis = await startRedis(t)
  await start(t, redis)
  const refused = async (broker: PartitionedBroker | RedisBroker, detail: RegExp) => {
    broker.start(new Ear())
    t.teardown(() => broker.close())
    await broker.settled
    t.match(broker.state(), { up: false, isRefused: true, detail })
  }
  const options = { ...limits, url: redis.url, prefix: redis.prefix, nodeName: 'other', log: { info () {}, warn () {} } }
  await refused(new PartitionedBroker({ ...options, partitions: 4 }), /^REDIS_PARTITIONS is 4, and what stands under ".*" has 8; set it to 8/)
  await refused(new RedisBroker(options), /^REDIS_PARTITIONS is 1, and what stands under ".*" has 8/)
  await redis.cli('DEL', `${redis.prefix}:partitions`)
  await refused(new RedisBroker(options), /^REDIS_PARTITIONS is 1, and what stands under ".*" has 8/)
  await refused(new PartitionedBroker({ ...options, partitions: 16 }), /^REDIS_PARTITIONS is 16, and what stands under ".*" has 8; set it to 8/)
  await becomes(async () => await redis.cli('EXISTS', `${redis.prefix}:partitions`) === 1, 'the list to be there again, by which other services go')
  const undivided = new RedisBroker({ ...options, prefix: `${redis.prefix}-1` })
  undivided.start(new Ear())
  t.teardown(() => undivided.close())
  await undivided.settled
  t.equal(undivided.state().up, true, 'one partition alone')
  await refused(new PartitionedBroker({ ...options, prefix: `${redis.prefix}-1`, partitions: 2 }), /^REDIS_PARTITIONS is 2, and what stands under ".*" has 1/)
})

t.test('an outbox that is another hand\'s key, or has ids of the future: what is committed reaches every partition, once', async (t) => {
  const redis = await startRedis(t)
  const a = await start(t, redis)
  const key = `${redis.prefix}:{${tags[partitionOf('all', PARTITIONS)]}}:outbox`
  await redis.cli('SET', key, 'x')
  await commitAndDie(redis, 'all', 1)
  await becomes(async () => (await ledger(a)).every(({ length }) => length === 1), 'every partition to have the first')
  await redis.cli('XADD', key, '9007199254740000-0', 'e', 'message', 'd', '0')
  await commitAndDie(redis, 'all', 2)
  await becomes(async () => (await ledger(a)).every((numbers) => numbers.join() === '1,2'), 'every partition to have both')
})

t.test('a partition that lost with its master what it was told last, is told again, and owes nothing', async (t) => {
  const redis = await startRedis(t)
  const { broker } = await start(t, redis, 2)
  const home = `${redis.prefix}:{${tagsOf(2)[partitionOf('all', 2)]}}`
  const isSettled = async (): Promise<boolean> => await redis.cli('EXISTS', `${home}:outbox`) === 0
  await broker.publish(request('all', 1))
  await becomes(isSettled, 'the first to be settled')
  await broker.publish(request('all', 2))
  const taken = await redis.cli('HGETALL', `${home}:taken`) as string[]
  const [[id, fields]] = await redis.cli('XRANGE', `${home}:outbox`, '-', '+') as [[string, string[]]]
  await becomes(isSettled, 'the second to be settled')
  // The replica that is promoted got nothing of that.
  await redis.cli('HSET', `${home}:taken`, ...taken)
  await redis.cli('XADD', `${home}:outbox`, id, ...fields)
  await becomes(isSettled, 'it to be settled again', 5000)
})

t.test('what the others are owed, a key of another type, makes a publish and a retraction fail before anything of them is done', async (t) => {
  const redis = await startRedis(t)
  const a = await start(t, redis)
  for (const user of users) await a.broker.join(user, 'g')
  await a.broker.subscribe(users.map((user) => a.broker.channelOf(user, 'group:g')))
  const id = (await a.broker.publish(request('group:g', 1))).id!
  const prefix = `${redis.prefix}:{${tags[partitionOf('g', PARTITIONS)]}}`
  await redis.cli('RENAME', `${prefix}:sent`, `${prefix}:aside`)
  await redis.cli('SET', `${prefix}:sent`, 'stuck')
  const publish = async () => await a.broker.publish(request('group:g', 2, { idempotencyKey: 'i' }))
  const retract = async () => await a.broker.retract({ to: 'group:g', what: { id } })
  const fcall = async () => await redis.cli('FCALL', 'tidings_publish', 1, prefix, 'group:g', 'message', '3', 'IDEMPOTENCY', 'i')
  for (let i = 0; i < 3; i++) {
    for (const call of [publish, retract, fcall]) t.match(await refusal(call()), Error)
  }
  t.same(await ledger(a), users.map(() => [1]), 'nobody has more, nobody less')
  await redis.cli('RENAME', `${prefix}:aside`, `${prefix}:sent`)
  t.equal(await retract(), true)
  for (const call of [publish, fcall, publish, fcall]) await call()
  await becomes(async () => (await ledger(a)).every((numbers) => numbers.join() === '2,3'), 'every partition to have both once')
  for (const user of users) {
    const channel = a.broker.channelOf(user, 'group:g')
    await a.ear.until(() => a.ear.notifications.filter(({ to, id }) => to === channel && id > 0).length >= 3 || undefined, channel)
    t.same(a.ear.notifications.filter(({ to, id }) => to === channel && id > 0).map(({ json }) => json), ['1', '2', '3'])
  }
})

t.test('what a node was to copy that is gone, and whose claim does not end since the time was set back, is copied by another', async (t) => {
  const redis = await startRedis(t)
  const a = await start(t, redis)
  await redis.cli('SET', `${redis.prefix}:{${tags[partitionOf('all', PARTITIONS)]}}:courier`, 'gone', 'PX', 3_600_000)
  await commitAndDie(redis, 'all', 1)
  await becomes(async () => (await ledger(a)).every(({ length }) => length === 1), 'every partition to have it')
})
