// SESSION_POLICY=single: a new page that brings a position is written what is older than its session.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { onBoth, startNodes } from './nodes.ts'

const redis = await startRedis(t)
const COUNT = 40

onBoth(t, 'session, a new page that brings a position and loses its line amid its history, is still the holder', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { SESSION_POLICY: 'single', HEARTBEAT_SECONDS: '1' } })
  const publish = async (data: string): Promise<void> => { await all.call('POST', '/api/notifications', { body: { to: 'user:ann', data } }) }
  const { body: { position } } = await all.call('GET', '/api/notifications/position', { token: all.token({ sub: 'ann' }) })
  for (let i = 0; i < COUNT; i++) await publish(String(i).padEnd(30_000))
  const away = all.client(t, { sub: 'ann' }, { reconnect: false })
  const { id } = await away.live()
  away.close()

  const urls = all.nodes.map(({ url }) => url)
  const page = all.client(t, { sub: 'ann' }, { query: { lastEventId: position }, url: (attempt: number) => urls[attempt % 2]! })
  await page.next(({ json }) => json?.startsWith?.('5 '))
  page.drop({ reset: true })
  t.equal((await page.live(2)).json.resume, 'complete')
  t.same(page.notifications.map(({ json }) => Number(json)), Array.from({ length: COUNT }, (_, i) => i), 'each once')
  page.close()

  const whole = all.client(t, { sub: 'ann' }, { node: 1, query: { lastEventId: position } })
  await whole.live()
  for (let pings = 0; pings < 4; pings++) await whole.next(({ event }) => event === 'ping')
  const back = all.client(t, { sub: 'ann' }, { lastEventId: id! })
  t.equal((await back.closed()).status, 204, 'once the page has its history, a tab with a position from before is a replaced one')
  await publish('newer')
  await whole.next(({ json }) => json === 'newer')
  t.equal(whole.connections.length, 1)
})
