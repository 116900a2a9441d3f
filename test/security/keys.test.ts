// Keys from a key set: found by kid, rotated while streams are open, not stormed, and never chosen by the token.
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { PUBLISH } from '../fixtures/tokens.ts'
import { eventually } from '../fixtures/wait.ts'
import { createSigner, startKeyServer, type KeyServer } from './key-server.ts'
import { KEYS_UNAVAILABLE, startKeyed, TOKEN_INVALID, turnClocks } from './keyed-node.ts'

const redis = await startRedis(t, { started: false })
const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url')
const clock = turnClocks(t)
const start = async (t: Test, keys: KeyServer) => await startKeyed(t, redis, keys)

/** What a passing condition looks like: to an EventSource, and to everyone else. */
const LATER = { status: 'later', body: /^retry: \d+\nevent: ping\ndata: {}\n\n$/ }

t.test('key set, with an RSA and a P-256 key, is fetched once and serves both', async (t) => {
  const [rsa, ec] = [createSigner('RS256', 'rsa'), createSigner('ES256', 'ec')]
  const keys = await startKeyServer(t, [rsa.jwk, ec.jwk])
  const all = await start(t, keys)
  t.equal(keys.requests, 0, 'not before a token comes')
  for (const { token } of [rsa, ec, rsa, ec]) t.match(await all.stream(token()), { status: 'live' })
  t.equal((await all.publish(ec.token({ scope: PUBLISH }))).status, 202)
  t.equal(keys.requests, 1)
})

t.test('rotation, while streams are open: they stay, new keys are taken soon, withdrawn ones are dropped', async (t) => {
  const [first, second] = [createSigner('RS256', 'first'), createSigner('ES256', 'second')]
  const keys = await startKeyServer(t, [first.jwk])
  const all = await start(t, keys)
  const { client } = await all.stream(first.token())
  keys.keys = [first.jwk, second.jwk]
  t.match(await all.stream(second.token()), LATER, 'within 10 seconds of the last fetch: come back, not 401, which would end it for good')
  t.match(await all.publish(second.token({ scope: PUBLISH })), KEYS_UNAVAILABLE)
  t.equal(keys.requests, 1)
  clock.aheadMs += 10_500
  t.match(await all.stream(second.token()), { status: 'live' })
  t.match(await all.stream(first.token()), { status: 'live' })
  t.equal(keys.requests, 2)

  keys.keys = [second.jwk]
  clock.aheadMs += 300_000
  t.match(await all.stream(first.token()), { status: 'live' }, 'still known; this made it ask again')
  await eventually(async () => (await all.publish(first.token({ scope: PUBLISH }))).status, (status) => status === 503, { what: 'the answer, in which it is no more' })
  t.equal(keys.requests, 3)
  clock.aheadMs += 10_500
  t.match(await all.stream(first.token()), TOKEN_INVALID, 'withdrawn: refused, whatever was remembered of the token')
  t.match(await all.stream(second.token()), { status: 'live' })
  t.equal(client.state, 'open', 'the stream that was open is open')
  await all.publish(second.token({ scope: PUBLISH }))
  t.match(await client.next(), { json: 1 })
})

t.test('key server, away: known keys go on; an unknown one is a passing condition until it is back', async (t) => {
  const [known, fresh] = [createSigner('RS256', 'known'), createSigner('ES256', 'fresh')]
  const keys = await startKeyServer(t, [known.jwk])
  const all = await start(t, keys)
  await all.stream(known.token())
  await keys.stop()
  clock.aheadMs += 400_000
  for (const sub of ['1', '2', '3']) t.match(await all.stream(known.token({ sub })), { status: 'live' }, 'a token never seen, by a known key')
  t.match(await all.stream(fresh.token()), LATER)
  const refused = await all.publish(fresh.token({ scope: PUBLISH }))
  t.match(refused, KEYS_UNAVAILABLE)
  t.match(refused.headers.get('retry-after'), /^\d+$/)
  keys.keys = [known.jwk, fresh.jwk]
  await keys.start()
  clock.aheadMs += 10_500
  t.match(await all.stream(fresh.token()), { status: 'live' })
  t.match(await all.publish(fresh.token({ scope: PUBLISH })), { status: 202 })
})

t.test('key server, away when the node starts, or talking nonsense: passing, then good', async (t) => {
  const signer = createSigner('ES256', 'a')
  const keys = await startKeyServer(t, [signer.jwk])
  const all = await start(t, keys)
  await keys.stop()
  t.match(await all.stream(signer.token()), LATER, 'away')
  await keys.start()
  const elsewhere = await startKeyServer(t, [signer.jwk])
  const nonsense: Record<string, (response: any) => void> = {
    'no JSON': (response) => response.end('<html>'),
    'JSON that is no key set': (response) => response.end('{"keys":"all"}'),
    null: (response) => response.end('null'),
    500: (response) => response.writeHead(500).end(JSON.stringify({ keys: [signer.jwk] })),
    'a redirect': (response) => response.writeHead(302, { location: elsewhere.env.JWKS_URL }).end(),
    'a line that breaks': (response) => response.destroy()
  }
  for (const [what, say] of Object.entries(nonsense)) {
    clock.aheadMs += 10_500
    keys.answer = (_request, response) => { say(response) }
    t.match(await all.stream(signer.token()), LATER, what)
  }
  t.equal(elsewhere.requests, 0, 'a redirect is not followed')
  keys.answer = undefined
  clock.aheadMs += 10_500
  t.match(await all.stream(signer.token()), { status: 'live' })
})

t.test('unknown kid, in a storm of them, asks the key server once', async (t) => {
  const signer = createSigner('ES256', 'known')
  const keys = await startKeyServer(t, [signer.jwk])
  const all = await start(t, keys)
  await all.stream(signer.token())
  clock.aheadMs += 10_500
  const storm = async (round: string) => await Promise.all(Array.from({ length: 150 }, async (_, i) =>
    await all.call('POST', '/api/notifications', { token: signer.token({}, { kid: `${round}-${i}` }), body: {} })))
  const first = (await storm('first')).map(({ status }) => status)
  t.ok(first.includes(401) && first.every((status) => status === 401 || status === 503), 'who waited for the one answer knows that it is not there')
  t.equal(keys.requests, 2, 'one to begin with, one for the storm')
  t.ok((await storm('second')).every(({ status }) => status === 503), 'within the ten seconds: not asked, so not known')
  t.equal(keys.requests, 2)
  await keys.stop()
  clock.aheadMs += 10_500
  let knocks = 0
  keys.answer = (request) => {
    knocks++
    request.socket.destroy()
  }
  await keys.start()
  const startedMs = performance.now()
  t.ok((await storm('third')).every(({ status }) => status === 503))
  t.ok((await storm('fourth')).every(({ status }) => status === 503))
  // It is asked again after two seconds, and a busy machine may need longer for both storms.
  t.ok(knocks <= 2 + Math.floor((performance.now() - startedMs) / 2000), `a server that fails is not stormed either: ${knocks} requests`)
  t.match(await all.stream(signer.token()), { status: 'live' }, 'the known key is good all the time')
})

t.test('known kid, with an algorithm that its key is not for, does not storm a key server that fails', async (t) => {
  const signer = createSigner('ES256', 'known')
  const keys = await startKeyServer(t, [signer.jwk])
  const all = await start(t, keys)
  await all.stream(signer.token())
  clock.aheadMs += 10_500
  keys.answer = (_request, response) => { response.writeHead(500).end() }
  const startedMs = performance.now()
  for (let i = 0; i < 50; i++) {
    t.match(await all.call('POST', '/api/notifications', { token: signer.token({ sub: String(i) }, { alg: 'RS256' }), body: {} }), KEYS_UNAVAILABLE)
  }
  t.ok(keys.requests - 1 <= 1 + Math.floor((performance.now() - startedMs) / 2000), `${keys.requests} requests`)
  t.match(await all.stream(signer.token()), { status: 'live' }, 'the known key is good all the time')
})

t.test('algorithm and key, as the token would have them, are not followed', async (t) => {
  const [rsa, ec] = [createSigner('RS256', 'rsa'), createSigner('ES256', 'ec')]
  const keys = await startKeyServer(t, [rsa.jwk, ec.jwk, { kty: 'oct', kid: 'oct', alg: 'HS256', k: Buffer.from('k'.repeat(32)).toString('base64url') }])
  const all = await start(t, keys)
  await all.stream(rsa.token())
  const evil = createSigner('RS256', 'rsa')
  const theirs = await startKeyServer(t, [evil.jwk])
  const payload = rsa.token().split('.')[1]!
  const hmac = (key: string | Buffer, kid: string, alg = 'HS256') => {
    const text = `${encode({ alg, typ: 'JWT', kid })}.${payload}`
    return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`
  }
  const pem = rsa.issuer.env.JWT_PUBLIC_KEY!
  const bad = {
    'HS256 over the public key (RFC 8725, 2.1)': hmac(pem, 'rsa'),
    'HS256 over the public key, trimmed': hmac(pem.trim(), 'rsa'),
    'HS256 over the JWK': hmac(JSON.stringify(rsa.jwk), 'rsa'),
    'HS256 with a secret of the key set': hmac('k'.repeat(32), 'oct'),
    'HS256 over nothing': hmac('', ''),
    'RS256 said, HMAC made': hmac(pem, 'rsa', 'RS256'),
    'alg none': `${encode({ alg: 'none', kid: 'rsa' })}.${payload}.`,
    'alg NONE, with a signature': `${encode({ alg: 'NONE', kid: 'rsa' })}.${payload}.${rsa.token().split('.')[2]}`,
    'RS256 with the kid of the P-256 key': rsa.token({}, { kid: 'ec' }),
    'ES256 said with the kid of the RSA key': rsa.token({}, { alg: 'ES256' }),
    RS512: rsa.token({}, { alg: 'RS512' }),
    PS256: rsa.token({}, { alg: 'PS256' }),
    'alg an array': rsa.token({}, { alg: ['RS256'] }),
    'someone else\'s key under a known kid': evil.token(),
    'a key of their own (jwk)': evil.token({}, { jwk: evil.jwk }),
    'a key set of their own (jku)': evil.token({}, { jku: theirs.env.JWKS_URL }),
    'a certificate of their own (x5u)': evil.token({}, { x5u: theirs.env.JWKS_URL, x5c: ['AA=='] }),
    'a critical extension that we do not know (RFC 7515, 4.1.11)': rsa.token({}, { crit: ['exp2'], exp2: 1 })
  }
  for (const [what, token] of Object.entries(bad)) t.match(await all.stream(token), TOKEN_INVALID, what)
  t.equal(theirs.requests, 0, 'nobody went where the token pointed')
})

t.test('kid, of every odd kind, finds no key', async (t) => {
  const signer = createSigner('ES256', 'known')
  const keys = await startKeyServer(t, [signer.jwk])
  const all = await start(t, keys)
  await all.stream(signer.token())
  const odd: unknown[] = [undefined, null, '', 0, 1, true, {}, [], ['known'], { toString: 'known' }, '__proto__', 'constructor', 'Known', 'known ', 'known\0', '../../../dev/null', '/dev/null',
    'http://127.0.0.1:1/', "' OR '1'='1", '*', 'k'.repeat(4000)]
  for (const kid of odd) {
    clock.aheadMs += 10_500
    t.match(await all.stream(signer.token({}, { kid })), TOKEN_INVALID, `kid ${JSON.stringify(kid)?.slice(0, 40)}`)
  }
})

t.test('key set, with an RSA key of 1024 bits, takes no token of it', async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const good = createSigner('RS256', 'good')
  const all = await start(t, await startKeyServer(t, [{ ...publicKey.export({ format: 'jwk' }), kid: 'short', alg: 'RS256', use: 'sig' }, good.jwk]))
  await all.stream(good.token())
  const [, claims = ''] = good.token().split('.')
  const text = `${Buffer.from('{"alg":"RS256","typ":"JWT","kid":"short"}').toString('base64url')}.${claims}`
  t.match(await all.stream(`${text}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`), TOKEN_INVALID)
})

t.test('key set, with two keys of one kid, takes neither', async (t) => {
  const [a, b] = [createSigner('ES256', 'same'), createSigner('ES256', 'same')]
  const all = await start(t, await startKeyServer(t, [a.jwk, b.jwk]))
  for (const { token } of [a, b]) t.match(await all.stream(token()), TOKEN_INVALID)
})

t.test('key set, with a key twice or in a form that is no key, is asked for again after 10 seconds: the key of the mended one counts', async (t) => {
  const [good, other] = [createSigner('ES256', 'good'), createSigner('ES256', 'good')]
  for (const [faulty, answer] of [[[good.jwk, other.jwk], TOKEN_INVALID], [[{ ...good.jwk, x: 'AAAA' }], LATER]] as const) {
    const keys = await startKeyServer(t, [...faulty])
    const all = await start(t, keys)
    for (let i = 0; i < 5; i++) t.match(await all.stream(good.token()), answer)
    t.equal(keys.requests, 1, 'no more often, however many ask')
    keys.keys = [good.jwk]
    clock.aheadMs += 10_500
    // This one makes it ask, and does not wait for the answer.
    await all.stream(good.token())
    await eventually(async () => (await all.publish(good.token({ scope: PUBLISH }))).status, (status) => status === 202, { what: 'the key of the mended set' })
    t.equal(keys.requests, 2)
  }
})

for (const isCompressed of [false, true]) {
  t.test(`key set, larger than any${isCompressed ? ', and small while it is compressed' : ''}, is not taken: passing, then good`, async (t) => {
    const key = createSigner('RS256', 'one')
    const keys = await startKeyServer(t, [key.jwk])
    const all = await start(t, keys)
    const warnings = () => all.nodes.flatMap(({ lines }) => lines).filter((line) => line.includes('more than 4194304 bytes')).length
    const huge = Buffer.concat([Buffer.from('{"keys":[]'), Buffer.alloc(64 * 1024 * 1024, ' '), Buffer.from('}')])
    const body = isCompressed ? gzipSync(huge, { level: 1 }) : huge
    keys.answer = (_request, response) => { response.writeHead(200, { 'content-type': 'application/json', ...(isCompressed && { 'content-encoding': 'gzip' }) }).end(body) }
    const before = process.memoryUsage().arrayBuffers
    t.match(await all.publish(key.token({ scope: PUBLISH })), KEYS_UNAVAILABLE)
    t.ok(process.memoryUsage().arrayBuffers - before < 32 * 1024 * 1024)
    t.match(await all.stream(key.token()), LATER)
    t.equal(keys.requests, 1)
    t.equal(warnings(), 1)
    keys.answer = undefined
    clock.aheadMs += 2001
    t.match(await all.stream(key.token()), { status: 'live' })
  })
}
