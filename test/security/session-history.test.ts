// SESSION_POLICY=single: a new page that brings a position is written what is older than its session.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { onBoth, startNodes } from './nodes.ts'

const redis = await startRedis(t)
const COUNT = 40

onBoth(t, 'session, a new page that brings a position and loses its line amid its history, is still the holder', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { SESSION_POLICY: 'single' } })
  const publish = async (data: string): Promise<void> => { await all.call('POST', '/api/notifications', { body: { to: 'user:ann', data } }) }
  const { body: { position } } = await all.call('GET', '/api/notifications/position', { token: all.token({ sub: 'ann' }) })
  for (let i = 0; i < COUNT; i++) await publish(String(i).padEnd(30_000))
  const urls = all.nodes.map(({ url }) => url)
  const page = all.client(t, { sub: 'ann' }, { query: { lastEventId: position }, url: (attempt: number) => urls[attempt % 2]! })
  await page.next(({ json }) => json?.startsWith?.('5 '))
  page.drop({ reset: true })
  t.equal((await page.live(2)).json.resume, 'complete')
  t.same(page.notifications.map(({ json }) => Number(json)), Array.from({ length: COUNT }, (_, i) => i), 'each once')
})
