// The limits of an inbox, reached for real: as many marks as there may be, and a user who calls without end.
import t from 'tap'
import { MAX_MARKS } from '../../src/broker/inbox.ts'
import { startRedis } from '../fixtures/redis.ts'
import { onBoth, startNodes } from '../security/nodes.ts'

const PATH = '/api/notifications'
// Its own: the keys of others would be counted.
const redis = await startRedis(t, { own: true })

/** So many calls, some at a time. */
async function inTurn<T> (count: number, call: (i: number) => Promise<T>): Promise<T[]> {
  const answers: T[] = []
  for (let i = 0; i < count; i += 40) answers.push(...await Promise.all(Array.from({ length: Math.min(40, count - i) }, (_, j) => call(i + j))))
  return answers
}

onBoth(t, 'marks, one more than there may be, are 409 with what to do; the read cursor makes room', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { count: 1, env: { INBOX_PER_MINUTE: '0', PUBLISH_PER_MINUTE: '0' } })
  const token = all.token({ sub: 'ann' })
  const ask = async (method: string, path: string, body?: object) => await all.call(method, `${PATH}${path}`, { token, ...(body !== undefined && { body }) })
  await ask('GET', '/position')
  const published = await inTurn(MAX_MARKS + 1, async (i) => await all.call('POST', PATH, { body: { to: 'user:ann', data: i } }))
  const ids = published.map(({ body }) => body.notifications[0].id as string).sort()
  const marks = await inTurn(MAX_MARKS, async (i) => await ask('PUT', `/${ids[i + 1]!}/read`))
  t.ok(marks.every(({ status }) => status === 200))
  t.match(await ask('GET', '/position'), { body: { unread: 1, unseen: 1 } })
  t.match(await ask('DELETE', `/${ids[0]!}`), { status: 409, body: { code: 'TIDINGS_TOO_MANY_MARKS', message: /cursor/ } })
  t.match(await ask('GET', '/position'), { body: { unread: 1, unseen: 1 } }, 'refused is not half done')
  t.match(await ask('PUT', '/read', { upTo: ids[9]! }), { status: 200, body: { unread: 0 } })
  t.match(await ask('DELETE', `/${ids[0]!}`), { status: 200 }, 'the cursor has passed nine')
})

onBoth(t, 'read, called without end by one user, is refused past the limit, and nothing grows', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { count: 1, env: { INBOX_PER_MINUTE: '30' } })
  const token = all.token({ sub: 'ann' })
  const { body } = await all.call('POST', PATH, { body: { to: 'user:ann', data: 1 } })
  const upTo = Number(body.notifications[0].id)
  const size = async (): Promise<number> => Number(await redis.cli('DBSIZE'))
  await all.call('PUT', `${PATH}/read`, { token, body: { upTo: '1' } })
  const before = await size()
  // Each time another position, which is stored.
  const answers = await inTurn(1000, async (i) => await all.call('PUT', `${PATH}/read`, { token, body: { upTo: String(upTo - 1000 + i) } }))
  const refused = answers.filter(({ status, body }) => status === 429 && body.code === 'TIDINGS_TOO_MANY_REQUESTS')
  const taken = answers.filter(({ status }) => status === 200)
  t.equal(refused.length + taken.length, answers.length)
  // A minute may end meanwhile.
  t.ok(taken.length >= 29 && taken.length <= 59, `${taken.length} were taken`)
  t.ok(await size() <= before + 1, 'beside a counter of the next minute')
  t.match(await all.call('GET', '/api/users/ann/position'), { status: 200, body: { unread: 1 } })
})
