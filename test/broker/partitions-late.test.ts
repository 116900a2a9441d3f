// Copies that come late, or not in the order of their ids: afterwards a partition has what all others have.
import t, { type Test } from 'tap'
import { NoNotification } from '../../src/broker/inbox.ts'
import { PartitionedBroker } from '../../src/broker/redis/partitions/partitions.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { startRedis } from '../fixtures/redis.ts'
import { limits, listOf, now, readerOf, readPages, refusal, request } from './contract.ts'
import { Ear } from './ear.ts'
import { becomes, startPartitions } from './nodes.ts'

const PARTITIONS = 8
const redis = await startRedis(t)
let count = 0

interface Late {
  readonly broker: PartitionedBroker
  readonly ear: Ear
  /** In the partition that is looked at. */
  readonly user: string
  readonly partition: string
  /** Copies from a partition of its own each time, so in any order of ids. `id`: what the publisher was answered. */
  readonly copy: (id: number, fields: Readonly<Record<string, string | number>>, ...to: string[]) => Promise<unknown>
  readonly listed: () => Promise<unknown[]>
  readonly became: (id: number) => Promise<Record<string, string>>
}

const homeOfAll = partitionOf('all', PARTITIONS)
/** A partition which has neither the home of `all` nor that of group g. */
const away = tagsOf(PARTITIONS).findIndex((_, i) => i !== homeOfAll && i !== partitionOf('g', PARTITIONS))

async function start (t: Test, place = away): Promise<Late> {
  const { url, cli } = redis
  const prefix = `${redis.prefix}-${++count}`
  const { broker, ear } = await startPartitions(t, { url, prefix }, PARTITIONS)
  const user = Array.from({ length: 1000 }, (_, n) => `${n}`).find((name) => partitionOf(name, PARTITIONS) === place)!
  await broker.join(user, 'g')
  await broker.subscribe([broker.channelOf(user, 'all'), broker.channelOf(user, 'group:g')])
  let copied = 0
  const partition = `${prefix}:{${tagsOf(PARTITIONS)[place]}}`
  return {
    broker,
    ear,
    user,
    partition,
    copy: async (id, fields, ...to) => {
      const pairs = Object.entries({ e: 'message', ...fields }).flat()
      const reply = await cli('FCALL', 'tidings_copy', 1, partition, `source ${++copied}`, id, 0, 1, pairs.length, ...pairs, to.length, ...to) as unknown[]
      return reply[2]
    },
    listed: async () => (await listOf({ broker, ear }, user)).notifications.map(({ json }) => JSON.parse(json) as unknown),
    became: async (id) => Object.fromEntries((await broker.trail.evidence(user, id)).places.map(({ to, state }) => [to, state]))
  }
}

t.test('a copy, whose ttl is over when it comes, takes out what it has replaced elsewhere, and streams are told', async (t) => {
  const { broker, ear, user, copy, listed, became } = await start(t)
  const { id } = await broker.publish(request('all', 'A', { key: 'k' }))
  t.same(await listed(), ['A'])
  t.same(await copy(id! + 10, { d: '"B"', k: 'k', x: id! + 11 }, 'all'), [0])
  t.same(await listed(), [])
  const { data } = await ear.until(() => ear.events('retracted')[0], 'streams to be told')
  t.match(data, { to: 'all', key: 'k' })
  t.same(await became(id!), { all: 'replaced' })
  t.same(await became(id! + 10), { all: 'expired' })
  t.equal((await readPages({ broker, ear }, { userId: user, cursor: id! - 1 })).at(-1)!.gap, false, 'and it is no gap')
})

t.test('copies with a key, that come after a newer one with it whose ttl is over, are replaced; still newer ones are not', async (t) => {
  const { broker, ear, user, copy, listed, became } = await start(t)
  const now = Date.now() * 1000
  await copy(now - 50, { d: '"2"', k: 'k', x: now - 10 }, 'all')
  await copy(now - 100, { d: '"1"', k: 'k' }, 'all', 'group:g')
  t.same(await listed(), ['1'], 'in the group it is the newest')
  t.same(await became(now - 100), { all: 'replaced', 'group:g': 'kept' })
  await copy(now - 40, { d: '"3"', k: 'k' }, 'all')
  t.same(await listed(), ['3', '1'])
  // One that came in time, and was removed by a reader afterwards.
  const soon = Date.now() * 1000
  await copy(soon, { d: '"5"', k: 'k', x: soon + 200_000 }, 'all')
  await becomes(async () => (await listed()).join() === '1', 'its ttl to be over')
  await readPages({ broker, ear }, { userId: user, cursor: soon - 1000 })
  t.same(await became(soon), { all: 'expired' })
  await copy(soon - 10, { d: '"4"', k: 'k' }, 'all')
  t.same(await listed(), ['1'])
})

t.test('a copy with a key, that comes after a newer one with it, is not sent after it; to a group where it is the newest, it is', async (t) => {
  const { ear, copy, listed, became, partition } = await start(t)
  const now = Date.now() * 1000
  await copy(now - 10, { d: '"2"', k: 'k' }, 'all')
  t.same(await copy(now - 20, { d: '"1"', k: 'k' }, 'all', 'group:g'), [0, 1])
  t.same(await copy(now - 30, { d: '"0"', k: 'k' }, 'group:g', 'all'), [0, 0])
  t.same(await copy(now - 5, { d: '"3"', k: 'k' }, 'all'), [1])
  t.same(await listed(), ['3', '1'])
  t.same(await became(now - 20), { all: 'replaced', 'group:g': 'kept' })
  t.same(await became(now - 30), { all: 'replaced', 'group:g': 'replaced' })
  t.equal(await redis.cli('EXISTS', `${partition}:late:all`), 0, 'nothing more is remembered: the newer one is there')
  await ear.count(3)
  t.same(ear.notifications.map(({ to, json }) => `${to.split('/')[1]} ${json}`), ['all "2"', 'group:g "1"', 'all "3"'])
})

t.test('a notification that one group got late, and that was gone before it came to the others, is known in all of them', async (t) => {
  const { broker, user, copy, became } = await start(t)
  const now = Date.now() * 1000
  const groups = Array.from({ length: 12 }, (_, i) => `group:${i}`)
  for (const group of groups) await broker.join(user, group.slice('group:'.length))
  for (const group of groups.slice(1)) await copy(now - 10, { d: '"2"', k: 'k' }, group)
  await copy(now - 20, { d: '"1"', k: 'k' }, ...groups)
  t.same(await became(now - 20), Object.fromEntries(groups.map((group, i) => [group, i === 0 ? 'kept' : 'replaced'])))
})

t.test('a copy that comes after its retraction, is not listed, not sent, and replaces what it replaced elsewhere', async (t) => {
  const { ear, copy, listed, became } = await start(t)
  const now = Date.now() * 1000
  await copy(now - 200, { d: '"1"' }, 'all')
  await copy(now - 100, { d: '"2"', k: 'k' }, 'all')
  t.same(await listed(), ['2', '1'])
  await copy(now - 10, { r: now - 50 }, 'all')
  await copy(now - 20, { r: now - 200 }, 'all')
  t.same(await listed(), ['2'], 'what is here is retracted at once')
  t.same(await copy(now - 50, { d: '"3"', k: 'k' }, 'group:g', 'all'), [1, 0])
  t.same(await listed(), ['3'], 'in the group it stands')
  t.same(await became(now - 50), { 'group:g': 'kept', all: 'retracted' })
  t.same(await became(now - 100), { all: 'replaced' })
  // The group's own, which was retracted where it stands, and what it replaces comes after that.
  await copy(now, { r: now - 50 }, 'group:g')
  await copy(now - 60, { d: '"4"', k: 'k' }, 'all', 'group:g')
  t.same(await listed(), [])
  t.same(await became(now - 60), { all: 'replaced', 'group:g': 'replaced' })
  await copy(now - 40, { d: '"5"', k: 'k' }, 'group:g', 'all')
  t.same(await listed(), ['5'], 'a newer one with the key stands in both')
  const heard = (): string[] => ear.notifications.filter(({ id }) => id > 0).map(({ to, json }) => `${to.split('/')[1]} ${json}`)
  await ear.until(() => heard().includes('all "5"') || undefined, 'the last one')
  t.same(heard(), ['all "1"', 'all "2"', 'group:g "3"', 'group:g "5"', 'all "5"'])
})

t.test('a copy from a partition whose clock is ahead, retracted before it came, is older than what is published here next', async (t) => {
  const { broker, user, copy } = await start(t)
  const ahead = Date.now() * 1000 + 30_000_000
  await copy(ahead + 1, { r: ahead }, 'all')
  await copy(ahead, { d: '"retracted"', k: 'k' }, 'all')
  t.ok((await broker.publish(request(`user:${user}`))).id! > ahead)
})

for (const [name, place] of [['the home', homeOfAll], ['another partition', away]] as const) {
  t.test(`a copy that comes to ${name} after a newer one with its key was retracted, is replaced`, async (t) => {
    const { broker, ear, copy, listed, became } = await start(t, place)
    for (const what of ['id', 'key']) {
      const { id } = await broker.publish(request('all', 'newer', { key: 'k' }))
      t.same(await listed(), ['newer'])
      const heard = ear.events('retracted').length
      t.equal(await broker.retract({ to: 'all', what: what === 'id' ? { id: id! } : { key: 'k' } }), true)
      await ear.until(() => ear.events('retracted').length > heard || undefined, 'it to be retracted')
      await copy(id! - 10, { d: '"older"', k: 'k' }, 'all')
      t.same(await listed(), [], `by its ${what}`)
      t.same(await became(id! - 10), { all: 'replaced' })
    }
  })
}

t.test('a copy that comes to the home after a service has retracted a newer one there, by its key, is replaced', async (t) => {
  const { partition, broker, copy, listed, became } = await start(t, homeOfAll)
  const { id } = await broker.publish(request('all', 'newer', { key: 'k' }))
  t.equal(await redis.cli('FCALL', 'tidings_retract', 1, partition, 'all', 'KEY', 'k'), 1)
  await copy(id! - 10, { d: '"older"', k: 'k' }, 'all')
  t.same(await listed(), [])
  t.same(await became(id! - 10), { all: 'replaced' })
})

t.test('what is live only, is sent by a partition that gets it within seconds, and by none later', async (t) => {
  const { ear, copy } = await start(t)
  const now = Date.now() * 1000
  const one = { keep: 'none', x: now + 60_000_000 }
  t.same(await copy(now - 10_001_000, { d: '"late"', ...one }, 'all', 'group:g'), [])
  t.same(await copy(now - 5_000_000, { d: '"in time"', ...one }, 'all', 'group:g'), [1, 1])
  t.same(await copy(now, { d: '"over"', keep: 'none', x: now - 1 }, 'all'), [])
  await copy(now, { d: '"last"', keep: 'none' }, 'all')
  const heard = (): string[] => ear.notifications.map(({ to, json }) => `${to.split('/')[1]} ${json}`)
  await ear.until(() => heard().includes('all "last"') || undefined, 'the last one')
  t.same(heard(), ['all "in time"', 'group:g "in time"', 'all "last"'])
})

t.test('a copy with an id of its own, is marked by that one, and retracted by the id that its publisher was answered', async (t) => {
  const { broker, ear, user, copy, listed } = await start(t)
  const now = Date.now() * 1000
  await copy(now, { d: '"newer"' }, 'all')
  await copy(now - 10, { d: '"older"' }, 'all')
  t.same(await listed(), ['older', 'newer'])
  const { id } = (await listOf({ broker, ear }, user)).notifications[0]!
  t.not(id, now - 10)
  t.type(await refusal(broker.mark(readerOf(user), now - 10, 'read')), NoNotification)
  await broker.mark(readerOf(user), id, 'unread')
  t.same((await listOf({ broker, ear }, user)).notifications.map(({ isRead }) => isRead), [false, true])
  await copy(now + 10, { r: now - 10 }, 'all')
  t.same(await listed(), ['newer'])
})

t.test('what is remembered for copies that come late, has a limit and an end', async (t) => {
  const { partition, copy, listed } = await start(t)
  const now = Date.now() * 1000
  const [key, most] = [`${partition}:late:all`, 10_000]
  await redis.cli('ZADD', key, ...Array.from({ length: most }, (_, i) => [now - 20_000 + i, `r${now - 20_000 + i}`]).flat())
  await redis.cli('ZADD', key, now - limits.historySeconds * 1_000_000 - 1, 'ktoo old')
  await copy(now, { r: now - 10 }, 'all')
  t.equal(await redis.cli('ZCARD', key), most)
  t.equal(await redis.cli('ZSCORE', key, 'ktoo old'), null)
  const seconds = Number(await redis.cli('TTL', key))
  t.ok(seconds > limits.historySeconds - 60 && seconds <= limits.historySeconds + 2, `it ends in ${seconds} s`)
  await copy(now - 10, { d: '"retracted"' }, 'all')
  await copy(now - 20_000, { d: '"forgotten"' }, 'all')
  t.same(await listed(), ['forgotten'])
})

t.test('a copy that fails in its partition, is told there as missing, and does not keep back what follows', async (t) => {
  const { broker, ear, user, partition, copy, listed } = await start(t)
  const cursor = await now({ broker, ear }, user)
  await redis.cli('SET', `${partition}:keys:group:g`, 'stuck')
  await copy(cursor + 1, { d: '1', k: 'key' }, 'group:g')
  await copy(cursor + 2, { d: '2' }, 'group:g')
  t.same(await listed(), [2])
  t.match(await readPages({ broker, ear }, { userId: user, cursor }), [{ gap: true }])
})

t.test('a copy from a partition whose clock is ten minutes ahead, does not put the clock here ahead', async (t) => {
  const { broker, ear, user, copy, listed } = await start(t)
  const before = await now({ broker, ear }, user)
  await copy(before + 600_000_000, { d: '1' }, 'group:g')
  t.ok(await now({ broker, ear }, user) < before + 300_000_000)
  t.same(await listed(), [1])
})

t.test('the newest of a key is the same everywhere, also when the time was set back by ten minutes', async (t) => {
  const { url, cli } = redis
  const prefix = `${redis.prefix}-${++count}`
  const { broker, ear } = await startPartitions(t, { url, prefix }, PARTITIONS)
  const users = Array.from({ length: PARTITIONS }, (_, i) => Array.from({ length: 1000 }, (_, n) => `${n}`).find((name) => partitionOf(name, PARTITIONS) === i)!)
  const first = Array.from({ length: 100 }, (_, i) => `h${i}`).find((name) => partitionOf(name, PARTITIONS) !== partitionOf('g', PARTITIONS))!
  for (const user of users) await broker.join(user, 'g')
  // Ids stay as far ahead as they were; that of the last publish is the furthest.
  for (const [i, tag] of tagsOf(PARTITIONS).entries()) await cli('INCRBY', `${prefix}:{${tag}}:clock`, 600_000_000 + (i === partitionOf(first, PARTITIONS) ? 500_000 : 0))
  await broker.publish(request([`group:${first}`, 'group:g'], 'older', { key: 'k' }))
  await broker.publish(request('group:g', 'newer', { key: 'k' }))
  for (const user of users) t.same((await listOf({ broker, ear }, user)).notifications.map(({ json }) => json), ['"newer"'], `in the partition of ${user}`)
})

for (const what of ['key', 'id there'] as const) {
  t.test(`a copy with an id of its own at the home of its group, retracted there by a service and by its ${what}, is gone in every partition`, async (t) => {
    const { url, cli } = redis
    const prefix = `${redis.prefix}-${++count}`
    const { broker, ear } = await startPartitions(t, { url, prefix }, PARTITIONS)
    const users = Array.from({ length: PARTITIONS }, (_, i) => Array.from({ length: 1000 }, (_, n) => `${n}`).find((name) => partitionOf(name, PARTITIONS) === i)!)
    const other = Array.from({ length: 100 }, (_, i) => `h${i}`).find((name) => partitionOf(name, PARTITIONS) !== partitionOf('g', PARTITIONS))!
    const home = `${prefix}:{${tagsOf(PARTITIONS)[partitionOf(other, PARTITIONS)]}}`
    for (const user of users) await broker.join(user, other)
    const have = async (): Promise<number> => (await Promise.all(users.map(async (user) => await listOf({ broker, ear }, user)))).filter(({ notifications }) => notifications.length > 0).length
    // As after a burst. The home of the first group commits.
    await cli('INCRBY', `${home}:clock`, 500_000)
    await broker.publish(request(['group:g', `group:${other}`], 'x', what === 'key' ? { key: 'k' } : {}))
    await becomes(async () => await have() === PARTITIONS, 'everybody to have it')
    const [[entry]] = await cli('XRANGE', `${home}:log:group:${other}`, '-', '+') as [[string]]
    t.equal(await cli('FCALL', 'tidings_retract', 1, home, `group:${other}`, ...what === 'key' ? ['KEY', 'k'] : ['ID', entry.slice(0, -2)]), 1)
    await becomes(async () => await have() === 0, 'nobody to have it')
  })
}
