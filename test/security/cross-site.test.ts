// Other people's pages: CORS for the origins that are allowed, on every route and every answer; a cookie does not speak for a foreign one.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { MANAGE, PUBLISH } from '../fixtures/tokens.ts'
import { startNodes } from './nodes.ts'

const SUBSCRIBE = '/api/notifications/subscribe'
const APP = 'https://app.example'
const EVIL = ['https://evil.example', 'http://app.example', 'https://app.example:444', 'https://app.example.evil.example', 'https://sub.app.example', 'https://APP.example', 'null', '*', 'https://app.example/']
const redis = await startRedis(t, { started: false })
const all = await startNodes(t, 'memory', redis, { count: 1, env: { CORS_ORIGINS: `${APP},https://other.example`, CONNECTS_PER_MINUTE: '500' } })
const ROUTES = [
  ['GET', SUBSCRIBE], ['GET', `${SUBSCRIBE}/ann`], ['POST', '/api/notifications/tickets'], ['POST', '/api/notifications'], ['GET', '/api/users/ann/groups'],
  ['PUT', '/api/users/ann/groups'], ['PUT', '/api/users/ann/groups/g'], ['DELETE', '/api/users/ann/groups/g'], ['GET', '/api/users/ann/presence'], ['DELETE', '/api/users/bob/streams']
] as const
const scope = `${PUBLISH} ${MANAGE}`
const body = (path: string): unknown => path === '/api/notifications' ? { to: 'user:nobody', data: 1 } : path.endsWith('/groups') ? { groups: [] } : undefined
/** The status, and for a stream no more than its head. */
async function ask (t: any, method: string, path: string, headers: Record<string, string>) {
  if (method === 'GET' && path.startsWith(SUBSCRIBE)) {
    const client = all.bare(t, { path, headers, reconnect: false })
    const { status, headers: found } = await client.opened()
    client.close()
    return { status, get: (name: string) => found[name] ?? null, body: '' as any }
  }
  const answer = await all.call(method, path, { token: null, headers, ...(method !== 'GET' && body(path) !== undefined && { body: body(path) }) })
  return { status: answer.status, get: (name: string) => answer.headers.get(name), body: answer.body }
}

t.test('preflight, from an origin that is allowed, is granted with credentials on every route', async (t) => {
  for (const [method, path] of ROUTES) {
    const answer = await all.call('OPTIONS', path, {
      token: null, headers: { origin: APP, 'access-control-request-method': method, 'access-control-request-headers': 'authorization,content-type,idempotency-key,last-event-id' }
    })
    t.equal(answer.status, 204, `${method} ${path}`)
    const get = (name: string) => answer.headers.get(`access-control-${name}`)
    t.same([get('allow-origin'), get('allow-credentials')], [APP, 'true'])
    t.ok(get('allow-methods')!.split(/, ?/).includes(method))
    t.match(get('allow-headers'), /authorization.*content-type.*idempotency-key/)
    t.match(answer.headers.get('vary'), /origin/i)
  }
})

t.test('preflight, from any other origin, grants nothing', async (t) => {
  for (const origin of EVIL) {
    for (const [method, path] of ROUTES) {
      const answer = await all.call('OPTIONS', path, { token: null, headers: { origin, 'access-control-request-method': method } })
      t.not(answer.headers.get('access-control-allow-origin'), origin)
      t.notOk(answer.headers.get('access-control-allow-origin'), `${origin}: ${method} ${path}`)
    }
  }
})

t.test('answers, to an origin that is allowed, can be read by it: good ones, refusals and hints to come back', async (t) => {
  const token = all.token({ sub: 'ann', scope })
  const good = { origin: APP, authorization: `Bearer ${token}` }
  const asked = [
    ...await Promise.all(ROUTES.map(async ([method, path]) => await ask(t, method, path, good))),
    ...await Promise.all(ROUTES.map(async ([method, path]) => await ask(t, method, path, { origin: APP, authorization: 'Bearer x' }))),
    await ask(t, 'GET', SUBSCRIBE, { ...good, 'last-event-id': '!closed' }),
    await ask(t, 'GET', `${SUBSCRIBE}/bob`, good),
    await ask(t, 'GET', '/nowhere', good)
  ]
  t.same([...new Set(asked.map(({ status }) => status))].sort(), [200, 201, 202, 204, 401, 403, 404])
  for (const { status, get } of asked) {
    t.same([get('access-control-allow-origin'), get('access-control-allow-credentials')], [APP, 'true'], String(status))
    t.match(get('vary'), /origin/i)
  }
  const limited = await startNodes(t, 'memory', redis, { count: 1, env: { CORS_ORIGINS: APP, CONNECTS_PER_MINUTE: '1', PUBLISH_PER_MINUTE: '1' } })
  for (const wanted of [undefined, /^retry/]) {
    const client = limited.client(t, { sub: 'ann' }, { headers: { Origin: APP }, reconnect: false })
    const { headers } = await client.opened()
    if (wanted) t.match((await client.ended()).body, wanted)
    t.equal(headers['access-control-allow-origin'], APP)
  }
  for (const status of [202, 429]) {
    const answer = await limited.call('POST', '/api/notifications', { body: { to: 'all', data: 1 }, headers: { origin: APP } })
    t.equal(answer.status, status)
    t.equal(answer.headers.get('access-control-allow-origin'), APP)
    t.match(answer.headers.get('access-control-expose-headers'), /retry-after/)
  }
})

t.test('answers, to any other origin, cannot be read by it', async (t) => {
  for (const origin of EVIL) {
    for (const [method, path] of ROUTES) {
      const { get } = await ask(t, method, path, { origin, authorization: `Bearer ${all.token({ sub: 'ann', scope })}` })
      t.notOk(get('access-control-allow-origin'), `${origin}: ${method} ${path}`)
    }
  }
})

t.test('CORS_ORIGINS, empty, allows no origin but our own', async (t) => {
  const own = await startNodes(t, 'memory', redis, { count: 1 })
  const answer = await own.call('GET', '/livez', { headers: { origin: APP } })
  t.notOk([...answer.headers.keys()].some((name) => name.startsWith('access-control')))
  const cookie = `tidings_token=${own.token({ sub: 'ann' })}`
  t.equal((await own.call('POST', '/api/notifications/tickets', { token: null, headers: { cookie, origin: APP } })).status, 403)
  t.equal((await own.call('POST', '/api/notifications/tickets', { token: null, headers: { cookie, origin: own.nodes[0]!.url } })).status, 201)
})

t.test('cookie, sent for a page of another origin, is refused on every route, and nothing is done', async (t) => {
  // The tests above have logged bob out; a token of that very second counts as older.
  await new Promise((resolve) => { setTimeout(resolve, 1010 - Date.now() % 1000) })
  const client = all.client(t, { sub: 'bob' })
  await client.live()
  const cookie = `tidings_token=${all.token({ sub: 'ann', scope })}`
  const foreign: Record<string, string>[] = [
    ...EVIL.map((origin) => ({ origin })),
    ...EVIL.map((origin) => ({ origin, 'sec-fetch-site': 'cross-site' })),
    { origin: 'https://sub.app.example', 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'cross-site' }, // <img>, <script>: no Origin
    { 'sec-fetch-site': 'same-site' }
  ]
  for (const headers of foreign) {
    for (const [method, path] of ROUTES) {
      const { status, body } = await ask(t, method, path, { ...headers, cookie })
      t.equal(status, 403, `${method} ${path} ${JSON.stringify(headers)}`)
      if (body !== '') t.equal(body.code, 'TIDINGS_CROSS_SITE')
    }
  }
  t.equal(client.state, 'open', 'bob was not logged out')
})

t.test('cookie, sent for our own page, an allowed one, or by a program, is taken', async (t) => {
  const cookie = `tidings_token=${all.token({ sub: 'ann', scope })}`
  const own = all.nodes[0]!.url
  const proxied = { origin: 'https://tidings.example', 'sec-fetch-site': 'same-origin' } // by a proxy that sends another Host
  for (const headers of [proxied, { origin: own, 'sec-fetch-site': 'same-origin' }, { origin: own }, { 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }, { origin: APP, 'sec-fetch-site': 'cross-site' }, {}] as Record<string, string>[]) {
    for (const [method, path] of ROUTES) {
      const { status = 0 } = await ask(t, method, path, { ...headers, cookie })
      t.ok(status >= 200 && status < 300, `${method} ${path} ${JSON.stringify(headers)}: ${status}`)
    }
  }
})

t.test('cookie, with the prefix __Host-: what a page of a subdomain could set beside it counts for nothing', async (t) => {
  const { bare, token } = await startNodes(t, 'memory', redis, { count: 1, env: { TOKEN_COOKIE: '__Host-tidings' } })
  const newer = token({ sub: 'eve', iat: Math.floor(Date.now() / 1000) + 1 })
  const cookie = `tidings=${newer}; tidings_token=${newer}; __host-tidings=${newer}; __Host-tidings=${token({ sub: 'ann' })}`
  t.ok(await bare(t, { path: `${SUBSCRIBE}/ann`, headers: { cookie }, reconnect: false }).live())
})

t.test('header, sent for a page of another origin, is no cookie: only who has the token can send it', async (t) => {
  const { status } = await ask(t, 'POST', '/api/notifications/tickets', { origin: 'https://evil.example', authorization: `Bearer ${all.token()}` })
  t.equal(status, 201)
  for (const authorization of ['Bearer', 'Bearer ', 'Bearer  x', 'Basic x', 'bearer', 'Bearer\tx', '']) {
    const answer = await ask(t, 'POST', '/api/notifications/tickets', { origin: 'https://evil.example', authorization, cookie: `tidings_token=${all.token()}` })
    t.ok(answer.status === 401 || answer.status === 403, `"${authorization}" does not open a way around for the cookie: ${answer.status}`)
  }
})

t.test('a form of another page, with a body that needs no preflight, publishes nothing', async (t) => {
  const cookie = `tidings_token=${all.token({ sub: 'ann', scope })}`
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', '']) {
    const answer = await fetch(`${all.nodes[0]!.url}/api/notifications`, { method: 'POST', body: '{"to":"all","data":1}', headers: { cookie, 'content-type': type } })
    t.ok([400, 415].includes(answer.status), `${type}: ${answer.status}, even without a word of where it comes from`)
  }
})

t.test('security headers, on every kind of answer, the stream included', async (t) => {
  const authorization = `Bearer ${all.token({ sub: 'ann', scope })}`
  for (const [method, path, headers] of [
    ['GET', SUBSCRIBE, { authorization }], ['GET', SUBSCRIBE, {}], ['GET', SUBSCRIBE, { 'last-event-id': '!closed' }], ['GET', '/api/users/ann.js/groups', { authorization }], ['GET', '/api/users/ann/presence', { authorization }],
    ['POST', '/api/notifications', { authorization }], ['GET', '/livez', {}], ['GET', '/nowhere', {}], ['DELETE', '/api/users/bob/streams', { authorization }],
    ['GET', '/api/%zz', {}], ['GET', `/api/users/${'x'.repeat(3000)}/groups`, {}], ['QUERY', '/livez', {}], ['PATCH', '/livez', {}], ['GET', '/livez', { 'x-long': 'x'.repeat(17_000) }]
  ] as [string, string, Record<string, string>][]) {
    const { get, status } = await ask(t, method, path, headers)
    const what = `${method} ${path} ${status}`
    t.equal(get('x-content-type-options'), 'nosniff', what)
    t.notOk(get('x-powered-by') ?? get('server'), what)
    t.match(get('cache-control'), /^no-store(, no-transform)?$/, what)
    // No document, and one answer of many thousands that stay open: the others would only cost memory.
    if (path === SUBSCRIBE) continue
    t.match(get('content-security-policy'), /default-src 'none'.*frame-ancestors 'none'/, what)
    t.equal(get('referrer-policy'), 'no-referrer', what)
    t.match(get('x-frame-options'), /^(DENY|SAMEORIGIN)$/, what)
  }
})

t.test('cookie, from a page of our own origin, however a proxy in front writes the host, speaks for its user', async (t) => {
  const behind = await startNodes(t, 'memory', redis, { count: 1, env: { TRUST_PROXY: 'loopback' } })
  const post = async (origin: string, host: string, proto: string) => (await behind.call('POST', '/api/notifications/tickets', {
    token: null, headers: { cookie: `tidings_token=${behind.token({ sub: 'ann' })}`, origin, 'x-forwarded-proto': proto, 'x-forwarded-host': host }
  })).status
  // Browsers leave the port of the scheme out, and write names in small letters; nginx's "$host:$server_port" does not.
  for (const [origin, host, proto] of [
    ['https://site.example', 'site.example:443', 'https'], ['http://site.example', 'site.example:80', 'http'], ['https://site.example', 'Site.Example', 'https'],
    ['https://site.example:8443', 'site.example:8443', 'https'], ['http://[2001:db8::1]', '[2001:DB8::1]:80', 'http']
  ] as const) t.equal(await post(origin, host, proto), 201, `${origin} of ${host}`)
  for (const [origin, host, proto] of [
    ['https://site.example', 'site.example:80', 'https'], ['https://site.example', 'site.example', 'http'], ['https://site.example', 'other.example:443', 'https'], ['null', '', 'https'], ['https://site.example', 'site.example@other.example', 'https']
  ] as const) t.equal(await post(origin, host, proto), 403, `${origin} not of ${proto} ${host}`)
})
