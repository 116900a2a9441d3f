// Rate limits over two nodes: a publisher is told 429 and when to come back, an EventSource 200 and to wait longer and longer.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { PUBLISH } from '../fixtures/tokens.ts'
import { onBoth, startNodes, type Nodes } from './nodes.ts'

const SUBSCRIBE = '/api/notifications/subscribe'
const redis = await startRedis(t)

onBoth(t, 'publishing, past PUBLISH_PER_MINUTE over two nodes, is 429 with Retry-After and the RateLimit headers', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { PUBLISH_PER_MINUTE: '6' } })
  const client = all.client(t, { sub: '42' })
  await client.live()
  const publish = async (sub: string, node: number, more = {}) => await all.call('POST', '/api/notifications', { node, token: all.token({ sub, scope: PUBLISH, ...more }), body: { to: 'user:42', data: sub } })
  for (let i = 0; i < 6; i++) {
    const { status, headers } = await publish('a', i % 2)
    t.equal(status, 202)
    t.same([headers.get('ratelimit-limit'), headers.get('ratelimit-remaining')], ['6', String(5 - i)])
    t.ok(Number(headers.get('ratelimit-reset')) > 0 && Number(headers.get('ratelimit-reset')) <= 60)
  }
  for (const node of [0, 1]) {
    const { status, headers, body } = await publish('a', node, { jti: `another token ${node}` })
    t.match({ status, body }, { status: 429, body: { statusCode: 429, code: 'TIDINGS_TOO_MANY_REQUESTS', error: 'Too Many Requests', message: /6 publishes/ } })
    t.match(headers.get('retry-after'), /^([1-9]|[1-5]\d|60)$/)
    t.same([headers.get('ratelimit-limit'), headers.get('ratelimit-remaining')], ['6', '0'])
  }
  t.equal((await publish('b', 0)).status, 202, 'another publisher is not meant')
  await client.next(({ json }) => json === 'b')
  t.equal(client.notifications.length, 7, 'what was refused was not published')
  await all.pass(61)
  t.equal((await publish('a', 1)).status, 202, 'a minute later it may again')
})

onBoth(t, 'publishing, without a good token or scope, does not count against anybody', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { PUBLISH_PER_MINUTE: '1' } })
  const send = async (token: string | null) => (await all.call('POST', '/api/notifications', { token, body: { to: 'user:42', data: 1 } })).status
  for (let i = 0; i < 3; i++) t.same([await send(null), await send('x.y.z'), await send(all.token({ sub: 'a' }))], [401, 401, 403])
  t.equal(await send(all.token({ sub: 'a', scope: PUBLISH })), 202)
})

onBoth(t, 'publishing, to many addresses, counts once for each 100 of them', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { PUBLISH_PER_MINUTE: '12' } })
  const to = (count: number) => Array.from({ length: count }, (_, i) => `user:${i}`)
  const publish = async (count: number) => await all.call('POST', '/api/notifications', { body: { to: to(count), data: 1 } })
  t.equal((await publish(100)).headers.get('ratelimit-remaining'), '11')
  t.equal((await publish(101)).headers.get('ratelimit-remaining'), '9')
  t.equal((await publish(500)).headers.get('ratelimit-remaining'), '4')
  const refused = await publish(500)
  t.match(refused, { status: 429, body: { code: 'TIDINGS_TOO_MANY_REQUESTS' } })
  t.match(refused.headers.get('retry-after'), /^[1-9]\d*$/)
})

onBoth(t, 'publishing, by 60 at once on two nodes, lets as many through as the limit says', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { PUBLISH_PER_MINUTE: '40' } })
  const answers = await Promise.all(Array.from({ length: 60 }, async (_, i) => await all.call('POST', '/api/notifications', { node: i % 2, body: { to: 'user:42', data: 1 } })))
  t.equal(answers.filter(({ status }) => status === 202).length, 40)
})

onBoth(t, 'revoked token, used in a loop, takes nothing from its user', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { PUBLISH_PER_MINUTE: '10', CONNECTS_PER_MINUTE: '10' } })
  const stolen = all.token({ sub: 'ann', scope: PUBLISH, iat: Math.floor(Date.now() / 1000) - 60 })
  await all.call('DELETE', '/api/users/ann/streams')
  for (let i = 0; i < 30; i++) {
    t.equal((await all.call('POST', '/api/notifications', { token: stolen, node: i % 2, body: { to: 'user:42', data: 1 } })).status, 401)
    t.equal((await all.call('GET', SUBSCRIBE, { token: stolen, node: i % 2 })).status, 401)
    t.equal((await all.call('POST', '/api/notifications/tickets', { token: stolen, node: i % 2 })).status, 401)
  }
  await new Promise((resolve) => { setTimeout(resolve, 1010 - Date.now() % 1000) }) // a token of the very second counts as older
  const fresh = all.token({ sub: 'ann', scope: PUBLISH })
  for (let i = 0; i < 8; i++) t.equal((await all.call('POST', '/api/notifications', { token: fresh, node: i % 2, body: { to: 'user:42', data: 1 } })).status, 202)
  await all.bare(t, { token: fresh }).live()
})

onBoth(t, 'publishing, with the limit set to 0, is not limited', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { PUBLISH_PER_MINUTE: '0' } })
  const answers = await Promise.all(Array.from({ length: 50 }, async (_, i) => await all.call('POST', '/api/notifications', { node: i % 2, body: { to: 'user:42', data: 1 } })))
  t.ok(answers.every(({ status, headers }) => status === 202 && headers.get('ratelimit-limit') === null))
})

/** One attempt: a stream that goes on, or the milliseconds that it is told to wait. */
async function attempt (all: Nodes, t: any, sub: string, node: number, localAddress = '127.0.0.1'): Promise<'live' | number> {
  const client = all.client(t, { sub }, { node, localAddress, reconnect: false })
  const { status, headers } = await client.opened()
  t.equal(status, 200)
  t.match(headers['content-type'], /^text\/event-stream/)
  if (headers['content-length'] === undefined) {
    await client.live()
    client.close()
    return 'live'
  }
  const { body, ending } = await client.ended()
  t.match({ body, ending }, { body: /^retry: \d+\nevent: ping\ndata: {}\n\n$/, ending: 'end' })
  return Number(/\d+/.exec(body)![0])
}

for (const [what, env, vary] of [
  ['user', { CONNECTS_PER_MINUTE: '4' }, (i: number) => ({ sub: 'ann', from: `127.0.0.${i + 2}` })],
  ['address', { CONNECTS_PER_MINUTE_PER_ADDRESS: '4' }, (i: number) => ({ sub: `user-${i}`, from: '127.0.0.9' })]
] as const) {
  onBoth(t, `connecting, of one ${what} too often over two nodes, is 200 with a retry that grows`, async (t, kind) => {
    const all = await startNodes(t, kind, redis, { env: { RETRY_MS: '1000', ...env } })
    const waits: ('live' | number)[] = []
    for (let i = 0; i < 12; i++) {
      const { sub, from } = vary(i)
      waits.push(await attempt(all, t, sub, i % 2, from))
    }
    t.same(waits.slice(0, 4), ['live', 'live', 'live', 'live'])
    const told = waits.slice(4) as number[]
    t.ok(told.every((ms) => ms >= 2000), `longer than RETRY_MS: ${told.join()}`)
    t.ok(told.at(-1)! > 2 * told[0]!, 'and growing')
    t.equal(await attempt(all, t, 'bob', 0, '127.0.0.77'), 'live', `another ${what} is not meant`)
    await all.pass(61)
    const { sub, from } = vary(0)
    t.equal(await attempt(all, t, sub, 1, from), 'live', 'a minute later it may again')
  })
}

onBoth(t, 'connecting too often, a client that obeys the retry, comes in and resumes complete', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { CONNECTS_PER_MINUTE: '2' } })
  const client = all.client(t, { sub: 'ann' })
  await client.live()
  for (const attempt of [2, 3, 4]) {
    client.drop()
    await client.opened(attempt)
  }
  t.not(client.state, 'closed', 'it was never stopped')
  await all.call('POST', '/api/notifications', { body: { to: 'user:ann', data: 'missed' } })
  await all.pass(61)
  t.match((await client.live(3)).json, { resume: 'complete' })
  t.equal((await client.next()).json, 'missed')
})

onBoth(t, 'connecting too often with new tickets, is told to come back before they end', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { count: 1, env: { RETRY_MS: '3000', CONNECTS_PER_MINUTE_PER_ADDRESS: '1' } })
  const waits: number[] = []
  for (let i = 0; i < 8; i++) {
    const client = all.bare(t, { query: { ticket: await all.ticket({ sub: `user-${i}` }) }, localAddress: '127.0.0.9', reconnect: false })
    if (i > 0) waits.push(Number(/\d+/.exec((await client.ended()).body)![0]))
    else await client.live()
  }
  t.same(waits, waits.map(() => 10_000), 'a third of its life')
})

onBoth(t, 'connecting, without a good token, does not use up anybody\'s turn', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { CONNECTS_PER_MINUTE: '1', CONNECTS_PER_MINUTE_PER_ADDRESS: '1' } })
  for (const token of [null, 'x.y.z', all.token({ sub: 'ann', exp: 1 })]) t.equal((await all.call('GET', SUBSCRIBE, { token })).status, 401)
  t.equal(await attempt(all, t, 'ann', 0), 'live')
})

onBoth(t, 'X-Forwarded-For, from one who is not trusted, makes no new address', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { CONNECTS_PER_MINUTE_PER_ADDRESS: '2' } })
  const lengths = []
  for (let i = 0; i < 4; i++) {
    const client = all.client(t, { sub: `u-${i}` }, { headers: { 'X-Forwarded-For': `10.0.0.${i}`, Forwarded: `for=10.0.0.${i}` }, reconnect: false })
    lengths.push((await client.opened()).headers['content-length'])
  }
  t.same(lengths.map((length) => length === undefined), [true, true, false, false])
})
