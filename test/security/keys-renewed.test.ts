// Keys that do not fit any more: replaced under the same kid or name, or withdrawn while tickets of their tokens exist.
import t, { type Test } from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { createSigner, startKeyServer, type KeyServer } from './key-server.ts'
import { KEYS_UNAVAILABLE, startKeyed, TOKEN_INVALID, turnClocks } from './keyed-node.ts'
import { onBoth, passOf, startNodes } from './nodes.ts'

const redis = await startRedis(t)
const clock = turnClocks(t)
const start = async (t: Test, keys: KeyServer, count?: number) => await startKeyed(t, redis, keys, count)

t.test('rotation, of a key that keeps its kid: the new key is taken at the first token of it; forged ones ask the server once in 10 seconds', async (t) => {
  const [first, second, third] = [createSigner('ES256', 'sig'), createSigner('ES256', 'sig'), createSigner('ES256', 'sig')]
  const keys = await startKeyServer(t, [first.jwk])
  const all = await start(t, keys)
  t.match(await all.stream(first.token()), { status: 'live' })
  t.match(await all.stream(second.token()), TOKEN_INVALID, 'not the key of the set, which is new')
  t.equal(keys.requests, 1)

  keys.keys = [second.jwk]
  clock.aheadMs += 10_500
  t.match(await all.stream(second.token()), { status: 'live' }, 'at once, since a 401 would end it for good')
  t.match(await all.publish(second.token({ scope: PUBLISH })), { status: 202 })
  t.match(await all.stream(first.token()), TOKEN_INVALID, 'the key that was replaced')
  t.equal(keys.requests, 2)

  clock.aheadMs += 10_500
  const storm = async () => await Promise.all(Array.from({ length: 50 }, async (_, i) => await all.publish(third.token({ sub: String(i), scope: PUBLISH }))))
  for (let round = 0; round < 2; round++) t.ok((await storm()).every(({ status }) => status === 401))
  t.equal(keys.requests, 3)

  clock.aheadMs += 10_500
  keys.answer = (_request, response) => { response.writeHead(500).end() }
  t.ok((await storm()).every(({ status }) => status === 401), 'no proof of a new key')
  t.match(await all.stream(second.token()), { status: 'live' }, 'the known key is good all the time')
})

t.test('unknown kid, after the wall clock went back an hour: found after 10 seconds', async (t) => {
  const [first, second] = [createSigner('ES256', 'first'), createSigner('ES256', 'second')]
  const keys = await startKeyServer(t, [first.jwk])
  const all = await start(t, keys)
  t.match(await all.stream(first.token()), { status: 'live' })
  keys.keys = [first.jwk, second.jwk]
  clock.aheadMs += 10_500
  const ahead = Date.now
  Date.now = () => ahead() - 3_600_000
  t.teardown(() => { Date.now = ahead })
  t.match(await all.stream(second.token()), { status: 'live' })
})

t.test('ticket, of a token whose key was withdrawn: neither a new one nor the pass of a spent one opens anything', async (t) => {
  for (const isReplaced of [false, true]) {
    const [leaked, next] = [createSigner('ES256', 'leaked'), createSigner('ES256', isReplaced ? 'leaked' : 'next')]
    const keys = await startKeyServer(t, [leaked.jwk])
    const all = await start(t, keys)
    const ticket = async (): Promise<string> => (await all.call('POST', '/api/notifications/tickets', { token: leaked.token() })).body.ticket
    const [spent, ...fresh] = [await ticket(), await ticket(), await ticket()]
    const open = (ticket: string, cookie = '') => all.bare(t, { path: `/api/notifications/subscribe?ticket=${ticket}`, headers: { cookie }, reconnect: false })
    const first = open(spent!)
    const pass = String((await first.opened()).headers['set-cookie']).split(';')[0]!
    t.equal((await open(spent!, pass).opened()).status, 200)
    t.ok(await open(await ticket()).live())

    keys.keys = [next.jwk]
    clock.aheadMs += 10_500
    t.match(await all.stream(next.token()), { status: 'live' })
    clock.aheadMs += 10_500
    t.equal((await open(spent!, pass).opened()).status, 401)
    // Within 10 seconds of the last fetch an unknown kid may be a new key.
    t.match(await open(fresh[0]!).opened(), isReplaced ? { status: 401 } : { status: 200, headers: { 'content-length': /./ } })
    t.match(await all.call('GET', '/api/notifications', { token: null, headers: { authorization: `Ticket ${fresh[1]!}` } }), isReplaced ? TOKEN_INVALID : KEYS_UNAVAILABLE)
    const other = (await all.call('POST', '/api/notifications/tickets', { token: next.token() })).body.ticket
    t.equal((await all.call('GET', '/api/notifications', { token: null, headers: { authorization: `Ticket ${other}` } })).status, 200)
  }
})

t.test('ticket, of a new key under an old kid, at a node that has fetched the old one alone: is taken', async (t) => {
  const [first, second] = [createSigner('ES256', 'sig'), createSigner('ES256', 'sig')]
  const keys = await startKeyServer(t, [first.jwk])
  const all = await start(t, keys, 2)
  for (const node of [0, 1]) await all.bare(t, { node, token: first.token(), reconnect: false }).live()
  keys.keys = [second.jwk]
  clock.aheadMs += 10_500
  const tickets = await Promise.all([1, 2].map(async () => (await all.call('POST', '/api/notifications/tickets', { token: second.token() })).body.ticket as string))
  t.ok(await all.bare(t, { node: 1, query: { ticket: tickets[0]! }, reconnect: false }).live())
  t.equal((await all.call('GET', '/api/notifications', { node: 1, token: null, headers: { authorization: `Ticket ${tickets[1]!}` } })).status, 200)
})

onBoth(t, 'ticket, of a token of before the secret was changed: neither it nor its pass opens anything at a node with the new one', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { envOf: (node) => node === 0 ? {} : createIssuer().env })
  const [spent, fresh, another] = [await all.ticket({ sub: 'ann' }), await all.ticket({ sub: 'ann' }), await all.ticket({ sub: 'ann' })]
  const open = (ticket: string, node: number, cookie = '') => all.bare(t, { node, query: { ticket }, headers: { cookie }, reconnect: false })
  const client = open(spent, 0)
  await client.live()
  const { name, value } = passOf(client)
  t.ok(await open(spent, 0, `${name}=${value}`).live())
  t.equal((await open(spent, 1, `${name}=${value}`).opened()).status, 401)
  t.equal((await open(fresh, 1).opened()).status, 401)
  t.match(await all.call('GET', '/api/notifications', { node: 1, token: null, headers: { authorization: `Ticket ${another}` } }), TOKEN_INVALID)
})

onBoth(t, 'ticket, at a node that was given the same public key in another form: is taken', async (t, kind) => {
  const issuer = createIssuer('ES256')
  const all = await startNodes(t, kind, redis, { issuer, envOf: (node) => node === 0 ? {} : { JWT_PUBLIC_KEY: issuer.env.JWT_PUBLIC_KEY!.trim().replaceAll('\n', '\\n') } })
  t.ok(await all.bare(t, { node: 1, query: { ticket: await all.ticket({ sub: 'ann' }) }, reconnect: false }).live())
})
