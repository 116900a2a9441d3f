// The channels that a node wants: asked for together, checked, and none that it has given up meanwhile.
import t from 'tap'
import { Held } from '../../src/broker/redis/held.ts'

t.test('channel, given up while it waits for its turn, is not subscribed any more', async (t) => {
  const asked: string[][] = []
  const answer = Promise.withResolvers<void>()
  const held = new Held({
    subscribe: async (channels) => {
      asked.push([...channels])
      await answer.promise
    },
    isSubscribed: (channel) => asked.flat().includes(channel)
  })
  const first = held.take(['a'])
  await new Promise((resolve) => { setImmediate(resolve) })
  const others = [held.take(['b', 'c']), held.take(['d'])]
  held.giveUp(['b'])
  answer.resolve()
  t.same(await Promise.all([first, ...others]), [true, true, true])
  t.same(asked, [['a'], ['c', 'd']])
  t.equal(held.size, 3)
})

t.test('channel, taken away by Redis, is lacking; one that is being asked for, or was given up, is not', async (t) => {
  const there = new Set<string>()
  const held = new Held({ subscribe: async (channels) => { for (const channel of channels) there.add(channel) }, isSubscribed: (channel) => there.has(channel) })
  const taking = held.take(['a', 'b'])
  t.notOk(held.isLacking())
  await taking
  there.delete('b')
  t.ok(held.isLacking())
  t.ok(held.isNextLacking() || held.isNextLacking(), 'within a round')
  held.giveUp(['b'])
  t.notOk(held.isLacking())
})
