// Refusals are counted by code, for the metrics, and told in the log once a minute for each code.
import t from 'tap'
import { Refusals } from '../../src/http/refusals.ts'
import { createIssuer } from '../fixtures/tokens.ts'
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

t.test('tokens and tickets that are not taken, stand in the metrics by reason, each there before it happens', async (t) => {
  const issuer = createIssuer('HS256', { issuer: 'us', audience: 'them' })
  const service = await startService(t, { issuer })
  const counts = async (of: string, reasons: string[]) => await Promise.all(reasons.map(async (reason) => await service.metric(`tidings_${of}_failures_total`, `reason="${reason}"`)))
  const seconds = Math.floor(Date.now() / 1000)
  const revoked = service.token({ sub: 'gone', iat: seconds - 10 })
  await service.call('DELETE', '/api/users/gone/streams')
  const tokens: Record<string, string | null> = {
    missing: null,
    malformed: 'none',
    algorithm: issuer.sign({ alg: 'HS384', typ: 'JWT' }, { sub: '42', exp: seconds + 60 }),
    signature: createIssuer('HS256', { issuer: 'us', audience: 'them' }).token(),
    issuer: service.token({ iss: 'others' }),
    audience: service.token({ aud: 'others' }),
    claims: service.token({ sub: 42 }),
    'not-yet': service.token({ nbf: seconds + 60 }),
    expired: service.token({ exp: seconds - 60 }),
    revoked
  }
  const reasons = Object.keys(tokens)
  t.same(await counts('token', reasons), reasons.map(() => 0))
  for (const token of Object.values(tokens)) await service.call('GET', '/api/notifications', { token })
  t.same(await counts('token', reasons), reasons.map(() => 1))
  t.same(await counts('token', ['unknown-key', 'keys-unavailable']), [0, 0])

  const { body: { ticket } } = await service.call('POST', '/api/notifications/tickets', { token: service.token({ sub: 'ann' }) })
  t.same(await counts('ticket', ['unknown', 'spent', 'token-expired']), [0, 0, 0])
  await service.call('GET', `${SUBSCRIBE}?ticket=${ticket.slice(0, -1)}`, { token: null })
  const client = service.client(t, {}, { token: undefined, query: { ticket }, reconnect: false } as object)
  await client.live()
  await service.call('GET', `${SUBSCRIBE}?ticket=${ticket}`, { token: null })
  t.same(await counts('ticket', ['unknown', 'spent', 'token-expired']), [1, 1, 0])
  const token = service.token({ exp: Math.floor(Date.now() / 1000) + 60 })
  const [ofStream, ofRequest] = await Promise.all([1, 2].map(async () => (await service.call('POST', '/api/notifications/tickets', { token })).body.ticket))
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() + 60_000 })
  t.equal((await service.call('GET', `${SUBSCRIBE}?ticket=${ofStream}`, { token: null })).body.code, 'TIDINGS_TOKEN_EXPIRED')
  t.equal((await service.call('GET', '/api/notifications', { token: null, headers: { authorization: `Ticket ${ofRequest}` } })).body.code, 'TIDINGS_TOKEN_EXPIRED')
  t.same(await counts('ticket', ['unknown', 'spent', 'token-expired']), [1, 1, 2], 'of a stream and of a request')
  t.same(await counts('token', reasons), reasons.map(() => 1), 'tickets do not count as tokens')
})
