// In which partitions a group has members: known for as long as it has, not for ever, and also when the time leaps.
import t, { type Test } from 'tap'
import { Tamper, tamperAbsent } from '../../chaos/tamper.ts'
import { library } from '../../src/broker/redis/library.ts'
import { PartitionedBroker } from '../../src/broker/redis/partitions/partitions.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { callsOf, startRedis, type Redis } from '../fixtures/redis.ts'
import { limits, readerOf, request, visitorOf } from './contract.ts'
import { Ear } from './ear.ts'
import { becomes, up } from './nodes.ts'

const PARTITIONS = 4
const DAY = 86_400
const HISTORY_SECONDS = 1000
const GROUP = 'g'
const tags = tagsOf(PARTITIONS)
const home = partitionOf(GROUP, PARTITIONS)
/** Who is in another partition than the group's home. */
const user = Array.from({ length: 100 }, (_, n) => `${n}`).find((name) => partitionOf(name, PARTITIONS) !== home)!
const tag = tags[partitionOf(user, PARTITIONS)]!

let count = 0
async function start (t: Test, redis: Redis) {
  const lines: string[] = []
  const ear = new Ear()
  const log = { info: (text: string) => { lines.push(text) }, warn: (text: string) => { lines.push(text) } }
  const broker = new PartitionedBroker({ ...limits, historySeconds: HISTORY_SECONDS, url: redis.url, prefix: redis.prefix, nodeName: `directory ${++count}`, log, partitions: PARTITIONS })
  const refilled: string[] = []
  broker.start({
    notification: (to, notification) => { ear.notification(to, notification) },
    control () {},
    dropped () {},
    interrupted () {},
    restored: (isAffected) => { if (isAffected(broker.channelOf(user, `group:${GROUP}`))) refilled.push(GROUP) }
  })
  t.teardown(() => broker.close())
  await up({ broker, ear, said: lines })
  return { broker, ear, refilled }
}

t.test('a group, joined by the routes and left again, is forgotten by its home in the end, and before that renewed', async (t) => {
  const redis = await startRedis(t)
  const [members, joined] = [`${redis.prefix}:{${tags[home]}}:members:${GROUP}`, `${redis.prefix}:{${tag}}:joined`]
  const first = await start(t, redis)
  const others = Array.from({ length: 1000 }, (_, n) => `{${user}}${n}`).slice(0, 3)
  for (const one of [user, user, ...others]) await first.broker.join(one, GROUP)
  t.same(await redis.cli('HGETALL', joined), [GROUP, '4'], 'each of them counts once')
  const ttl = Number(await redis.cli('TTL', members))
  t.ok(ttl > 30 * DAY && ttl < 40 * DAY, `the home knows of them for some weeks: ${ttl}`)
  for (const one of others) await first.broker.leave(one, GROUP)
  await first.broker.replaceGroups(user, [])
  t.equal(await redis.cli('EXISTS', joined), 0, 'nobody is there whom it would be renewed for')

  // What all nodes being away for weeks leaves behind.
  await first.broker.join(user, GROUP)
  const { position } = await first.broker.resume({ ...visitorOf(user), cursor: 'fresh', maxBytes: 1e6 })
  await first.broker.close()
  await redis.cli('UNLINK', members, ...tags.map((tag) => `${redis.prefix}:{${tag}}:kept:renewal`))
  const second = await start(t, redis)
  await becomes(async () => await redis.cli('HEXISTS', members, tag) === 1, 'the home to know of them again')
  let page = await second.broker.resume({ ...visitorOf(user), cursor: position, maxBytes: 1e6 })
  await becomes(async () => { page = await second.broker.resume({ ...visitorOf(user), cursor: position, maxBytes: 1e6 }); return page.gap }, 'it to be told that something may be missing')
  t.match(await second.broker.resume({ ...visitorOf(user), cursor: page.position, maxBytes: 1e6 }), { gap: false })
})

t.test('a group, published to in the very second in which Redis was emptied, reaches the other partitions, or is refused', async (t) => {
  const redis = await startRedis(t, { own: true })
  const { broker, ear } = await start(t, redis)
  await broker.join(user, GROUP)
  await broker.subscribe([broker.channelOf(user, `group:${GROUP}`)])
  const publish = async (mark: string): Promise<boolean> =>
    await redis.cli('FCALL', 'tidings_publish', 1, `${redis.prefix}:{${tags[home]}}`, `group:${GROUP}`, 'message', `"${mark}"`).then(() => true, () => false)
  let taken = 0
  for (let turn = 0; turn < 3; turn++) {
    await becomes(async () => await publish('before'), 'it to take publishes')
    // In one go, so in one second nearly always.
    const [, , isTaken] = await Promise.all([publish('before'), redis.cli('FLUSHALL'), publish(`after ${turn}`)])
    if (!isTaken) continue
    taken++
    await becomes(() => ear.notifications.some(({ json }) => json === `"after ${turn}"`), `${turn} to be heard`)
  }
  t.comment(`${taken} of 3 were taken`)
})

t.test('what an emptied partition refuses, before a node has set it up, was sent to nobody', async (t) => {
  const redis = await startRedis(t, { own: true })
  await redis.cli('FUNCTION', 'LOAD', library())
  const calls = {
    tidings_commit: [1, 'idempotency key', '', 0, 'message', '{}', 'inbox', '', '', '', 1, 'all', 1, 0, 1, 'all'],
    tidings_join: [user, GROUP],
    tidings_replace_groups: [user, GROUP]
  }
  for (const [name, args] of Object.entries(calls)) {
    const answer = await redis.cli('FCALL', name, 1, `${redis.prefix}:{0}`, ...args).then(JSON.stringify, ({ message }: Error) => message)
    t.match(answer, 'TIDINGS_NOT_READY', name)
    t.equal(await callsOf(redis, 'publish'), 0, name)
  }
  t.same(await redis.cli('KEYS', '*:log:*'), [])
})

t.test('a member whom the home of a group lost with a crash, hears what is published to it all the same', async (t) => {
  const redis = await startRedis(t, { own: true, args: ['--dbfilename', 'kept.rdb'] })
  const { broker, ear } = await start(t, redis)
  await broker.join(user, GROUP)
  await broker.subscribe([broker.channelOf(user, `group:${GROUP}`)])
  // As if the member had come after the last write to disk.
  await redis.cli('UNLINK', `${redis.prefix}:{${tags[home]}}:members:${GROUP}`)
  await redis.cli('SAVE')
  await broker.join(user, `{${GROUP}}2`)
  await redis.kill()
  await becomes(() => !broker.state().up, 'the node to notice')
  await redis.start()
  await up({ broker, ear, said: [] })
  await broker.publish(request(`group:${GROUP}`, 'after'))
  await becomes(() => ear.notifications.some(({ json }) => json === '"after"'), 'it to be heard in the other partition')
})

t.test('a group, published to at a replica that has just become the master, goes to all partitions: it may lack the newest members', async (t) => {
  const redis = await startRedis(t, { own: true })
  await start(t, redis)
  const replica = await startRedis(t, { own: true })
  await replica.cli('REPLICAOF', '127.0.0.1', redis.port)
  await becomes(async () => String(await replica.cli('INFO', 'replication')).includes('master_link_status:up'), 'it to have a copy')
  const prefix = `${redis.prefix}:{${tags[home]}}`
  const owed = async ({ cli }: Redis): Promise<string[]> => {
    await cli('FCALL', 'tidings_publish', 1, prefix, `group:${GROUP}`, 'message', '1')
    const [entry] = await cli('XREVRANGE', `${prefix}:outbox`, '+', '-', 'COUNT', 1) as Array<[string, string[]]>
    return (entry?.[1] ?? []).filter((field) => field.startsWith('>')).map((field) => field.slice(1))
  }
  t.same(await owed(redis), [], 'the master knows that it has no members elsewhere')
  await replica.cli('REPLICAOF', 'NO', 'ONE')
  t.same((await owed(replica)).sort(), tags.filter((tag) => tag !== tags[home]).sort())
})

t.test('a member, whom the home of a group does not know since its data was replaced by older data, hears what is published to it all the same', async (t) => {
  const redis = await startRedis(t)
  const { broker } = await start(t, redis)
  const prefix = `${redis.prefix}:{${tags[home]}}`
  await broker.resume({ ...visitorOf(user, { groups: [GROUP], issuedAtSeconds: 1000 }), cursor: 'fresh', maxBytes: 1 })
  t.equal(await redis.cli('HGET', `${prefix}:config`, 'directory'), '1')
  const born = await redis.cli('GET', `${prefix}:born`)
  await redis.cli('UNLINK', `${prefix}:members:${GROUP}`)
  await redis.cli('HSET', `${prefix}:config`, 'looks', '1')
  await becomes(async () => await redis.cli('GET', `${prefix}:born`) !== born, 'a node to notice')
  await new Promise((resolve) => { setTimeout(resolve, 1100) }) // the library knows for a second what it has read last
  const id = (await broker.publish(request(`group:${GROUP}`))).id!
  t.match(await broker.list({ reader: { userId: user }, limit: 10, unreadOnly: false }), { notifications: [{ to: `group:${GROUP}` }] }, String(id))
})

t.test('a group, when the time of Redis leaps by days, goes on reaching live streams of other partitions, or they are told', { skip: tamperAbsent() ?? false }, async (t) => {
  const tamper = new Tamper(t)
  const redis = await startRedis(t, { env: tamper.env })
  const { broker, ear, refilled } = await start(t, redis)
  const visit = visitorOf(user, { groups: [GROUP], issuedAtSeconds: Math.floor(Date.now() / 1000) })
  const { position } = await broker.resume({ ...visit, cursor: 'fresh', maxBytes: 1e6 })
  await broker.subscribe([broker.channelOf(user, `group:${GROUP}`)])
  // As another service does, at once: no node knows of it yet.
  const publish = async (mark: number) => await redis.cli('FCALL', 'tidings_publish', 1, `${redis.prefix}:{${tags[home]}}`, `group:${GROUP}`, 'message', `${mark}`)
  await publish(1)
  await ear.count(1)
  tamper.moveClock(10 * DAY)
  await publish(2)
  await becomes(() => refilled.length > 0, 'its streams to be refilled')
  // As a stream that is refilled does.
  const page = await broker.resume({ ...visit, cursor: position, maxBytes: 1e6 })
  t.equal(page.gap, true, 'it is told')
  t.equal((await broker.resume({ ...visit, cursor: page.position, maxBytes: 1e6 })).gap, false, 'once')
  const heard = ear.notifications.length
  await publish(3)
  await becomes(() => ear.notifications.slice(heard).some(({ json }) => json === '3'), 'what is published afterwards to be heard')
  await broker.publish(request(`group:${GROUP}`, 4))
  await becomes(() => ear.notifications.some(({ json }) => json === '4'), 'by a node, too')
})

t.test('a group, claimed by one token, and prolonged by a later one without a claim that only reads the inbox, is known to its home for as long', async (t) => {
  const redis = await startRedis(t)
  const { broker } = await start(t, redis)
  const nowSeconds = Math.floor(Date.now() / 1000)
  const read = async (issuedAtSeconds: number, lifeSeconds: number, groups?: string[]): Promise<void> => {
    const reader = readerOf(user, { groups, issuedAtSeconds })
    await broker.position({ ...reader, token: { ...reader.token!, expiresAtSeconds: nowSeconds + lifeSeconds } })
  }
  const knownUntil = async (): Promise<number> => Number(await redis.cli('HGET', `${redis.prefix}:{${tags[home]}}:members:${GROUP}`, tag))
  await read(nowSeconds, 3600, [GROUP])
  t.ok(await knownUntil() < nowSeconds + 5 * DAY)
  await read(nowSeconds + 1, 30 * DAY)
  t.same([...(await broker.groups(user)).keys()], [GROUP])
  await becomes(async () => await knownUntil() > nowSeconds + 30 * DAY, 'its home to know of it')
})
