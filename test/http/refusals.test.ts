// Refusals are counted by code, for the metrics, and told in the log once a minute for each code.
import t from 'tap'
import { Refusals } from '../../src/http/refusals.ts'
import { startService } from './service.ts'

const SUBSCRIBE = '/api/notifications/subscribe'

t.test('refusals, many of one code, are one line a minute with their number', async (t) => {
  let nowMs = 0
  const lines: object[] = []
  const refusals = new Refusals({ info: (data) => { lines.push(data) } }, () => nowMs)
  for (let second = 0; second < 150; second++) {
    nowMs = second * 1000
    for (let i = 0; i < 10; i++) refusals.count('TIDINGS_TOKEN_EXPIRED')
    if (second === 30) refusals.count('TIDINGS_BUSY')
  }
  t.same(lines, [
    { code: 'TIDINGS_TOKEN_EXPIRED', count: 1 }, { code: 'TIDINGS_BUSY', count: 1 },
    { code: 'TIDINGS_TOKEN_EXPIRED', count: 600 }, { code: 'TIDINGS_TOKEN_EXPIRED', count: 600 }
  ])
  t.same(refusals.counts, { TIDINGS_TOKEN_EXPIRED: 1500, TIDINGS_BUSY: 1 })
})

t.test('refusals, of every way, stand in tidings_refused_total and in the log', async (t) => {
  const service = await startService(t, { env: { CONNECTS_PER_MINUTE: '1' } })
  const refused = async (code: string) => await service.metric('tidings_refused_total', `code="${code}"`)
  await service.call('GET', SUBSCRIBE, { token: null })
  await service.call('GET', SUBSCRIBE, { token: null })
  await service.call('POST', '/api/notifications', { body: '{' })
  await service.call('GET', '/api/%zz')
  await service.call('GET', '/nothing')
  const first = service.client(t, { sub: 'ann' }, { reconnect: false })
  await first.live()
  await service.client(t, { sub: 'ann' }, { reconnect: false }).ended(1)
  t.same(await Promise.all(['TIDINGS_TOKEN_MISSING', 'TIDINGS_BAD_JSON', 'TIDINGS_BAD_REQUEST', 'TIDINGS_NOT_FOUND', 'TIDINGS_TOO_MANY_REQUESTS'].map(refused)), [2, 1, 1, 1, 1])
  t.match(await service.logged(({ code }) => code === 'TIDINGS_TOO_MANY_REQUESTS'), { level: 30, count: 1 }, 'also where the answer is 200')
  await service.app.hub.drain(0)
  await service.call('GET', SUBSCRIBE, { token: service.token() })
  t.equal(await refused('TIDINGS_BUSY'), 1)
})
