// SESSION_POLICY=single, however many streams share a heartbeat: one question, in pieces at Redis; nothing fails if the
// broker does.
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import type { Session, Sessions as Broker } from '../../src/broker/broker.ts'
import { RedisBroker } from '../../src/broker/redis/redis.ts'
import type { Exits } from '../../src/hub/exits.ts'
import { Sessions } from '../../src/hub/sessions.ts'
import type { Stream } from '../../src/hub/stream.ts'
import { limits } from '../broker/contract.ts'

t.test('sessions, of 20,000 streams, are verified with one question, and those that are lost are ended for good', async (t) => {
  const asked: number[] = []
  const ended: unknown[] = []
  let count = 0
  let isAway = false
  const broker: Pick<Broker, 'takeSession' | 'verifySessions'> = {
    takeSession: async (_userId, tag): Promise<Session> => ({ tag, takenAt: ++count, fence: 0 }),
    verifySessions: async (sessions) => {
      if (isAway) throw new Error('away')
      asked.push(sessions.length)
      return sessions.filter(({ userId }) => userId === '777' || userId === '19999').map(({ session }) => session.tag)
    }
  }
  const exits = { endForGood: (stream: Stream, reason: string) => { ended.push([stream.owner.userId, reason]) } }
  const sessions = new Sessions(broker as Broker, exits as unknown as Exits)
  const streams = Array.from({ length: 20_000 }, (_, i) => ({ owner: { userId: String(i), reconnectsFrom: 'fresh' } }) as Stream)
  t.ok((await Promise.all(streams.map(async (stream) => await sessions.take(stream)))).every(Boolean))
  isAway = true
  await sessions.verify(streams)
  t.same([asked, ended], [[], []], 'a broker that is away is asked again at the next heartbeat')
  isAway = false
  await sessions.verify(streams)
  t.same(asked, [20_000])
  t.same(ended, [['777', 'replaced'], ['19999', 'replaced']])
})

t.test('sessions, of 1,100 streams, are asked of Redis 500 at a time, one call after the other', async (t) => {
  const broker = new RedisBroker({ ...limits, url: 'redis://127.0.0.1', prefix: 'p', nodeName: 'n', log: { info () {}, warn () {} } })
  const asked: string[][] = []
  let underWay = 0
  broker.call = async (name, ...args) => {
    t.same([name, ++underWay], ['tidings_verify', 1])
    await setImmediate()
    underWay--
    asked.push(args.map(String))
    return [`lost ${asked.length}`]
  }
  const sessions = Array.from({ length: 1100 }, (_, i) => ({ userId: `u${i}`, session: { tag: `t${i}`, takenAt: i, fence: i } }))
  t.same(await broker.verifySessions(sessions), ['lost 1', 'lost 2', 'lost 3'])
  t.same(asked.map(({ length }) => length / 3), [500, 500, 100])
  t.same(asked.flat(), sessions.flatMap(({ userId, session: { tag, fence } }) => [userId, tag, String(fence)]))
  t.same(await broker.verifySessions([]), [])
  t.equal(asked.length, 3)
  await broker.close()
})
