// Partitions on one Redis: what a publish to a user, a list, and a message to groups of 2 to 100,000 members cost with
// 1 to 16 of them.
//
// Straight at the adapter, without HTTP: what is the same for all would hide what is not. Nobody is online but where it
// is said.
import { fileURLToPath } from 'node:url'
import { RedisCli } from '../../test/fixtures/resp.ts'
import { Undo } from '../../test/fixtures/undo.ts'
import type { Broker } from '../../src/broker/broker.ts'
import { PartitionedBroker } from '../../src/broker/redis/partitions/partitions.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import { redisAbsent, startRedis } from '../harness/parts.ts'
import { usersIn } from '../harness/partitions.ts'
import { payload } from '../harness/payload.ts'
import { cpuSeconds } from '../harness/proc.ts'
import { startScript } from '../harness/start.ts'
import type { Named } from '../rows/row.ts'
import { onRedis, tidings } from '../rows/tidings.ts'
import { deliveryColumns, deliveryFaults, type DeliveryResult } from './delivery.ts'
import { measureFanout } from './fanout.ts'
import type { Asked, Section } from './section.ts'

const hearer = fileURLToPath(new URL('../servers/hearer.ts', import.meta.url))

const COUNTS = [1, 2, 4, 8, 16]
/** Members of a group. */
const SIZES = [2, 10, 100]
const MOST = 100_000
const MOST_IN_SMOKE = 200
const USERS = 1000
const AT_ONCE = 50
/** Calls of each kind, for a second that was asked. */
const CALLS = 5000

interface Cost {
  readonly redisMicros: number
  readonly nodeMicros: number
}

export interface PartitionsResult {
  readonly row: string
  readonly title: string
  readonly user: Cost
  readonly list: Cost
  /** By the group's members. */
  readonly groups: Readonly<Record<number, Cost>>
  /** CPU of a node that has members of all partitions, for one message to their group, beside the writes. */
  readonly heardMicros: number
  readonly published: number
}

interface PartitionsRow extends Named {
  readonly partitions: number
}

/** So often, some at a time. */
async function often (count: number, call: (n: number) => Promise<unknown>): Promise<void> {
  for (let n = 0; n < count; n += AT_ONCE) await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - n) }, (_, i) => call(n + i)))
}

async function measure ({ name, title, partitions }: PartitionsRow, { seconds, isSmoke }: Asked): Promise<PartitionsResult> {
  const scope = new Undo()
  try {
    const redis = await startRedis(scope)
    const cli = new RedisCli(redis.url)
    scope.teardown(() => { cli.close() })
    const options = {
      url: redis.url, prefix: 'tidings', nodeName: 'bench', historyLength: 1000, groupHistoryLength: 1000, historySeconds: 86_400, maxDataBytes: 16_384, log: { info () {}, warn: console.error }
    }
    const broker: Broker = partitions === 1 ? new RedisBroker(options) : new PartitionedBroker({ ...options, partitions })
    broker.start({ notification () {}, control () {}, interrupted () {}, restored () {}, dropped () {} })
    scope.teardown(async () => { await broker.close() })
    while (!broker.state().up) await new Promise((resolve) => { setTimeout(resolve, 10) })

    const redisMicros = async (): Promise<number> =>
      [...String(await cli.send('INFO', 'cpu')).matchAll(/^used_cpu_(?:sys|user):([\d.]+)/gm)].reduce((sum, [, value]) => sum + Number(value) * 1e6, 0)
    const calls = Math.max(AT_ONCE, Math.round(CALLS * seconds))
    const cost = async (count: number, call: (n: number) => Promise<unknown>): Promise<Cost> => {
      await often(Math.ceil(count / 5), call)
      const [redisBefore, before] = [await redisMicros(), process.cpuUsage()]
      await often(count, call)
      const { user, system } = process.cpuUsage(before)
      return { redisMicros: (await redisMicros() - redisBefore) / count, nodeMicros: (user + system) / count }
    }
    const publish = async (to: string, n: number): Promise<unknown> => await broker.publish({ to: [to], event: 'message', json: payload(n), keep: 'inbox' })

    const user = await cost(calls, (n) => publish(`user:${n % USERS}`, n))
    const list = await cost(calls, (n) => broker.list({ reader: { userId: `${n % USERS}` }, limit: 20, unreadOnly: false }))
    const groups: Record<number, Cost> = {}
    for (const size of [...SIZES, isSmoke ? MOST_IN_SMOKE : MOST]) {
      await often(size, (n) => broker.join(`member-${n}`, `of-${size}`))
      groups[size] = await cost(Math.ceil(calls / 2), (n) => publish(`group:of-${size}`, n))
    }
    for (const member of usersIn(partitions)) await broker.join(member, 'heard')
    const { child } = await startScript(scope, hearer, { env: { REDIS_URL: redis.url, PARTITIONS: `${partitions}`, CHANNELS: 'group:heard' } })
    const heard = async (count: number): Promise<number> => {
      const before = cpuSeconds([child.pid])
      await often(count, (n) => publish('group:heard', n))
      return (cpuSeconds([child.pid]) - before) * 1e6 / count
    }
    await heard(Math.ceil(calls / 5))
    return { row: name, title, user, list, groups, heardMicros: await heard(calls), published: calls }
  } finally {
    await scope.end()
  }
}

const rows = COUNTS.map((partitions): PartitionsRow => ({ name: `partitions-${partitions}`, title: `${partitions}`, kind: 'tidings', partitions, absent: redisAbsent }))
const group = (head: string, cost: (groups: readonly Cost[]) => Cost | undefined): Array<Section<PartitionsResult>['columns'][number]> => [
  { head: `${head}: redis µs`, value: ({ groups }) => cost(Object.values(groups))?.redisMicros ?? NaN, digits: 1, isCost: true },
  { head: 'node µs', value: ({ groups }) => cost(Object.values(groups))?.nodeMicros ?? NaN, digits: 1, isCost: true }
]

export const partitions: Section<PartitionsResult, PartitionsRow> = {
  name: 'partitions',
  takes: { seconds: [1, 0.05], rounds: 3 },
  title: ({ isSmoke }) => `Partitions of one Redis, straight at the adapter: to a user, a list of 20, to groups of 2, 10, 100 and ${isSmoke ? MOST_IN_SMOKE : MOST} members`,
  rows: () => rows,
  notInSmoke: ['partitions-2', 'partitions-4', 'partitions-16'],
  run: measure,
  columns: [
    { head: 'user: redis µs', value: ({ user }) => user.redisMicros, digits: 1, isCost: true },
    { head: 'node µs', value: ({ user }) => user.nodeMicros, digits: 1, isCost: true },
    { head: 'list: redis µs', value: ({ list }) => list.redisMicros, digits: 1, isCost: true },
    { head: 'node µs', value: ({ list }) => list.nodeMicros, digits: 1, isCost: true },
    ...SIZES.flatMap((size, at) => group(`group of ${size}`, (groups) => groups[at])),
    ...group('largest group', (groups) => groups[SIZES.length]),
    { head: 'heard µs', value: ({ heardMicros }) => heardMicros, digits: 1, isCost: true }
  ],
  base: 'partitions-1',
  faults: ({ published }) => published > 0 ? [] : ['nothing was published']
}

export const partitionsFanout: Section<DeliveryResult> = {
  name: 'partitions-fanout',
  partOf: 'partitions',
  isLong: true,
  takes: { streams: [2000, 100], seconds: [3, 0.3], rounds: 3, client: true },
  title: ({ streams, seconds }) => `Partitions: one message to ${streams} streams of one node, by FCALL, ${seconds} s`,
  rows: ({ services }) => tidings(services, onRedis(1), onRedis(1, { partitions: 8 })),
  run: measureFanout,
  columns: deliveryColumns,
  base: 'tidings-redis-1',
  faults: deliveryFaults
}
