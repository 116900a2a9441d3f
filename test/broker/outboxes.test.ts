// When a node copies what a partition owes, and when it leaves that to others: a target that fails, or does not answer.
import { mock } from 'node:test'
import t from 'tap'
import { Unavailable } from '../../src/broker/broker.ts'
import { Outboxes } from '../../src/broker/redis/partitions/outboxes.ts'
import { tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import type { RedisBroker } from '../../src/broker/redis/redis.ts'

const tags = tagsOf(2)
const turn = async (): Promise<void> => { await new Promise(setImmediate) }

/** Two partitions that note what they are asked. The first owes the second one entry, which that takes as `copy` says. */
function start (copy: () => Promise<unknown>) {
  const askers: unknown[] = []
  const copied: unknown[][] = []
  const partitions = tags.map((_, i) => ({
    saw () {},
    call: async (name: string, ...args: unknown[]) => {
      if (name === 'tidings_outbox' && i === 0) askers.push(args[2])
      if (name === 'tidings_outbox') return i === 0 && args[2] !== '' ? [1, tags[1], '0'] : [i === 0 ? 1 : 0]
      if (name === 'tidings_read_outbox') return ['', ['5', '0', 1, [], ['all']]]
      copied.push(args)
      return await copy()
    }
  }))
  return { outboxes: new Outboxes({ partitions: partitions as unknown as RedisBroker[], tags, nodeName: 'a' }), askers, copied }
}

t.test('a node that cannot copy, leaves it to others for some seconds, and goes on to tell how much is owed', async (t) => {
  const { outboxes, askers } = start(async () => { throw new Unavailable('away') })
  for (let i = 0; i < 7; i++) {
    outboxes.tick()
    await turn()
  }
  t.same(askers, ['a', '', '', '', '', 'a', ''])
  t.same(outboxes.owed, [1, 0])
})

t.test('a target that does not answer: it is asked again by one call, which no other one joins', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => { mock.timers.reset() })
  const { outboxes, copied } = start(() => new Promise(() => {}))
  const copies = outboxes.copies(0, 1)
  const item = { id: 5, before: 0, isOldest: true, fields: [], to: ['all'] }
  const copy = copies.copy(item)
  await turn()
  mock.timers.tick(1000)
  await t.rejects(copy, { message: 'the partition does not answer' })
  await t.rejects(copies.copy(item), { message: 'the partition does not answer' })
  t.equal(copied.length, 1, 'no publish waits for it')
  for (let i = 0; i < 3; i++) {
    copies.tick()
    await turn()
  }
  t.same(copied.slice(1), [[tags[0]]])
})

t.test('a target that takes nothing of what it is sent, as one that has just lost its data: not sent it again and again', async (t) => {
  const { outboxes, copied } = start(async () => {
    if (copied.length > 5) throw new Unavailable('too often')
    return ['0', '0']
  })
  outboxes.tick()
  await turn()
  t.equal(copied.length, 1)
})
