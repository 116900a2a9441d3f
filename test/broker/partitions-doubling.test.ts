// More partitions, from what stood in fewer: nothing is lost, every client resumes `complete`, however often the tool is killed.
import { randomInt } from 'node:crypto'
import t, { type Test } from 'tap'
import { PartitionedBroker } from '../../src/broker/redis/partitions/partitions.ts'
import { kindOf } from '../../src/broker/redis/partitions/keys.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import type { Broker } from '../../src/broker/broker.ts'
import { globSync, readFileSync } from 'node:fs'
import { spawnChild, type Child } from '../fixtures/process.ts'
import { startRedis, type Redis } from '../fixtures/redis.ts'
import { startRedisCluster } from '../fixtures/redis-cluster.ts'
import { startSentinels } from '../fixtures/sentinel.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { keySlot } from '../../src/broker/redis/slot.ts'
import { entriesOf, identityOf, idsOf, limits, listOf, type Node, now, readerOf, readPages, refusal, request, visitorOf } from './contract.ts'
import { Ear } from './ear.ts'
import { becomes } from './nodes.ts'

const users = Array.from({ length: 60 }, (_, i) => `u${i}`)
const groups = ['a', 'b', 'c']
const MOST_TAKEN = 300
const silent = { info () {}, warn () {} }
// Most of the time the tool looks whether a node is alive.
t.jobs = 3

type Place = Pick<Redis, 'url' | 'prefix'>

async function start (t: Test, redis: Place, partitions: number): Promise<Node> {
  const options = { ...limits, url: redis.url, prefix: redis.prefix, nodeName: 'doubling', log: silent }
  const broker: Broker = partitions === 1 && !redis.url.includes('+cluster') ? new RedisBroker(options) : new PartitionedBroker({ ...options, partitions })
  const ear = new Ear()
  broker.start(ear)
  t.teardown(() => broker.close())
  await becomes(() => broker.state().up, 'a broker to be up')
  return { broker, ear }
}

const double = (t: Test, redis: Place, ...args: string[]): Child =>
  spawnChild(t, process.execPath, ['scripts/partitions.ts', ...args], { name: 'partitions', env: { ...process.env, REDIS_URL: redis.url, REDIS_PREFIX: redis.prefix } })

/** What each user would be shown, and what their inbox says. */
async function state (node: Node, cursors: ReadonlyMap<string, number>) {
  const of = async (userId: string) => {
    const pages = await readPages(node, { userId, cursor: cursors.get(userId)! })
    const { seen, read, unseen, unread } = await node.broker.position(readerOf(userId))
    const listed = idsOf((await listOf(node, userId)).notifications)
    const groups = [...await node.broker.groups(userId)].sort()
    return { userId, gaps: pages.some(({ gap }) => gap), ids: idsOf(entriesOf(pages)), listed, seen, read, unseen, unread, groups }
  }
  const states = []
  for (const user of users) states.push(await of(user))
  return states
}

async function fill (node: Node): Promise<Map<string, number>> {
  const { broker } = node
  const cursors = new Map<string, number>()
  for (const [i, user] of users.entries()) {
    cursors.set(user, await now(node, user))
    await broker.join(user, groups[i % 3]!)
  }
  for (let i = 0; i < 60; i++) {
    await broker.publish(request(`user:${users[i % 20]!}`, i))
    await broker.publish(request(`group:${groups[i % 3]!}`, i, i % 4 === 0 ? { key: 'k' } : {}))
    if (i % 10 === 0) await broker.publish(request('all', i))
  }
  for (const user of users.slice(0, 10)) {
    const { notifications } = await listOf(node, user)
    await broker.mark(readerOf(user), notifications[1]!.id, 'dismissed')
    await broker.moveCursor(readerOf(user), 'read', notifications[3]!.id)
  }
  return cursors
}

interface Course {
  /** After how many lines the tool is killed. */
  kills: readonly number[]
  /** Where a key stands. */
  at: (key: string) => Promise<Pick<Redis, 'cli'>>
  /** Something happens to Redis; the tool that is under way then ends with this sentence. */
  breaks?: { act: () => Promise<void>, says: RegExp, undo?: () => void }
}

/** On one Redis, behind Sentinels, or in a Cluster. */
async function doubles (t: Test, redis: Place, steps: ReadonlyArray<readonly [from: number, to: number]>, { kills, at, breaks }: Course): Promise<void> {
  const list = async (): Promise<unknown> => await (await at(`${redis.prefix}:partitions`)).cli('LRANGE', `${redis.prefix}:partitions`, 0, -1)
  const joinedOf = async (count: number) => {
    const sums = new Map<unknown, number>()
    for (const tag of tagsOf(count)) {
      const key = `${redis.prefix}:{${tag}}:joined`
      const flat = await (await at(key)).cli('HGETALL', key) as string[]
      for (let i = 0; i < flat.length; i += 2) sums.set(flat[i], (sums.get(flat[i]) ?? 0) + Number(flat[i + 1]))
    }
    return [...sums].sort()
  }
  const [[from, to]] = steps as [readonly [number, number]]
  const before = await start(t, redis, 1)
  const cursors = await fill(before)
  const publishOnce = ({ broker }: Node) => Promise.all(users.slice(0, 20).map((idempotencyKey) => broker.publish(request(['group:a', 'user:u1'], 'once', { idempotencyKey }))))
  const answered = await publishOnce(before)
  await before.broker.put(before.broker.homeOf('u5'), 'ticket', 'kept', 3600)
  await before.broker.logout('gone')
  const expected = await state(before, cursors)

  const listBefore = await list()
  const early = double(t, redis, '--from', `${from}`, '--to', `${to}`)
  t.match(await early.exited, { code: 1 })
  t.match(early.lines.join(), /a node is alive/, 'nothing is done while a node is alive')
  await before.broker.close()
  const dry = double(t, redis, '--from', `${from}`, '--to', `${to}`, '--dry-run')
  t.match(await dry.exited, { code: 0 })
  t.match(dry.lines.at(-1), /would have moved \d+ keys/)
  t.same(await list(), listBefore, 'and by a dry run, neither')

  if (breaks !== undefined) {
    const child = double(t, redis, '--from', `${from}`, '--to', `${to}`)
    // It looks for a while whether a node is alive: held there, it meets what has happened when it goes on.
    await child.waitForLine(/whether a node is alive/)
    child.signal('SIGSTOP')
    await breaks.act()
    child.signal('SIGCONT')
    t.match(await child.exited, { code: 1 }, 'a change of Redis under it ends the tool')
    t.match(child.lines.at(-1), breaks.says)
    breaks.undo?.()
  }

  // Killed as soon as it has said so many lines, and at some moment after it.
  for (const [from, to] of steps) {
    for (const lines of kills) {
      const child = double(t, redis, '--from', `${from}`, '--to', `${to}`)
      const killed = child.waitForLine(() => child.lines.length >= lines).then(async () => {
        await new Promise((resolve) => { setTimeout(resolve, randomInt(20)) })
        child.signal('SIGKILL')
      }, () => {})
      await child.exited
      await killed
    }
    const last = double(t, redis, '--from', `${from}`, '--to', `${to}`)
    t.match(await last.exited, { code: 0 }, last.lines.join(' | '))

    const after = await start(t, redis, to)
    t.same(await state(after, cursors), expected, `${to} partitions hold what one did`)
    t.same(await joinedOf(to), groups.map((group) => [group, users.length / groups.length]), 'and how many the routes joined to each group')
    t.same(await publishOnce(after), answered.map((answer) => ({ ...answer, replayed: true })), 'answers stand')
    t.ok(await refusal(after.broker.resume({ ...visitorOf('gone', { groups: undefined, issuedAtSeconds: 1 }), cursor: 'fresh', maxBytes: 1 })), 'a logout stands')
    t.equal(await after.broker.get(after.broker.homeOf('u5'), 'ticket'), 'kept')
    if (to !== steps.at(-1)![1]) {
      await after.broker.close()
      continue
    }
    // And it goes on from there.
    const sent = await after.broker.publish(request(['group:a', 'group:b', 'group:c'], 'later', { key: 'k' }))
    for (const user of users) {
      const { notifications } = await listOf(after, user)
      t.equal(notifications[0]!.json, '"later"', 'what is published afterwards reaches all')
      t.equal(notifications.filter(({ key }) => key === 'k').length, 1, 'in place of the older one')
    }
    t.equal(await after.broker.retract({ to: 'group:a', what: { id: sent.id! } }), true)
    t.equal((await after.broker.visit(identityOf('u1'))).verdict, 'admitted')
    await after.broker.close()
  }
  const fewer = double(t, redis, '--from', '4', '--to', '1')
  t.match(await fewer.exited, { code: 2 })
  t.match(fewer.lines[0], /Fewer partitions than there are is not supported/)
}

t.test('partitions, doubled, with the tool killed over and over, keep every log, cursor, group and answer', { buffered: true }, async (t) => {
  const redis = await startRedis(t, { own: true })
  const clients = async (): Promise<string[]> => String(await redis.cli('CLIENT', 'LIST')).split('\n').filter((line) => line.includes('name=tidings:partitions'))
  const cut = async (): Promise<void> => {
    for (const line of await clients()) await redis.cli('CLIENT', 'KILL', 'ID', /id=(\d+)/.exec(line)![1]!)
  }
  await doubles(t, redis, [[1, 4], [4, 16]], { kills: [2, 4], at: async () => redis, breaks: { act: cut, says: /Not done: .* call again when Redis is well/ } })
})

t.test('partitions of a Cluster, doubled, are the same', { buffered: true }, async (t) => {
  const cluster = await startRedisCluster(t, { replicas: 1 })
  const replicas = cluster.nodes.slice(cluster.nodes.length / 2)
  // What is at one master is taken away only when a failover of the other would not lose it.
  const stop = async (): Promise<void> => { for (const replica of replicas) replica.pause() }
  const goOn = (): void => { for (const replica of replicas) replica.resume() }
  await doubles(t, cluster, [[1, 8]], { kills: [3], at: (key) => cluster.masterOf(keySlot(key)), breaks: { act: stop, says: /Not done: 1 of 1 replicas of the master of .* do not follow it/, undo: goOn } })
})

t.test('partitions of a Cluster, under a prefix with a brace, which alone is no hash tag, are doubled too', { buffered: true }, async (t) => {
  const { url, prefix: name } = await startRedisCluster(t)
  await Promise.all([`${name}}`, `${name}}{`].map(async (prefix) => {
    const place = { url, prefix }
    const { broker } = await start(t, place, 2)
    await broker.close()
    const child = double(t, place, '--from', '2', '--to', '4')
    t.match(await child.exited, { code: 0 }, child.lines.join(' | '))
    await start(t, place, 4)
  }))
})

t.test('partitions behind Sentinels, doubled, are the same', { buffered: true }, async (t) => {
  const sentinels = await startSentinels(t)
  const fail = async (): Promise<void> => {
    await sentinels.nodes[0]!.kill()
    await becomes(async () => await sentinels.master() !== sentinels.nodes[0], 'the replica to be master')
  }
  await doubles(t, sentinels, [[1, 4]], { kills: [3], at: sentinels.master, breaks: { act: fail, says: /Not done: .* call again when Redis is well/ } })
})

t.test('a service that was not ended, while partitions are divided and afterwards, is refused, and told where to go', async (t) => {
  const redis = await startRedis(t, { own: true })
  const root = redis.prefix
  const node = await start(t, redis, 1)
  const cursors = new Map([['u1', await now(node, 'u1')]])
  await node.broker.close()
  const foreign = [`${root}:mine`, `${root}:x:log:user:u1`, `${root}:log:mine`, `${root}:{mine}:log:user:u1`, `${root}2:log:user:u1`]
  for (const key of foreign) await redis.cli('SET', key, 'theirs')
  let isOver = false
  const answers: string[] = []
  const taken: string[] = []
  const publishing = (async () => {
    while (!isOver) {
      // No more than a log holds.
      const answer = await redis.cli('FCALL', 'tidings_publish', 1, root, 'user:u1', 'message', '1', ...taken.length < MOST_TAKEN ? [] : ['KEEP', 'none']).catch((error: Error) => error.message)
      if (Array.isArray(answer)) taken.push(...answer[0] === null ? [] : [String(answer[0])])
      else answers.push(String(answer).split(' ')[0]!)
    }
  })()
  const child = double(t, redis, '--from', '1', '--to', '4')
  t.match(await child.exited, { code: 0 }, child.lines.join(' | '))
  isOver = true
  await publishing
  for (const key of foreign) t.equal(await redis.cli('GET', key), 'theirs', `${key}, which is none of ours, stays`)
  t.equal((await redis.cli('KEYS', '*') as string[]).filter((key) => /mine|:x:|2:log/.test(key)).length, foreign.length, 'and is not copied')
  t.match(child.lines.at(-2), /^left 4 keys where they are, which are none of Tidings: /)
  for (const key of foreign.slice(0, 4)) t.match(child.lines.at(-2), key)
  t.same([...new Set(answers)].filter((answer) => answer !== 'TIDINGS_OTHER_PARTITION'), ['TIDINGS_NOT_READY'], 'refused while they are divided')
  const home = `${root}:{${tagsOf(4)[partitionOf('u1', 4)]}}`
  // Functions look once a second at what a partition is.
  const there = `TIDINGS_OTHER_PARTITION The home of user:u1 is the prefix ${home}:`
  await becomes(async () => String(await redis.cli('FCALL', 'tidings_publish', 1, root, 'user:u1', 'message', '1').catch(String)).includes(there), 'the old prefix to lead to the new one')
  let id = ''
  await becomes(async () => {
    const answer = await redis.cli('FCALL', 'tidings_publish', 1, home, 'user:u1', 'message', '1').catch(() => null)
    if (Array.isArray(answer)) id = String(answer[0])
    return id !== ''
  }, 'the new one to take it')
  const after = await start(t, redis, 4)
  const pages = await readPages(after, { userId: 'u1', cursor: cursors.get('u1')! })
  t.notOk(pages.some(({ gap }) => gap))
  t.same(idsOf(entriesOf(pages)).map(String), [...taken, id], 'nothing that was answered is lost')
})

t.test('a service that publishes at the prefix without a tag, of partitions that were several from the beginning, is told where to', async (t) => {
  const redis = await startRedis(t, { own: true })
  const root = redis.prefix
  const publish = async (): Promise<string> => String(await redis.cli('FCALL', 'tidings_publish', 1, root, 'user:u1', 'message', '1').catch((error: Error) => error.message))
  const says = (count: number): string => `TIDINGS_OTHER_PARTITION The home of user:u1 is the prefix ${root}:{${tagsOf(count)[partitionOf('u1', count)]}}: call it there`
  const { broker } = await start(t, redis, 2)
  t.match(await publish(), says(2))
  await redis.cli('DEL', `${root}:config`)
  await becomes(async () => await redis.cli('EXISTS', `${root}:config`) === 1, 'nodes to say it again, where it was lost')
  await broker.close()
  const child = double(t, redis, '--from', '2', '--to', '4')
  t.match(await child.exited, { code: 0 }, child.lines.join(' | '))
  // Functions look once a second at what a prefix is.
  await becomes(async () => (await publish()).includes(says(4)), 'it to be told of the new parts')
  t.same(await redis.cli('KEYS', `${root}:log:*`), [], 'and nothing was taken')
})

t.test('a node that starts while partitions are divided, with the old number or the new one, is refused', async (t) => {
  const redis = await startRedis(t)
  await redis.cli('RPUSH', `${redis.prefix}:partitions`, 'doubling from 1 to 4')
  const options = { ...limits, url: redis.url, prefix: redis.prefix, nodeName: 'early', log: silent }
  for (const broker of [new RedisBroker(options), new PartitionedBroker({ ...options, partitions: 4 })]) {
    broker.start(new Ear())
    t.teardown(() => broker.close())
    await becomes(() => broker.state().isRefused === true, 'a refusal')
    t.match(broker.state().detail, /is being divided \(doubling from 1 to 4\)/)
  }
})

t.test('the tool, asked for help or told the same number twice, says what to do', async (t) => {
  const place = { url: 'redis://127.0.0.1:1', prefix: 'x' }
  const [help, same] = [double(t, place, '--help'), double(t, place, '--from', '8', '--to', '8')]
  t.match(await help.exited, { code: 0 })
  t.match(help.lines[0], /^Usage: /)
  t.match(await same.exited, { code: 2 })
  t.equal(same.lines[0], '--from and --to are the same: --to must be more than there are.')
})

t.test('each kind of key, that the library names, is known to the tool', async (t) => {
  const named = new Set<string>()
  for (const path of globSync('src/broker/redis/functions/*.lua')) {
    for (const [, kind] of readFileSync(path, 'utf8').matchAll(/(?:prefix|keys\[1\]) \.\. ':([a-z-]+)/g)) named.add(kind!)
  }
  const each = ['hits', 'kept', 'overlong', 'idem-fcall', 'receipts', 'written']
  for (const kind of named) {
    // A channel, which is no key; and two that never stand: their slots are asked for.
    if (['user', 'moving', 'moved'].includes(kind)) continue
    t.not(kindOf(`${kind}:user:1:2`).kind, 'unknown', kind)
    t.equal(kindOf(`${kind}:user:1`).kind === 'each', each.includes(kind), kind)
  }
})
