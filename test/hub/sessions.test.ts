// SESSION_POLICY=single, however many streams share a heartbeat: asked in pieces, and nothing fails if the broker does.
import t from 'tap'
import type { Session, Sessions as Broker } from '../../src/broker/broker.ts'
import type { Exits } from '../../src/hub/exits.ts'
import { Sessions } from '../../src/hub/sessions.ts'
import type { Stream } from '../../src/hub/stream.ts'

t.test('sessions, of 20,000 streams, are verified 500 at a time, and those that are lost are ended for good', async (t) => {
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
  t.ok((await Promise.all(streams.map(async (stream) => await sessions.own(stream)))).every(Boolean))
  isAway = true
  await sessions.verify(streams)
  t.same([asked, ended], [[], []], 'a broker that is away is asked again at the next heartbeat')
  isAway = false
  await sessions.verify(streams)
  t.same(asked, Array(40).fill(500))
  t.same(ended, [['777', 'replaced'], ['19999', 'replaced']])
})
