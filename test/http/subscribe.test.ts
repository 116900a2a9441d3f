// The stream as EventSource sees it: exact headers, first bytes, CORS, sync, live notifications, several streams, limits, 204.
import t from 'tap'
import { assertError, startService, type Answer } from './service.ts'
import type { Connection } from '../fixtures/client.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { Signal } from '../fixtures/wait.ts'
import { exchange } from '../fixtures/wire.ts'

const SUBSCRIBE = '/api/notifications/subscribe'

t.test('stream, headers: exactly those of an event stream that nobody stores, changes or buffers', async (t) => {
  const service = await startService(t)
  const client = service.client(t, {}, { headers: { 'Accept-Encoding': 'gzip, br, deflate' } })
  const { status, headers } = await client.opened()
  t.equal(status, 200)
  t.match(headers, {
    'content-type': /^text\/event-stream; charset=utf-8$/,
    'cache-control': /^no-store, no-transform$/,
    'x-accel-buffering': /^no$/,
    'tidings-node': /^node-under-test$/,
    'transfer-encoding': /^chunked$/
  })
  for (const name of ['content-encoding', 'content-length', 'set-cookie', 'etag', 'x-no-compression', 'access-control-allow-origin']) {
    t.equal(headers[name], undefined, `no ${name}`)
  }
})

t.test('stream, first bytes: the hint leaves at once, before the broker has answered anything', async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const service = await startService(t, {
    env: { RETRY_MS: '3000' },
    alter: (broker) => {
      const { subscribe } = broker
      broker.subscribe = async (addresses) => {
        await promise
        await subscribe.call(broker, addresses)
      }
    }
  })
  let isOpen = false
  let body = ''
  const changed = new Signal()
  const socket = exchange({
    url: new URL(SUBSCRIBE, service.url),
    headers: { Authorization: `Bearer ${service.token()}` },
    onHead: () => {
      isOpen = true
      changed.notify()
    },
    onBody: (piece) => {
      body += piece?.toString() ?? ''
      changed.notify()
    }
  })
  t.teardown(() => socket.destroy())
  await changed.until(() => isOpen || undefined, { what: 'the head' })
  t.equal(body, '')
  resolve()
  await changed.until(() => body.endsWith('\n\n') || undefined, { what: 'the sync' })
  t.match(body, /^retry: 3000\nid: \d+\nevent: sync\n/)
})

t.test('stream, fresh: sync with an id of its own, then what is published, ids growing', async (t) => {
  const service = await startService(t)
  const ledger = new Ledger(t)
  const early = await service.publish('user:42', 'before')
  const client = service.client(t, { sub: '42', groups: ['b', 'a'] })
  const sync = await client.live()
  t.match(sync.raw, /^retry: 20\nid: [1-9]\d*\nevent: sync\ndata: \{.*\}$/)
  t.same(sync.json, { resume: 'fresh', replayed: 0, seen: '0', read: '0', unseen: 1, unread: 1, groups: ['a', 'b'], heartbeatSeconds: 15 })
  t.ok(BigInt(sync.id!) > BigInt(early.body.notifications[0].id), 'its id is past what was published before')
  t.equal(client.events[0], sync, 'nothing comes before it')
  ledger.open(client, ['user:42', 'group:a', 'group:b'])
  for (const to of ['user:42', 'group:a', 'all', 'group:b', 'user:42', 'user:43', 'group:c', 'all']) await service.send(ledger, to)
  await ledger.settled()
  ledger.assertExact(t)
  t.ok(BigInt(client.notifications[0]!.id!) > BigInt(sync.id!), 'the first id is greater than that of the sync')
})

t.test('stream, event line: left out for message, there for another name', async (t) => {
  const service = await startService(t)
  const client = service.client(t)
  await client.live()
  await service.publish('user:42', { a: 1 })
  await service.publish('user:42', 2, { event: 'message' })
  await service.publish('user:42', null, { event: 'stock' })
  t.match((await client.next()).raw, /^id: \d+\ndata: \{"a":1\}$/)
  t.match((await client.next()).raw, /^id: \d+\ndata: 2$/)
  t.match((await client.next()).raw, /^id: \d+\nevent: stock\ndata: null$/)
})

t.test('stream, several of one user: all receive, and one that goes takes nothing from the others', async (t) => {
  const service = await startService(t)
  const ledger = new Ledger(t)
  const clients = Array.from({ length: 5 }, () => service.client(t, { groups: ['g'] }))
  for (const client of clients) {
    await client.live()
    ledger.open(client, ['user:42', 'group:g'])
  }
  t.same([service.app.hub.streams, service.app.hub.users], [5, 1])
  await service.send(ledger, 'user:42')
  await service.send(ledger, 'group:g')
  await ledger.settled()
  const gone = clients.pop()!
  gone.close()
  await service.logged(({ msg, reason }) => msg === 'stream end' && reason === 'client')
  ledger.leave([gone], 'user:42')
  await service.send(ledger, 'user:42')
  await ledger.settled()
  ledger.assertExact(t)
  t.equal(service.app.hub.streams, 4)
})

t.test('stream, MAX_STREAMS_PER_USER: the last one is let in, the next refused for good, a free place taken again', async (t) => {
  const service = await startService(t, { env: { MAX_STREAMS_PER_USER: '3' } })
  const clients = [1, 2, 3].map(() => service.client(t))
  for (const client of clients) await client.live()
  assertError(t, await service.call('GET', SUBSCRIBE, { token: service.token() }), 'TIDINGS_TOO_MANY_STREAMS')
  const refused = service.client(t)
  t.equal((await refused.closed()).status, 403, 'EventSource gives up')
  t.ok(await service.client(t, { sub: '43' }).live(), 'another user has places of their own')
  t.equal((await service.client(t, {}, { lastEventId: '!replaced' }).closed()).status, 204, 'who must not come back is told so, full or not')
  clients[0]!.close()
  await service.logged(({ msg }) => msg === 'stream end')
  t.ok(await service.client(t).live())
})

t.test('stream, id that starts with !: 204 at any position, whatever became of the token', async (t) => {
  const service = await startService(t)
  for (const id of ['!replaced', '!closed', '!', `!${'x'.repeat(10_000)}`]) {
    for (const options of [{ lastEventId: id }, { query: { lastEventId: id } }]) {
      const { status, body } = await service.client(t, {}, options).closed()
      t.same([status, body], [204, ''], `${id.slice(0, 20)} in the ${'query' in options ? 'query' : 'header'}`)
    }
  }
  // After a logout the cookie is gone, too.
  for (const token of [null, 'forged', service.token({ exp: 1 })]) {
    t.equal((await service.call('GET', SUBSCRIBE, { token, headers: { 'last-event-id': '!closed' } })).status, 204)
  }
  t.equal((await service.call('GET', `${SUBSCRIBE}?ticket=spent`, { token: null, headers: { 'last-event-id': '!closed' } })).status, 204)
  t.equal(await service.metric('tidings_streams_opened_total'), 0)
})

t.test('stream, CORS: an origin of the list may read it with credentials, also when it is refused, ended or told to come back', async (t) => {
  const origin = 'https://app.example'
  const service = await startService(t, { env: { CORS_ORIGINS: `${origin},http://localhost:5173`, MAX_STREAMS_PER_USER: '1' } })
  const check = (found: Answer | Connection, name: string) => {
    const headers = found.headers instanceof Headers ? Object.fromEntries(found.headers) : found.headers
    t.match(headers, { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', vary: /Origin/ }, name)
  }
  const client = service.client(t, {}, { headers: { Origin: origin }, via: 'cookie' })
  await client.live()
  check(client.connection, 'the stream')
  t.match(client.connection.headers, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store, no-transform' })
  const ask = async (headers: object, token: string | null = service.token()) => await service.call('GET', SUBSCRIBE, { token, headers: { origin, ...headers } })
  check(await ask({}, null), '401')
  check(await ask({}), '403')
  check(await ask({ 'last-event-id': '!closed' }), '204')
  check(await service.call('POST', '/api/notifications', { headers: { origin }, body: {} }), '400')

  const stranger = service.client(t, { sub: 'x' }, { headers: { Origin: 'https://app.example.evil.example' } })
  await stranger.live()
  t.notOk(stranger.connection.headers['access-control-allow-origin'], 'another origin is not named')
  stranger.close()

  await service.app.hub.drain(0)
  const draining = await ask({}, service.token({ sub: 'y' }))
  check(draining, 'draining')
  t.match(draining.text, /^retry: \d+\nevent: ping\ndata: {}\n\n$/)
})

t.test('stream, CORS preflight: for an origin of the list what a page needs, for others nothing', async (t) => {
  const service = await startService(t, { env: { CORS_ORIGINS: 'https://app.example' } })
  const preflight = async (origin: string, method: string, path: string) => await service.call('OPTIONS', path, {
    token: null,
    headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': 'authorization,content-type,idempotency-key,last-event-id' }
  })
  for (const [method, path] of [['GET', SUBSCRIBE], ['POST', '/api/notifications'], ['PUT', '/api/users/42/groups/g'], ['DELETE', '/api/users/42/groups/g']] as const) {
    const { status, headers } = await preflight('https://app.example', method, path)
    t.equal(status, 204, `${method} ${path}`)
    t.equal(headers.get('access-control-allow-origin'), 'https://app.example')
    t.equal(headers.get('access-control-allow-credentials'), 'true')
    t.match(headers.get('access-control-allow-methods'), method)
    for (const name of ['authorization', 'content-type', 'idempotency-key', 'last-event-id']) t.match(headers.get('access-control-allow-headers'), name)
    const foreign = (await preflight('https://elsewhere.example', method, path)).headers
    t.equal(foreign.get('access-control-allow-origin'), null, 'nothing for others')
  }
})

t.test('stream, no CORS_ORIGINS: no origin is named', async (t) => {
  const service = await startService(t)
  const client = service.client(t, {}, { headers: { Origin: 'https://app.example' } })
  t.notMatch(Object.keys((await client.opened()).headers).join(), 'access-control')
})

t.test('stream, request that looks odd but asks for it: is served', async (t) => {
  const service = await startService(t)
  const odd: Record<string, Record<string, string>> = {
    'no Accept': { Accept: '*/*' },
    'another Accept': { Accept: 'application/json' },
    'Connection: close': { Connection: 'close' },
    'an upgrade that is not meant': { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c' },
    'a content type without a body': { 'Content-Type': 'application/json' },
    'Expect: nothing to wait for': { 'Content-Length': '0' },
    'a page rendered in advance, which takes nothing from others': { 'Sec-Purpose': 'prefetch;prerender' }
  }
  for (const [name, headers] of Object.entries(odd)) {
    const client = service.client(t, { sub: 'odd' }, { headers, reconnect: false })
    await client.live()
    await service.publish('user:odd', name)
    t.equal((await client.next()).json, name, name)
    client.close()
  }
  const query = service.client(t, { sub: 'odd' }, { query: { _: '1', cb: 'x' } })
  t.ok(await query.live(), 'query parameters that it does not know')
})
