// Every error of the table: produced by a real request, with its status and sentence; and the README's table says the same, both ways.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Uncertain, Unavailable } from '../src/broker/broker.ts'
import { TooManyMarks } from '../src/broker/inbox.ts'
import { type ErrorCode, errorTable } from '../src/errors.ts'
import { createIssuer, MANAGE } from './fixtures/tokens.ts'
import { type Answer, assertError, type Service, type ServiceOptions, startService } from './http/service.ts'

const SUBSCRIBE = '/api/notifications/subscribe'

interface Case extends ServiceOptions {
  ask: (service: Service) => Promise<Answer>
}

const get = (path: string, headers: Record<string, string> = {}) => async (service: Service) => await service.call('GET', path, { headers })
const subscribe = (token: (service: Service) => string | null, path = SUBSCRIBE) => async (service: Service) => await service.call('GET', path, { token: token(service) })
const publish = (to: string, data: unknown, more = {}) => async (service: Service) => await service.publish(to, data, more)
const post = (body: string, headers: Record<string, string> = {}) => async (service: Service) => await service.call('POST', '/api/notifications', { body, headers })
const failing = (error: () => Error): ServiceOptions => ({ alter: (broker) => { broker.publish = async () => { throw error() } } })

/** A request line or headers that fetch would not send. */
const raw = (method: string, headers: Record<string, string> = {}) => async (service: Service): Promise<Answer> => {
  const { head, body: text } = await service.raw({ path: '/livez', method, headers: { Connection: 'close', ...headers } })
  return { status: head?.status ?? 0, headers: new Headers(head?.headers ?? {}), text, body: JSON.parse(text === '' ? '{}' : text) }
}

// Record: a code that is added to the table and not here does not pass the compiler.
const cases: Record<ErrorCode, Case> = {
  TIDINGS_TOKEN_MISSING: { ask: subscribe(() => null) },
  TIDINGS_TOKEN_INVALID: { ask: subscribe(() => 'no-token') },
  TIDINGS_TOKEN_NOT_YET: { ask: async (service) => await service.call('GET', '/api/users/42/groups', { token: service.token({ scope: MANAGE, nbf: Math.floor(Date.now() / 1000) + 60 }) }) },
  TIDINGS_TOKEN_EXPIRED: { ask: subscribe(({ token }) => token({ exp: 1 })) },
  TIDINGS_TOKEN_REVOKED: {
    ask: async (service) => {
      const token = service.token({ sub: '42', iat: Math.floor(Date.now() / 1000) - 1 })
      await service.call('DELETE', '/api/users/42/streams')
      return await service.call('GET', SUBSCRIBE, { token })
    }
  },
  TIDINGS_BAD_TICKET: { ask: get(`${SUBSCRIBE}?ticket=unknown`) },
  TIDINGS_CROSS_SITE: { ask: async (service) => await service.call('GET', SUBSCRIBE, { token: null, headers: { cookie: `tidings_token=${service.token()}`, origin: 'https://elsewhere.example' } }) },
  TIDINGS_SCOPE_MISSING: { ask: async (service) => await service.call('POST', '/api/notifications', { token: service.token(), body: { to: 'all', data: 1 } }) },
  TIDINGS_NOT_YOUR_STREAM: { ask: subscribe(({ token }) => token({ sub: '42' }), `${SUBSCRIBE}/43`) },
  TIDINGS_TOO_MANY_STREAMS: {
    env: { MAX_STREAMS_PER_USER: '1' },
    ask: async (service) => {
      await service.client(t, { sub: '42' }, { reconnect: false }).live()
      return await service.call('GET', SUBSCRIBE, { token: service.token({ sub: '42' }) })
    }
  },
  TIDINGS_BAD_REQUEST: { ask: publish('all', 1, { unknown: true }) },
  TIDINGS_BAD_JSON: { ask: post('{') },
  TIDINGS_BAD_ADDRESS: { ask: publish('nobody', 1) },
  TIDINGS_BAD_NAME: { ask: get('/api/users/%00/groups') },
  TIDINGS_BAD_EVENT: { ask: publish('all', 1, { event: 'a b' }) },
  TIDINGS_RESERVED_EVENT: { ask: publish('all', 1, { event: 'sync' }) },
  TIDINGS_DATA_TOO_DEEP: { ask: post(`{"to":"all","data":${'['.repeat(2000)}${']'.repeat(2000)}}`) },
  TIDINGS_BAD_IDEMPOTENCY_KEY: { ask: post('{"to":"all","data":1}', { 'idempotency-key': 'a b' }) },
  TIDINGS_BAD_KEEP: { ask: publish('all', 1, { keep: 'forever' }) },
  TIDINGS_BAD_TTL: { ask: publish('all', 1, { ttl: 0.5 }) },
  TIDINGS_BAD_KEY: { ask: publish('all', 1, { key: '' }) },
  TIDINGS_BAD_POSITION: { ask: async (service) => await service.call('PUT', '/api/notifications/read', { body: { upTo: 'yesterday' } }) },
  TIDINGS_TOO_MANY_GROUPS: {
    ask: async (service) => {
      await service.call('PUT', '/api/users/42/groups', { body: { groups: Array.from({ length: 1000 }, (_, i) => `g${i}`) } })
      return await service.call('PUT', '/api/users/42/groups/one-more')
    }
  },
  TIDINGS_NOT_FOUND: { ask: get('/nowhere') },
  TIDINGS_NO_NOTIFICATION: { ask: async (service) => await service.call('DELETE', '/api/notifications/1763794001222333') },
  TIDINGS_TOO_MANY_MARKS: {
    alter: (broker) => { broker.mark = async () => { throw new TooManyMarks() } },
    ask: async (service) => await service.call('DELETE', '/api/notifications/1763794001222333')
  },
  TIDINGS_METHOD_NOT_ALLOWED: { ask: raw('BREW') },
  TIDINGS_DATA_TOO_LARGE: { env: { MAX_DATA_BYTES: '10' }, ask: publish('all', 'eleven byte') },
  TIDINGS_FAN_OUT_TOO_LARGE: { ask: async (service) => await service.call('POST', '/api/notifications', { body: { to: Array.from({ length: 200 }, (_, i) => `user:${i}`), data: 'x'.repeat(50_000) } }) },
  TIDINGS_BODY_TOO_LARGE: { env: { MAX_DATA_BYTES: '10' }, ask: post(`{"to":"all","data":1}${' '.repeat(1_100_000)}`, { connection: 'close' }) },
  TIDINGS_UNSUPPORTED_MEDIA_TYPE: { ask: post('<all/>', { 'content-type': 'application/xml' }) },
  TIDINGS_TOO_MANY_REQUESTS: {
    env: { PUBLISH_PER_MINUTE: '1' },
    ask: async (service) => {
      await service.publish('all', 1)
      return await service.publish('all', 2)
    }
  },
  TIDINGS_HEADERS_TOO_LARGE: { ask: raw('GET', { 'X-Long': 'x'.repeat(17_000) }) },
  TIDINGS_BUSY: {
    // Only for a proxy that asks another node at 503 and never shows it to the browser.
    ask: async (service) => {
      await service.app.hub.drain(0)
      return await service.call('GET', SUBSCRIBE, { token: service.token(), headers: { 'tidings-failover': '503' } })
    }
  },
  TIDINGS_KEYS_UNAVAILABLE: {
    // Nobody listens on port 1.
    issuer: { ...createIssuer('RS256'), env: { JWKS_URL: 'http://127.0.0.1:1/keys' } },
    ask: async (service) => await service.call('POST', '/api/notifications', { token: service.issuer.sign({ alg: 'RS256', kid: '1' }, { sub: '42', exp: 9_999_999_999 }), body: { to: 'all', data: 1 } })
  },
  TIDINGS_UNAVAILABLE: { ...failing(() => new Unavailable('away for the test')), ask: publish('all', 1) },
  TIDINGS_UNCERTAIN: { ...failing(() => new Uncertain('no answer for the test')), ask: publish('all', 1) },
  TIDINGS_INTERNAL: { ...failing(() => new Error('what nobody outside may read')), ask: publish('all', 1) }
}

for (const [code, { ask, ...options }] of Object.entries(cases) as Array<[ErrorCode, Case]>) {
  t.test(`${code}: comes, in the shape of all errors`, async (t) => {
    const answer = await ask(await startService(t, options))
    assertError(t, answer, code)
    t.notMatch(answer.text, /for the test|nobody outside/, 'says nothing of the inside')
  })
}

t.test('cases: one for every code of the table', async (t) => {
  t.same(Object.keys(cases).sort(), Object.keys(errorTable).sort())
})

t.test('reference, table of errors: every code with its status and a meaning, and no other', async (t) => {
  const [readme, reference] = ['README.md', 'docs/reference.md'].map((page) => readFileSync(join(import.meta.dirname, '..', page), 'utf8')) as [string, string]
  const rows = [...reference.matchAll(/^\| *`(TIDINGS_[A-Z_]+)` *\| *(\d{3}) *\| *(.*?) *\|$/gm)].map(([, code, status, meaning]) => ({ code: code!, status: Number(status), meaning }))
  t.same(rows.map(({ code, status }) => `${code} ${status}`).sort(), Object.entries(errorTable).map(([code, [status]]) => `${code} ${status}`).sort())
  for (const { code, meaning } of rows) t.equal(meaning!.replaceAll('&lt;', '<'), errorTable[code as ErrorCode][1].replaceAll('%s', '…'), code)
  const named = new Set([...(readme + reference).matchAll(/TIDINGS_[A-Z_]+/g)].map(([code]) => code))
  const compose = readFileSync(join(import.meta.dirname, '../docker-compose.yml'), 'utf8') // has settings that begin so
  t.same([...named].filter((code) => !(code in errorTable) && !compose.includes(code)), [], 'the rest of the pages names no code that does not exist')
})

t.test('TIDINGS_METHOD_NOT_ALLOWED: for every method that no route has, known to Node or not', async (t) => {
  const service = await startService(t)
  for (const method of ['TRACE', 'QUERY', 'PATCH', 'PROPFIND', 'BREW']) assertError(t, await raw(method)(service), 'TIDINGS_METHOD_NOT_ALLOWED', method)
})
