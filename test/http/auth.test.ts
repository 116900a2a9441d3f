// Who is let in: tokens good and bad, the three algorithms, header and cookie, claims, scopes, and whose stream it is.
import { createHmac } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { badTokens, createIssuer, MANAGE, PUBLISH, type Algorithm, type Claims } from '../fixtures/tokens.ts'
import { eventually } from '../fixtures/wait.ts'
import { assertError, HANDLED, show, startService } from './service.ts'

const SUBSCRIBE = '/api/notifications/subscribe'
const now = () => Math.floor(Date.now() / 1000)
const codeOf: Record<string, 'TIDINGS_TOKEN_EXPIRED' | 'TIDINGS_TOKEN_MISSING'> = { expired: 'TIDINGS_TOKEN_EXPIRED', empty: 'TIDINGS_TOKEN_MISSING' }

for (const algorithm of ['HS256', 'RS256', 'ES256'] satisfies Algorithm[]) {
  t.test(`token, ${algorithm} with issuer and audience: good ones are let in, every bad one is refused`, async (t) => {
    const issuer = createIssuer(algorithm, { issuer: 'https://login.example', audience: 'tidings' })
    const service = await startService(t, { issuer })
    for (const via of ['header', 'cookie'] as const) {
      const client = service.client(t, { sub: 'good' }, { via })
      t.equal((await client.live()).json.resume, 'fresh', `a good one in the ${via}`)
    }
    for (const { name, token } of badTokens(issuer, { scope: PUBLISH })) {
      const code = codeOf[name] ?? 'TIDINGS_TOKEN_INVALID'
      const inHeader = await service.call('GET', SUBSCRIBE, { token })
      assertError(t, inHeader, code, `${name}, in the header`)
      if (token !== '') t.notOk(inHeader.text.includes(token), `${name}: the answer does not repeat it`)
      assertError(t, await service.call('GET', SUBSCRIBE, { token: null, headers: { cookie: `tidings_token=${token}` } }), code, `${name}, in the cookie`)
      assertError(t, await service.call('POST', '/api/notifications', { token, body: { to: 'all', data: 1 } }), code, `${name}, publishing`)
    }
    t.equal(await service.metric('tidings_published_total'), 0, 'nothing was published')
  })
}

t.test('token, HMAC over the public key in every way it may be written (RFC 8725, 2.1): refused', async (t) => {
  for (const algorithm of ['RS256', 'ES256'] satisfies Algorithm[]) {
    const issuer = createIssuer(algorithm)
    const service = await startService(t, { issuer })
    const pem = issuer.env.JWT_PUBLIC_KEY!
    const payload = issuer.token({ sub: 'admin' }).split('.')[1]
    for (const [name, key] of Object.entries({ 'as it is': pem, trimmed: pem.trim(), 'on one line': pem.trim().replaceAll('\n', '\\n'), CRLF: pem.replaceAll('\n', '\r\n') })) {
      for (const [alg, hash] of [['HS256', 'sha256'], ['HS384', 'sha384'], ['HS512', 'sha512']] as const) {
        const text = `${Buffer.from(JSON.stringify({ alg, typ: 'JWT' })).toString('base64url')}.${payload}`
        const token = `${text}.${createHmac(hash, key).update(text).digest('base64url')}`
        assertError(t, await service.call('GET', SUBSCRIBE, { token }), 'TIDINGS_TOKEN_INVALID', `${alg}, ${algorithm} key ${name}`)
      }
    }
  }
})

t.test('token, public key given on one line with \\n: works as the PEM does', async (t) => {
  const issuer = createIssuer('ES256')
  issuer.env.JWT_PUBLIC_KEY = issuer.env.JWT_PUBLIC_KEY!.trim().replaceAll('\n', '\\n')
  const service = await startService(t, { issuer })
  t.ok(await service.client(t).live())
})

t.test('token, none: 401 that says what to send', async (t) => {
  const service = await startService(t)
  const ways: Record<string, [path: string, headers: Record<string, string>]> = {
    nothing: [SUBSCRIBE, {}],
    'another scheme': [SUBSCRIBE, { authorization: 'Basic NDI6c2VjcmV0' }],
    'a cookie of another name': [SUBSCRIBE, { cookie: `token=${service.token()}` }],
    'a token in the URL': [`${SUBSCRIBE}?token=${service.token()}&access_token=${service.token()}&authorization=Bearer%20${service.token()}`, {}]
  }
  for (const [name, [path, headers]] of Object.entries(ways)) {
    assertError(t, await service.call('GET', path, { token: null, headers }), 'TIDINGS_TOKEN_MISSING', name)
  }
  const routes = [
    'GET /api/notifications/subscribe', 'GET /api/notifications/subscribe/42', 'POST /api/notifications', 'GET /api/users/42/groups',
    'PUT /api/users/42/groups', 'PUT /api/users/42/groups/g', 'DELETE /api/users/42/groups/g', 'GET /api/users/42/presence'
  ]
  for (const route of routes) {
    const [method = '', path = ''] = route.split(' ')
    assertError(t, await service.call(method, path, { token: null }), 'TIDINGS_TOKEN_MISSING', route)
  }
})

t.test('token, header: the scheme in any case, one blank behind it or several (RFC 9110, 11.4)', async (t) => {
  const service = await startService(t)
  for (const scheme of ['Bearer ', 'bearer  ', 'BEARER     ']) {
    t.equal((await service.call('GET', '/api/notifications', { token: null, headers: { authorization: scheme + service.token() } })).status, 200, show(scheme))
  }
})

t.test('token, cookie: of the name that TOKEN_COOKIE says; the header goes before it', async (t) => {
  const service = await startService(t, { env: { TOKEN_COOKIE: 'session.id' } })
  t.ok(await service.client(t, {}, { via: 'cookie', cookieName: 'session.id' }).live())
  const cookie = `other=1; session.id=${service.token({ sub: 'cookie' })}; last=2`
  const own = (sub: string, headers: Record<string, string>) => service.client(t, { sub: 'header' }, { path: `${SUBSCRIBE}/${sub}`, headers, reconnect: false }).opened()
  const quoted = cookie.replace(/session.id=([^;]*)/, 'session.id="$1"')
  t.equal((await service.call('GET', '/api/notifications/position', { token: null, headers: { cookie: quoted } })).status, 200, 'a value may stand in quotes')
  t.equal((await own('header', { Cookie: cookie })).status, 200, 'the user of the header')
  t.equal((await own('cookie', { Cookie: cookie })).status, 403, 'is not the user of the cookie')
  assertError(t, await service.call('GET', SUBSCRIBE, { token: 'bad', headers: { cookie } }), 'TIDINGS_TOKEN_INVALID', 'a bad header is not made good by a cookie')
})

t.test('token, cookie, sent twice and good twice: the newest counts, which is that of who has signed in since, or after a logout', async (t) => {
  const service = await startService(t)
  const cookieOf = (claims: Claims) => `tidings_token=${service.token(claims)}`
  const ask = async (path: string, cookies: string[]) => (await service.call('GET', path, { token: null, headers: { cookie: cookies.join('; '), 'tidings-user': 'ann' } })).status
  const [bob, ann, early] = [cookieOf({ sub: 'bob', iat: now() - 100 }), cookieOf({ sub: 'ann', iat: now() - 50 }), cookieOf({ sub: 'ann', iat: now() - 200 })]
  for (const cookies of [[bob, ann], [ann, bob], [early, bob, ann]]) t.equal(await ask('/api/notifications/position', cookies), 200, 'not the inbox of bob')
  t.equal((await service.call('DELETE', '/api/users/ann/streams')).status, 204)
  const after = cookieOf({ sub: 'ann', iat: now() + 2 })
  for (const cookies of [[early, after], [after, ann], [ann, early, after]]) {
    t.equal(await ask('/api/notifications/position', cookies), 200, 'the older one is from before the logout')
    const client = service.client(t, {}, { headers: { Authorization: 'Basic abc', Cookie: cookies.join('; ') }, path: `${SUBSCRIBE}/ann`, reconnect: false })
    t.ok(await client.live())
  }
  t.equal(await ask('/api/notifications/position', [early]), 401)
  t.equal(await ask('/api/notifications/position', [early, after]), 200, 'one that is known as revoked')
})

t.test('token, cookie, sent twice: one that is good counts, whatever stands before it, and the bad one stays bad', async (t) => {
  const service = await startService(t)
  const bad = 'tidings_token=bad'
  const old = `tidings_token=${service.token({ exp: 1_700_000_000 })}`
  const good = `tidings_token=${service.token({ sub: '42' })}`
  const ask = async (cookie: string) => await service.call('GET', '/api/notifications/position', { token: null, headers: { cookie } })
  for (const cookie of [`${bad}; ${good}`, `${old}; a=b; ${good}`, `${good}; ${bad}`, `${bad}; ${old}; ${good}`]) t.equal((await ask(cookie)).status, 200, cookie.slice(0, 30))
  assertError(t, await ask(bad), 'TIDINGS_TOKEN_INVALID')
  assertError(t, await ask(old), 'TIDINGS_TOKEN_EXPIRED')
  assertError(t, await ask(`${old}; ${bad}`), 'TIDINGS_TOKEN_EXPIRED', 'the first of several that are bad')
  assertError(t, await ask(`${bad}; ${bad}; ${bad}; ${bad}; ${good}`), 'TIDINGS_TOKEN_INVALID', 'no more than four are looked at')
  assertError(t, await service.call('GET', SUBSCRIBE, { token: 'bad', headers: { cookie: `${bad}; ${good}` } }), 'TIDINGS_TOKEN_INVALID', 'a header alone decides')
})

t.test('token, claims that are not what they should be: 401', async (t) => {
  const service = await startService(t)
  const names = (count: number) => Array.from({ length: count }, (_, i) => i.toString(36))
  const bad: Record<string, Claims> = {
    'sub a number': { sub: 42 },
    'sub null': { sub: null },
    'sub an array': { sub: ['42'] },
    'sub with a newline': { sub: 'a\nb' },
    'sub with NUL': { sub: 'a\0' },
    'sub with a C1 control character': { sub: 'a\u0085' },
    'sub of 129 characters': { sub: 'é'.repeat(129) },
    'sub of 129 emoji': { sub: '😀'.repeat(129) },
    'sub with half an emoji': { sub: 'a\ud83d' },
    'groups a string': { groups: 'Complaints' },
    'groups an object': { groups: { 0: 'Complaints' } },
    'groups null': { groups: null },
    'groups with a number': { groups: ['a', 1] },
    'groups with an empty name': { groups: [''] },
    'groups with a name of 129 characters': { groups: ['g'.repeat(129)] },
    'groups with a control character': { groups: ['a\tb'] },
    '1,001 groups': { groups: names(1001) },
    'scope an array': { scope: [PUBLISH] },
    'scope an object': { scope: {} },
    'exp a string': { exp: String(now() + 60) },
    'exp null': { exp: null },
    'exp true': { exp: true },
    'exp an object': { exp: {} },
    'nbf a string': { nbf: 'later' },
    'nbf of tomorrow': { nbf: now() + 86_400 },
    'nbf of absurd size': { nbf: 1e300 },
    'exp of absurd size': { exp: 1e300 },
    'exp in milliseconds': { exp: Date.now() + 60_000 },
    'exp in more than 100 years': { exp: now() + 101 * 366 * 86_400 },
    'exp long ago beyond all dates': { exp: -1e300 },
    'iat in milliseconds': { iat: Date.now() },
    'iat of absurd size': { iat: 1e300 },
    'iat a string': { iat: 'yesterday' },
    'iat null': { iat: null },
    'iat an object': { iat: {} }
  }
  for (const [name, claims] of Object.entries(bad)) {
    assertError(t, await service.call('GET', SUBSCRIBE, { token: service.token(claims) }), 'TIDINGS_TOKEN_INVALID', name)
  }
  for (const exp of [0, -1, 1, now()]) assertError(t, await service.call('GET', SUBSCRIBE, { token: service.token({ exp }) }), 'TIDINGS_TOKEN_EXPIRED', `exp ${exp}`)
  const good: Record<string, Claims> = {
    'sub of 128 emoji': { sub: '😀'.repeat(128) },
    'sub of 128 characters': { sub: 'u'.repeat(128) },
    'sub with a colon, a slash and a space': { sub: 'a:b/c d' },
    '1,000 groups': { sub: 'many', groups: names(1000) },
    'a group of 128 emoji': { groups: ['😀'.repeat(128)] },
    'no iat, no groups, no scope': { iat: undefined },
    'exp in 99 years': { exp: now() + 99 * 365 * 86_400 },
    'exp with a fraction': { exp: now() + 60.5 }
  }
  for (const [name, claims] of Object.entries(good)) {
    const client = service.client(t, claims, { reconnect: false })
    t.equal((await client.live()).json.resume, 'fresh', name)
    client.close()
  }
})

t.test('token, times in milliseconds: the sentence says seconds', async (t) => {
  const service = await startService(t)
  for (const claim of ['iat', 'exp', 'nbf']) {
    const { body } = await service.call('GET', SUBSCRIBE, { token: service.token({ [claim]: Date.now() + 60_000 }) })
    t.match(body.message, new RegExp(`${claim} must be in seconds`))
  }
})

t.test('token, not valid yet: a stream is told to come back, and is let in then; other routes are told when', async (t) => {
  const service = await startService(t)
  const nbf = now() + 2
  const token = service.token({ sub: 'early', scope: PUBLISH, nbf })
  assertError(t, await service.call('POST', '/api/notifications', { token, body: { to: 'all', data: 1 } }), 'TIDINGS_TOKEN_NOT_YET')
  const client = connect(t, { url: service.url, token, retryCapMs: 100 })
  t.match(await client.ended(1), { status: 200, body: /^retry: \d+\nevent: ping\ndata: {}\n\n$/ })
  await client.live()
  t.ok(Date.now() >= nbf * 1000)
  t.equal(client.state, 'open')
  const ahead = service.client(t, { sub: 'ahead', iat: now() + 30 }, { reconnect: false })
  t.ok(await ahead.live(), 'an issuer whose clock runs ahead')
})

t.test('scope: exactly the one that the route needs', async (t) => {
  const service = await startService(t)
  const publish = async (scope: unknown) => await service.call('POST', '/api/notifications', { token: service.token({ scope }), body: { to: 'all', data: 1 } })
  const manage = async (scope: unknown) => await service.call('GET', '/api/users/42/groups', { token: service.token({ scope }) })
  for (const scope of [undefined, '', 'notifications', `${PUBLISH}er`, `x${PUBLISH}`, PUBLISH.toUpperCase(), PUBLISH.replace(':', '.'), `${PUBLISH},${MANAGE}`, '*']) {
    assertError(t, await publish(scope), 'TIDINGS_SCOPE_MISSING', `publish with ${scope}`)
    assertError(t, await manage(scope), 'TIDINGS_SCOPE_MISSING', `manage with ${scope}`)
  }
  assertError(t, await publish(MANAGE), 'TIDINGS_SCOPE_MISSING', 'who manages may not publish')
  assertError(t, await manage(PUBLISH), 'TIDINGS_SCOPE_MISSING', 'who publishes may not manage')
  for (const route of ['PUT /api/users/42/groups', 'PUT /api/users/42/groups/g', 'DELETE /api/users/42/groups/g', 'GET /api/users/42/presence']) {
    const [method = '', path = ''] = route.split(' ')
    assertError(t, await service.call(method, path, { token: service.token({ sub: '42', scope: PUBLISH }) }), 'TIDINGS_SCOPE_MISSING', route)
  }
  t.equal((await publish(PUBLISH)).status, 202)
  t.equal((await publish(`${MANAGE} other ${PUBLISH}`)).status, 202, 'one of several')
  t.equal((await manage(`a ${MANAGE}`)).status, 200)
})

t.test('scope, missing: said before the body is looked at', async (t) => {
  const service = await startService(t)
  assertError(t, await service.call('POST', '/api/notifications', { token: service.token(), body: '{' }), 'TIDINGS_SCOPE_MISSING')
})

t.test('subscribe/:userId: one\'s own only', async (t) => {
  const service = await startService(t)
  const open = (sub: string, path: string) => service.client(t, { sub }, { path: `${SUBSCRIBE}/${path}`, reconnect: false })
  for (const sub of ['42', 'a/b c:d', '😀'.repeat(128), 'Ünï', '%41', '..a', 'constructor']) {
    t.equal((await open(sub, encodeURIComponent(sub)).live()).json.resume, 'fresh', show(sub))
  }
  for (const [sub, path] of [['42', '43'], ['42', '4'], ['42', '420'], ['ann', 'Ann'], ['42', '42%00'], ['42', '%2042'], ['é', 'e%CC%81'], ['42', 'all']] as const) {
    assertError(t, await service.call('GET', `${SUBSCRIBE}/${path}`, { token: service.token({ sub }) }), 'TIDINGS_NOT_YOUR_STREAM', `${sub} asks for ${path}`)
  }
  assertError(t, await service.call('GET', `${SUBSCRIBE}/`, { token: service.token() }), 'TIDINGS_NOT_FOUND', 'a slash and no id')
  const operator = await service.call('GET', `${SUBSCRIBE}/42`)
  assertError(t, operator, 'TIDINGS_NOT_YOUR_STREAM', 'no scope opens another\'s stream')
})

t.test('token, remembered since it was verified, is refused when it expires, and opens nothing where it does not stand', async (t) => {
  const issuer = createIssuer('HS256')
  const service = await startService(t, { issuer })
  const exp = now() + 2
  const claims = { sub: 'ann', scope: PUBLISH, exp }
  const ask = (token: string | null, headers: Record<string, string> = {}) => service.call('POST', '/api/notifications', { token, headers, body: { to: 'all', data: 1 } })
  const [inHeader, inCookie] = [issuer.token(claims), issuer.token({ ...claims, sub: 'bob' })]
  const cookie = { cookie: `tidings_token=${inCookie}` }
  for (let i = 0; i < 2; i++) {
    t.equal((await ask(inHeader)).status, 202)
    t.equal((await ask(null, cookie)).status, 202)
    t.equal((await ask(null, { authorization: 'Basic abc', ...cookie })).status, 202, 'beside a header that is no bearer\'s')
  }
  assertError(t, await ask(null, { authorization: 'Basic abc' }), 'TIDINGS_TOKEN_MISSING', 'the same header without the cookie')
  assertError(t, await ask(null, { authorization: `Basic ${inHeader}` }), 'TIDINGS_TOKEN_MISSING', 'the token under another scheme')
  const [header, payload, signature] = inHeader.split('.') as [string, string, string]
  const forged = `${header}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`
  assertError(t, await ask(forged), 'TIDINGS_TOKEN_INVALID', 'another signature')
  await eventually(() => ask(inHeader), ({ status }) => status === 401, { what: 'the end of the token' })
  t.ok(Date.now() >= exp * 1000)
  assertError(t, await ask(inHeader), 'TIDINGS_TOKEN_EXPIRED', 'in the header')
  assertError(t, await ask(null, cookie), 'TIDINGS_TOKEN_EXPIRED', 'in the cookie')
})

t.test('token, verified once, is remembered: a storm of reconnects verifies none again, in header or cookie', async (t) => {
  const service = await startService(t, { issuer: createIssuer('RS256'), env: { CONNECTS_PER_MINUTE: '0' } })
  let verified = 0
  const count = (message: unknown): void => {
    // The method of all requests, put there by @fastify/jwt: found on the first one, since the app does not show it.
    let owner = (message as { request: FastifyRequest }).request
    while (!Object.hasOwn(owner, 'jwtVerify')) owner = Object.getPrototypeOf(owner)
    const { jwtVerify } = owner
    owner.jwtVerify = function (this: FastifyRequest, ...args: unknown[]) {
      // Asked for a promise it calls itself, with a callback.
      if (typeof args.at(-1) !== 'function') verified++
      return Reflect.apply(jwtVerify, this, args)
    } as typeof jwtVerify
    unsubscribe(HANDLED, count)
  }
  subscribe(HANDLED, count)
  t.equal((await service.call('GET', '/livez', { token: null })).status, 200)
  const users = Array.from({ length: 20 }, (_, i) => ({ token: service.token({ sub: `user-${i}` }), via: i % 2 === 0 ? 'header' : 'cookie' } as const))
  for (const storm of [1, 2, 3]) {
    const clients = users.map((user) => connect(t, { ...user, url: service.url, reconnect: false }))
    for (const client of clients) await client.live()
    t.equal(verified, users.length, `storm ${storm}: each token was verified once, in all`)
    for (const client of clients) client.close()
  }
  t.ok(await service.client(t, { sub: 'someone else' }).live())
  t.equal(verified, 21, 'nor is a new one taken for another')
})
