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
import { door, hasId, startHub } from './rig.ts'

t.test('sessions, of 20,000 streams, are verified with one question, and those that are lost are ended for good', async (t) => {
  const asked: number[] = []
  const ended: unknown[] = []
  let count = 0
  let isAway = false
  const broker: Pick<Broker, 'takeSession' | 'verifySessions'> = {
    takeSession: async (_userId, tag): Promise<Session> => ({ tag, takenAt: ++count, fence: 0, isLowered: false }),
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

t.test('sessions, whose fence was lowered, by their stream or one before it: is raised when it has had all its history for half a minute', async (t) => {
  for (const isInherited of [false, true]) {
    const fences: number[] = []
    const broker: Pick<Broker, 'takeSession' | 'verifySessions'> = {
      takeSession: async (_userId, tag): Promise<Session> => ({ tag, takenAt: 100, fence: isInherited ? 50 : 100, isLowered: isInherited }),
      verifySessions: async (sessions) => {
        fences.push(...sessions.map(({ session }) => session.fence))
        return []
      }
    }
    const sessions = new Sessions(broker as Broker, {} as Exits)
    const stream = { owner: { userId: '1', reconnectsFrom: 'fresh' }, hasEnded: false, takenTo: 0 }
    await sessions.take(stream as Stream)
    await sessions.keeps(stream as Stream, isInherited ? undefined : 51)
    const pass = (seconds: number): void => { for (let i = 0; i < seconds; i++) sessions.tick() }
    pass(100)
    stream.takenTo = 100
    pass(20)
    stream.takenTo = 99
    pass(1)
    stream.takenTo = 100
    pass(30)
    t.same(fences, [50])
    pass(100)
    t.same(fences, [50, 100])
    const gone = { owner: { userId: '2', reconnectsFrom: 'fresh' }, hasEnded: true, takenTo: 100 }
    await sessions.take(gone as Stream)
    await sessions.keeps(gone as Stream, 51)
    pass(100)
    t.same(fences, [50, 100, 50], 'of a stream that has ended nothing is asked or raised')
  }
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
  const sessions = Array.from({ length: 1100 }, (_, i) => ({ userId: `u${i}`, session: { tag: `t${i}`, takenAt: i, fence: i, isLowered: false } }))
  t.same(await broker.verifySessions(sessions), ['lost 1', 'lost 2', 'lost 3'])
  t.same(asked.map(({ length }) => length / 3), [500, 500, 100])
  t.same(asked.flat(), sessions.flatMap(({ userId, session: { tag, fence } }) => [userId, tag, String(fence)]))
  t.same(await broker.verifySessions([]), [])
  t.equal(asked.length, 3)
  await broker.close()
})

t.test('session, of a page whose client goes while its channels are subscribed, stays with the page that has it', async (t) => {
  const { broker, ends, live, open, ended, publish } = await startHub(t, { isSingleSession: true })
  const { client } = await live()
  const gate = door()
  broker.before.subscribe = gate.pass
  const leaving = open({ groups: ['x'] })
  await gate.reached
  leaving.client.close()
  await ended(1)
  gate.open()
  await (await leaving.opened).attached
  const [id] = await publish('user:1')
  await hasId(client, id!)
  t.same(ends, ['client'])
})
