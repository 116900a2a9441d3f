// What the OpenAPI document says that a route can answer, it does: each code of each route comes in answer to a real
// request. (That no other one comes, fixtures/declared-errors.ts shows in all tests.)
import t from 'tap'
import { Uncertain, Unavailable } from '../../src/broker/broker.ts'
import { TooManyMarks } from '../../src/broker/inbox.ts'
import type { MemoryBroker } from '../../src/broker/memory/memory.ts'
import type { ErrorCode } from '../../src/errors.ts'
import { codesOf } from '../fixtures/declared-errors.ts'
import { createIssuer, MANAGE, PUBLISH } from '../fixtures/tokens.ts'
import { type Answer, assertError, type CallOptions, type Service, type ServiceOptions, startService } from './service.ts'

/** A request that the route takes, from the examples of the document. Each route has a user of its own. */
interface Route { id: string, method: string, path: string, body: any, token: string }

interface Recipe extends ServiceOptions {
  /** What is different in the request. */
  change?: (route: Route, service: Service) => CallOptions & { path?: string }
  /** What comes before it. */
  first?: (route: Route, service: Service) => Promise<unknown>
}

const SCOPE = `${PUBLISH} ${MANAGE}`
const now = () => Math.floor(Date.now() / 1000)
const body = (more: object) => ({ change: (route: Route) => ({ body: { ...route.body, ...more } }) })
const ask = async ({ method, path, body, token }: Route, { call }: Service, { path: other = path, ...change }: CallOptions & { path?: string } = {}): Promise<Answer> =>
  await call(method, other, { token, ...(body !== undefined && { body }), ...change })
const isStream = ({ path }: Route) => path.includes('/subscribe')

/** The broker fails in every call of a route. */
const failing = (error: () => Error): Recipe => ({
  alter: (broker) => {
    const fail = async () => { throw error() }
    const calls = ['visit', 'hit', 'ordinal', 'publish', 'retract', 'list', 'position', 'moveCursor', 'mark'] as const
    for (const name of calls) (broker as unknown as Record<typeof calls[number], () => Promise<never>>)[name satisfies keyof MemoryBroker] = fail
  }
})

const recipes: Partial<Record<ErrorCode, Recipe>> = {
  TIDINGS_TOKEN_MISSING: { change: () => ({ token: null }) },
  TIDINGS_TOKEN_INVALID: { change: () => ({ token: 'no-token' }) },
  TIDINGS_TOKEN_NOT_YET: { change: ({ id }, { token }) => ({ token: token({ sub: id, scope: SCOPE, nbf: now() + 60 }) }) },
  TIDINGS_TOKEN_EXPIRED: { change: ({ id }, { token }) => ({ token: token({ sub: id, scope: SCOPE, exp: 1 }) }) },
  TIDINGS_TOKEN_REVOKED: {
    first: async ({ id }, { call }) => await call('DELETE', `/api/users/${id}/streams`),
    change: ({ id }, { token }) => ({ token: token({ sub: id, scope: SCOPE, iat: now() - 1 }) })
  },
  TIDINGS_BAD_TICKET: { change: (route) => isStream(route) ? { path: `${route.path}?ticket=unknown` } : { headers: { authorization: 'Ticket unknown' } } },
  TIDINGS_CROSS_SITE: { change: ({ token }) => ({ token: null, headers: { cookie: `tidings_token=${token}`, origin: 'https://elsewhere.example' } }) },
  TIDINGS_SCOPE_MISSING: { change: ({ id }, { token }) => ({ token: token({ sub: id }) }) },
  TIDINGS_NOT_YOUR_STREAM: { change: (route) => isStream(route) ? { path: `${route.path}x` } : { headers: { 'tidings-user': 'x' } } },
  TIDINGS_TOO_MANY_STREAMS: { env: { MAX_STREAMS_PER_USER: '1' }, first: async ({ id }, service) => await service.client(t, { sub: id }, { reconnect: false }).live() },
  TIDINGS_BAD_REQUEST: { change: ({ path, body }) => path === '/readyz' ? { path: '/readyz?for=rubbish' } : { body: { ...body, unknown: true } } },
  TIDINGS_BAD_JSON: { change: () => ({ body: '{' }) },
  TIDINGS_BAD_ADDRESS: body({ to: 'nobody' }),
  TIDINGS_BAD_NAME: { change: ({ path }) => ({ path: path.replace('/users/42', '/users/%00') }) },
  TIDINGS_BAD_EVENT: body({ event: 'a b' }),
  TIDINGS_RESERVED_EVENT: body({ event: 'sync' }),
  TIDINGS_DATA_TOO_DEEP: { change: () => ({ body: `{"to":"all","data":${'['.repeat(2000)}${']'.repeat(2000)}}` }) },
  TIDINGS_BAD_IDEMPOTENCY_KEY: { change: () => ({ headers: { 'idempotency-key': 'a b' } }) },
  TIDINGS_BAD_KEEP: body({ keep: 'forever' }),
  TIDINGS_BAD_TTL: body({ ttl: 0.5 }),
  TIDINGS_BAD_KEY: body({ key: '' }),
  TIDINGS_BAD_POSITION: {
    change: ({ method, path, body }) => body === undefined
      ? { path: method === 'GET' ? `${path.split('?')[0]}?before=x&id=x` : path.replace(/\d{16}/, 'x') }
      : { body: 'upTo' in body ? { upTo: 'x' } : { to: body.to, id: 'x' } }
  },
  TIDINGS_TOO_MANY_GROUPS: { first: async (_route, { call }) => await call('PUT', '/api/users/42/groups', { body: { groups: Array.from({ length: 1000 }, (_, i) => `g${i}`) } }) },
  TIDINGS_NO_NOTIFICATION: {},
  TIDINGS_TOO_MANY_MARKS: { alter: (broker) => { broker.mark = async () => { throw new TooManyMarks() } } },
  TIDINGS_DATA_TOO_LARGE: body({ data: 'x'.repeat(65_536) }),
  TIDINGS_FAN_OUT_TOO_LARGE: body({ to: Array.from({ length: 200 }, (_, i) => `user:${i}`), data: 'x'.repeat(50_000) }),
  TIDINGS_BODY_TOO_LARGE: { change: ({ body }) => ({ body: JSON.stringify(body).padEnd(2_200_000), headers: { connection: 'close' } }) },
  TIDINGS_UNSUPPORTED_MEDIA_TYPE: { change: () => ({ headers: { 'content-type': 'text/plain' } }) },
  TIDINGS_TOO_MANY_REQUESTS: { env: { PUBLISH_PER_MINUTE: '1', INBOX_PER_MINUTE: '1', CONNECTS_PER_MINUTE: '1' }, first: ask },
  TIDINGS_BUSY: { first: async (_route, { app }) => { await app.hub.drain(0) }, change: () => ({ headers: { 'tidings-failover': '503' } }) },
  TIDINGS_KEYS_UNAVAILABLE: {
    // Nobody listens on port 1.
    issuer: { ...createIssuer('RS256'), env: { JWKS_URL: 'http://127.0.0.1:1/keys' } },
    change: ({ id }, { issuer }) => ({ token: issuer.sign({ alg: 'RS256', kid: '1' }, { sub: id, exp: 9_999_999_999 }) })
  },
  TIDINGS_UNAVAILABLE: failing(() => new Unavailable('away for the test')),
  TIDINGS_UNCERTAIN: failing(() => new Uncertain('no answer for the test'))
}

function routesOf (service: Service): Map<Route, Set<string>> {
  const { paths } = service.app.swagger() as unknown as { paths: Record<string, Record<string, any>> }
  return new Map(Object.entries(paths).flatMap(([path, operations]) => Object.entries(operations).map(([method, { operationId: id, requestBody, responses, parameters = [] }]) => {
    const { example, examples } = requestBody?.content['application/json'] ?? {}
    const user = path.includes('/subscribe/') ? id : '42'
    const query = parameters.filter((parameter: any) => parameter.in === 'query' && parameter.required).map((parameter: any) => `${parameter.name}=${parameter.example}`)
    const url = path.replace('{userId}', user).replace('{group}', 'one-more').replace('{id}', '1763794001222333')
    const codes = Object.entries<any>(responses).filter(([status]) => Number(status) >= 400).flatMap(([, response]) => codesOf(response))
    const route: Route = {
      id,
      method: method.toUpperCase(),
      path: query.length > 0 ? `${url}?${query}` : url,
      body: example ?? (examples === undefined ? undefined : Object.values<any>(examples)[0].value),
      token: service.token({ sub: id, scope: SCOPE })
    }
    return [route, new Set(codes)] as const
  })))
}

let count = 0
for (const [code, { change = () => ({}), first, ...options }] of Object.entries(recipes) as Array<[ErrorCode, Recipe]>) {
  t.test(`OpenAPI, ${code}: every route that lists it answers it`, async (t) => {
    const service = await startService(t, options)
    const routes = [...routesOf(service)].filter(([, codes]) => codes.has(code)).map(([route]) => route)
    t.ok(routes.length > 0)
    for (const route of routes) {
      // Of another route without a body, it is the lack of Host (wire.test.ts).
      if (code === 'TIDINGS_BAD_REQUEST' && route.body === undefined && route.path !== '/readyz') continue
      count++
      await first?.(route, service)
      assertError(t, await ask(route, service, change(route, service)), code, route.id)
    }
  })
}

t.test('OpenAPI, codes: all that a route lists are asked for here', async (t) => {
  const all = new Set([...routesOf(await startService(t)).values()].flatMap((codes) => [...codes]))
  all.delete('TIDINGS_NOT_FOUND') // the other port of OPS_PORT
  t.same([...all].sort(), Object.keys(recipes).sort())
  t.ok(count > 200, `${count} requests`)
})
