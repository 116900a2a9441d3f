// Copies that come late, or not in the order of their ids: afterwards a partition has what all others have.
import t, { type Test } from 'tap'
import { PartitionedBroker } from '../../src/broker/redis/partitions/partitions.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { startRedis, type Redis } from '../fixtures/redis.ts'
import { limits, listOf, readPages, request } from './contract.ts'
import { Ear } from './ear.ts'
import { becomes, up } from './nodes.ts'

const PARTITIONS = 8
const redis = await startRedis(t)
let count = 0

interface Late {
  readonly broker: PartitionedBroker
  readonly ear: Ear
  /** In the partition that is looked at. */
  readonly user: string
  /** Copies from a partition of its own each time, so in any order of ids. `id`: what the publisher was answered. */
  readonly copy: (id: number, fields: Readonly<Record<string, string | number>>, ...to: string[]) => Promise<unknown>
  readonly listed: () => Promise<unknown[]>
  readonly became: (id: number) => Promise<Record<string, string>>
}

/** A partition which has neither the home of `all` nor that of group g. */
async function start (t: Test, { url, cli }: Redis = redis): Promise<Late> {
  const prefix = `${redis.prefix}-${++count}`
  const said: string[] = []
  const log = { info: (text: string) => { said.push(text) }, warn: (text: string) => { said.push(text) } }
  const broker = new PartitionedBroker({ ...limits, url, prefix, nodeName: 'late', log, partitions: PARTITIONS })
  const ear = new Ear()
  broker.start(ear)
  t.teardown(() => broker.close())
  await up({ broker, ear, said })
  const place = tagsOf(PARTITIONS).findIndex((_, i) => i !== partitionOf('all', PARTITIONS) && i !== partitionOf('g', PARTITIONS))
  const user = Array.from({ length: 1000 }, (_, n) => `${n}`).find((name) => partitionOf(name, PARTITIONS) === place)!
  await broker.join(user, 'g')
  await broker.subscribe([broker.channelOf(user, 'all'), broker.channelOf(user, 'group:g')])
  let copied = 0
  return {
    broker,
    ear,
    user,
    copy: async (id, fields, ...to) => {
      const pairs = Object.entries({ e: 'message', ...fields }).flat()
      const reply = await cli('FCALL', 'tidings_copy', 1, `${prefix}:{${tagsOf(PARTITIONS)[place]}}`, `source ${++copied}`, id, 0, 1, pairs.length, ...pairs, to.length, ...to) as unknown[]
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
