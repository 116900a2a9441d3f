// A stream lives as long as its token: it says so before, ends at exp, resumes complete with a fresh one, and never goes on with less.
import t from 'tap'
import { watchCpuQueue } from '../fixtures/cpu-queue.ts'
import { startRedis } from '../fixtures/redis.ts'
import { onBoth, startNodes } from './nodes.ts'

const redis = await startRedis(t)
const now = (): number => Math.floor(Date.now() / 1000)
/** `performance.now()` of a time in seconds. */
const at = (seconds: number): number => seconds * 1000 - performance.timeOrigin

onBoth(t, 'expiring, said some time before exp and not to all at once; at exp the stream ends', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { EXPIRING_SECONDS: '4', CONNECTS_PER_MINUTE: '0' } })
  const queueMs = watchCpuQueue([redis.pid])
  const exp = now() + 6
  const clients = Array.from({ length: 20 }, (_, i) => all.client(t, { sub: `user-${i}`, exp }, { node: i % 2 }))
  const notices = await Promise.all(clients.map(async (client) => await client.next(({ event }) => event === 'expiring')))
  for (const notice of notices) {
    t.same({ ...notice.json }, { at: new Date(exp * 1000).toISOString() })
    t.equal(notice.id, undefined, 'it moves no position')
    const before = at(exp) - notice.at
    t.ok(before <= 4100 && before + queueMs() >= 800, `${Math.round(before)} ms before`)
  }
  t.ok(new Set(notices.map((notice) => Math.round((at(exp) - notice.at) / 500))).size > 1, 'spread')
  for (const client of clients) {
    const { endedAt } = await client.ended(1)
    const late = endedAt! - at(exp)
    t.ok(late >= -50 && late - queueMs() < 1500, `ended ${Math.round(late)} ms after exp`)
    const last = await client.closed()
    t.match(last, { status: 401, number: 2, body: /TIDINGS_TOKEN_EXPIRED/ }, 'its reconnect, with the same token, is refused for good')
    t.ok(client.connections[0]!.body.endsWith('\n\n') && client.events.every(({ event }) => event !== 'closed'), 'it ended as one that may come back')
  }
})

onBoth(t, 'token, renewed before exp, resumes complete on another node', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { EXPIRING_SECONDS: '1' } })
  const claims = { sub: 'ann', groups: ['Complaints'] }
  const old = all.client(t, { ...claims, exp: now() + 3 }, { reconnect: false })
  await old.live()
  const send = async (data: string) => await all.call('POST', '/api/notifications', { body: { to: 'group:Complaints', data } })
  await send('before')
  await old.ended()
  await send('between')
  const renewed = all.client(t, claims, { node: 1, lastEventId: old.lastEventId })
  t.match((await renewed.live()).json, { resume: 'complete', replayed: 1, groups: ['Complaints'] })
  await send('after')
  await renewed.next(({ json }) => json === 'after')
  t.same([...old.notifications, ...renewed.notifications].map(({ json }) => json), ['before', 'between', 'after'])
})

onBoth(t, 'token, ending sooner than the notice, is told of at once', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { EXPIRING_SECONDS: '86400' } })
  const client = all.client(t, { exp: now() + 3600 })
  t.ok(await client.next(({ event }) => event === 'expiring'))
  t.equal(client.state, 'open')
})

onBoth(t, 'token, expired or not quite right, is refused whole: nobody goes on with fewer rights', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const claims = { sub: 'ann', groups: ['Complaints'], scope: 'notifications:publish' }
  for (const [what, bad] of Object.entries({
    expired: { exp: now() - 1 }, 'one bad group among good ones': { groups: ['Complaints', ''] }, 'groups no array': { groups: 'Complaints' }, 'scope no string': { scope: ['notifications:publish'] }, 'not valid before tomorrow': { nbf: now() + 86_400 }
  })) {
    const token = all.token({ ...claims, ...bad })
    t.equal((await all.call('GET', '/api/notifications/subscribe', { token })).status, 401, `${what}: stream`)
    t.equal((await all.call('GET', '/api/notifications/subscribe', { token: null, headers: { cookie: `tidings_token=${token}` } })).status, 401, `${what}: stream by cookie`)
    t.equal((await all.call('POST', '/api/notifications', { token, body: { to: 'all', data: 1 } })).status, 401, `${what}: publish`)
    t.equal((await all.call('POST', '/api/notifications/tickets', { token })).status, 401, `${what}: ticket`)
  }
  t.equal((await all.call('GET', '/api/notifications/subscribe', { token: null })).status, 401, 'without a token there is no anonymous stream')
})
