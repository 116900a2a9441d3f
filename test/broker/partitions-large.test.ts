// Publishes with as many addresses as one may have: no call of a node is larger than Redis and the node can take.
import t from 'tap'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { startRedis } from '../fixtures/redis.ts'
import { entriesOf, readPages, request } from './contract.ts'
import { becomes, startPartitions } from './nodes.ts'

const PARTITIONS = 4
const tags = tagsOf(PARTITIONS)
const HOME = 0
const FAR = 1
/** Users of one partition, as many as one publish may name beside one of another partition. */
const names = Array.from({ length: 10_000 }, (_, n) => `many ${n}`).filter((name) => partitionOf(name, PARTITIONS) === FAR).slice(0, 999)

t.test('publishes to a thousand users of a partition that is away, more than one call can hold, are copied in several', async (t) => {
  const redis = await startRedis(t)
  const a = await startPartitions(t, redis, PARTITIONS)
  await a.broker.close()
  const source = `${redis.prefix}:{${tags[HOME]}}`
  const PUBLISHES = 150
  const publish = async (to: readonly string[], data: number) => await redis.cli('FCALL', 'tidings_commit', 1, source, 1, '', '', 0, 'message', data, 'inbox', '', '', '', 0, 0,
    to.length, ...to.flatMap((name) => [tags[FAR]!, `user:${name}`]), 0)
  for (let i = 0; i < PUBLISHES; i++) await publish(names, i)
  const read = async (tag: string) => await redis.cli('FCALL', 'tidings_read_outbox', 1, source, tag, 0) as [string, ...unknown[]]
  const [readTo, ...items] = await read(tags[FAR]!)
  t.not(readTo, '', 'one call does not read it all')
  t.ok(items.length <= 2, `${items.length} copies of 999 addresses are read at once`)
  t.not((await read(tags[2]!))[0], '', 'nor does one that looks for what another partition is owed')
  const b = await startPartitions(t, redis, PARTITIONS)
  const [first, last] = [names[0]!, names.at(-1)!]
  const numbers = async (userId: string) => entriesOf(await readPages(b, { userId, cursor: 0 })).map(({ json }) => Number(json))
  await becomes(async () => (await numbers(last)).length === PUBLISHES, 'the last user to have all of them', 60_000)
  for (const user of [first, last]) t.same(await numbers(user), Array.from({ length: PUBLISHES }, (_, i) => i), 'each once, in order')
})

t.test('publishes to a thousand users elsewhere, many at the same moment, are all answered', async (t) => {
  const redis = await startRedis(t)
  const { broker } = await startPartitions(t, redis, PARTITIONS)
  const near = Array.from({ length: 1000 }, (_, n) => `${n}`).find((name) => partitionOf(name, PARTITIONS) === HOME)!
  const to = [near, ...names].map((name) => `user:${name}` as const)
  const answers = await Promise.allSettled(Array.from({ length: 60 }, async (_, i) => await broker.publish({ ...request(to[0]!, i, { idempotencyKey: `${i}` }), to })))
  t.same(answers.filter(({ status }) => status === 'rejected'), [])
})
