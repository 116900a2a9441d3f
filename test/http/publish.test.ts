// POST /api/notifications: addresses, event names, data of every kind, limits at the edge and one beyond, bodies of every shape.
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { RESERVED_EVENTS } from '../../src/notification.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { PUBLISH } from '../fixtures/tokens.ts'
import { assertError, show, startService } from './service.ts'

const PATH = '/api/notifications'

t.test('publish, to user, group and all: 202 with the one id, and who took it; each client has it once', async (t) => {
  const service = await startService(t)
  const ledger = new Ledger(t)
  const ann = service.client(t, { sub: 'ann', groups: ['g'] })
  const bob = service.client(t, { sub: 'bob' })
  for (const client of [ann, bob]) await client.live()
  ledger.open(ann, ['user:ann', 'group:g'])
  ledger.open(bob, ['user:bob'])
  const data = { mark: ledger.mark() }
  const to = ['group:g', 'user:ann', 'all', 'user:nobody', 'group:empty', 'user:bob']
  const { status, body } = await service.publish(to, data, { event: 'stock' })
  t.equal(status, 202)
  t.same(Object.keys(body), ['notifications'])
  t.same(body.notifications.map(({ to }: { to: string }) => to), to, 'in the order of the request')
  t.same(body.notifications.map(({ receivers }: { receivers: number }) => receivers), [1, 1, 1, 0, 0, 1], '0: nobody is online')
  const ids = body.notifications.map(({ id }: { id: string }) => id)
  t.ok(ids.every((id: unknown) => typeof id === 'string' && /^[1-9]\d{15}$/.test(id) && id === ids[0]), 'one id')
  await service.publish(['user:ann', 'user:bob'], 'last')
  for (const { to, id } of body.notifications) ledger.sent({ to, id, event: 'stock', data: { ...data } })
  const got = async (client: typeof ann, count: number) => {
    for (let i = 0; i < count; i++) await client.next()
    return client.notifications.map(({ id, event, json }) => [id, event, json])
  }
  for (const client of [ann, bob]) t.match(await got(client, 2), [[ids[0], 'stock', data], [String, 'message', 'last']])
})

t.test('publish, addresses: 1,000 are taken, 1,001 refused, duplicates count once', async (t) => {
  const service = await startService(t)
  const addresses = (count: number) => Array.from({ length: count }, (_, i) => `user:${i}`)
  const taken = await service.publish(addresses(1000), 'x')
  t.same([taken.status, taken.body.notifications.length], [202, 1000])
  assertError(t, await service.publish(addresses(1001), 'x'), 'TIDINGS_BAD_REQUEST', '1,001')
  const client = service.client(t, { sub: '7' })
  await client.live()
  const twice = await service.publish(['user:7', 'user:7', 'user:8', 'user:7'], 'once')
  t.same(twice.body.notifications.map(({ to }: { to: string }) => to), ['user:7', 'user:8'])
  await service.publish('user:7', 'last')
  await client.next(({ json }) => json === 'last')
  t.same(client.notifications.map(({ json }) => json), ['once', 'last'])
  t.equal((await service.publish(Array.from({ length: 1000 }, (_, i) => `group:${String(i).padStart(3, '0')}${'😀'.repeat(125)}`), 'x')).status, 202, '1,000 of the longest')
})

t.test('publish, addresses: a body full of wrong ones gets a short answer', async (t) => {
  const service = await startService(t)
  const { status, body } = await service.publish(Array(20_000).fill(1), 1)
  t.equal(status, 400)
  t.ok(JSON.stringify(body).length < 1000, JSON.stringify(body).slice(0, 200))
})

t.test('publish, addresses: what is one and what is not', async (t) => {
  const service = await startService(t)
  const good = ['all', 'user:1', `user:${'u'.repeat(128)}`, `group:${'é'.repeat(128)}`, `user:${'😀'.repeat(128)}`, 'user:a:b', 'group: ', 'user:user:1', 'user:__proto__', 'group:constructor', 'user:*', 'group:a\u2028b']
  for (const to of good) t.same((await service.publish(to, 1)).body.notifications?.[0].to, to, show(to))
  const bad = ['', 'all ', ' all', 'All', 'all:', 'all:1', 'user', 'user:', 'group:', 'users:1', 'User:1', 'channel:x', 'tidings:user:1', ':1', '*',
    `user:${'u'.repeat(129)}`, `group:${'é'.repeat(129)}`, `user:${'😀'.repeat(129)}`, `user:${'x'.repeat(100_000)}`,
    'user:a\nb', 'user:a\rb', 'user:a\0', 'user:\t', 'group:\u007f', 'group:\u0085', 'group:a\u009f', 'user:\ud83d', 'user:\udc00x']
  for (const to of bad) {
    assertError(t, await service.publish(to, 1), 'TIDINGS_BAD_ADDRESS', show(to))
    assertError(t, await service.publish(['user:1', to], 1), 'TIDINGS_BAD_ADDRESS', `beside a good one: ${show(to)}`)
  }
  for (const to of [[], null, 5, true, {}, [5], [null], [['user:1']], { user: '1' }]) {
    assertError(t, await service.publish(to as string, 1), 'TIDINGS_BAD_REQUEST', show(to))
  }
  t.equal(await service.metric('tidings_published_total'), good.length, 'nothing of a bad request was published, not even to its good addresses')
})

t.test('publish, event names: what is one and what is not', async (t) => {
  const service = await startService(t)
  const client = service.client(t)
  await client.live()
  for (const event of ['a', 'Z', '0', '.', '_', '-', 'a.b_c-D9', 'e'.repeat(64), 'message', 'Sync', 'PING', 'constructor', '__proto__']) {
    t.equal((await service.publish('user:42', event, { event })).status, 202)
    t.match(await client.next(), { event, json: event })
  }
  for (const event of ['', 'e'.repeat(65), 'a b', 'a\nb', 'a\n', '\na', 'a\rdata: forged', 'a\r\n\r\n', 'a:b', 'é', '😀', 'a\0', 'a\u2028', ' ', '*', 'a/b']) {
    assertError(t, await service.publish('user:42', 1, { event }), 'TIDINGS_BAD_EVENT', show(event))
  }
  for (const event of RESERVED_EVENTS) assertError(t, await service.publish('user:42', 1, { event }), 'TIDINGS_RESERVED_EVENT', event)
  t.same([...RESERVED_EVENTS].sort(), ['closed', 'error', 'expiring', 'open', 'ping', 'read', 'replaced', 'retracted', 'sync'], 'those of the design')
  for (const event of [null, 5, ['a'], {}]) assertError(t, await service.publish('user:42', 1, { event }), 'TIDINGS_BAD_REQUEST', show(event))
})

t.test('publish, data: every JSON value arrives as it was sent, on one line', async (t) => {
  const service = await startService(t)
  const client = service.client(t)
  await client.live()
  const texts = [
    'null', 'true', 'false', '0', '-1', '1.5', '1e-7', '9007199254740991', '""', '"text"', '[]', '{}', '[null,[],{}]', '{"a":{"b":[1,2,3]}}',
    '"\\r"', '"\\n"', '"\\r\\n\\r\\n"', '"a\\ndata: forged\\n\\nid: 1\\n\\n"', '"\u2028\u2029"', '"\\u0000"', '"\\u0000\\u0001\\u001f\u007f"', '"\\ud800"', '"\\udc00\\ud800"', '"😀 é 漢"',
    '"\ufeff"', '"\\\\ \\" \\/"', '{"\\n":"\\r"}', '{"\\ud800":1}', '{"__proto__":{"admin":true}}', '{"a":{"__proto__":1,"constructor":{"prototype":2}}}', '{"constructor":1,"toString":2,"hasOwnProperty":3}',
    '{"toJSON":1}', '{"id":1,"event":"sync","data":"x","control":"leave","tidings":1}', '{"":""}', '" leading"', '{"2":1,"1":2}',
    '12345678901234567890', '1.10', '1e400', '-0', '{"b":1,"a":2,"b":3}', '[ 1 ,\t2 ]', '"\\u0041"'
  ]
  for (const text of texts) {
    const { status } = await service.call('POST', PATH, { body: `{"to":"user:42","data":${text}}` })
    t.equal(status, 202, show(text))
    const { raw, data, event } = await client.next()
    t.same(raw.split('\n').length, 2, 'one line of data')
    t.same([event, data], ['message', text], 'as it came')
  }
  t.equal(({} as { admin?: boolean }).admin, undefined, 'no prototype was touched')
  assertError(t, await service.call('POST', PATH, { body: '{"to":"user:42"}' }), 'TIDINGS_BAD_REQUEST', 'no data')
})

t.test('publish, data: MAX_DATA_BYTES of text are taken, one more is refused', async (t) => {
  const service = await startService(t)
  const client = service.client(t)
  await client.live()
  const bodies: Record<string, (bytes: number) => string> = {
    ASCII: (bytes) => `"${'x'.repeat(bytes - 2)}"`,
    'two bytes a character': (bytes) => `"${'é'.repeat((bytes - 2) / 2)}${bytes % 2 === 0 ? '' : 'x'}"`,
    'four bytes a character': (bytes) => `"${'😀'.repeat(Math.floor((bytes - 2) / 4))}${'x'.repeat((bytes - 2) % 4)}"`,
    array: (bytes) => `[${'1,'.repeat((bytes - 3) / 2)}${bytes % 2 === 1 ? '1' : '10'}]`
  }
  for (const [name, make] of Object.entries(bodies)) {
    for (const bytes of [65_535, 65_536]) {
      t.equal(Buffer.byteLength(make(bytes)), bytes)
      t.equal((await service.call('POST', PATH, { body: `{"to":"user:42","data":${make(bytes)}}` })).status, 202, `${bytes} bytes, ${name}`)
      t.equal((await client.next()).data, make(bytes))
    }
    assertError(t, await service.call('POST', PATH, { body: `{"to":"user:42","data":${make(65_537)}}` }), 'TIDINGS_DATA_TOO_LARGE', name)
  }
  // What stands around it does not count; what stands in it does, as it came.
  const escaped = (count: number) => `{"to" : "user:42" ,\n "data" :  \r\n "${'\\u0078'.repeat(count)}"   }`
  t.equal((await service.call('POST', PATH, { body: escaped(10_922) })).status, 202)
  t.equal((await client.next()).data.length, 65_534)
  assertError(t, await service.call('POST', PATH, { body: escaped(10_923) }), 'TIDINGS_DATA_TOO_LARGE', 'counted as it came')
})

t.test('publish, data past 8 MB: to one address up to MAX_DATA_BYTES, which cannot be divided; to several refused', async (t) => {
  const service = await startService(t, { env: { MAX_DATA_BYTES: '16777216', STREAM_BUFFER_BYTES: '33554432' } })
  const data = 'x'.repeat(8_388_607)
  for (const to of ['user:42', ['user:42'], ['user:42', 'user:42']]) t.equal((await service.publish(to, data)).status, 202)
  assertError(t, await service.publish(['user:42', 'user:43'], data), 'TIDINGS_FAN_OUT_TOO_LARGE')
  t.equal((await service.publish('user:42', 'x'.repeat(16_777_214))).status, 202)
  assertError(t, await service.publish('user:42', 'x'.repeat(16_777_215)), 'TIDINGS_DATA_TOO_LARGE')
})

t.test('publish, data: 1,000 levels are taken, one more is refused, and so are a hundred thousand', async (t) => {
  const service = await startService(t)
  const post = async (data: string) => await service.call('POST', PATH, { body: `{"to":"user:42","data":${data}}` })
  for (const [open, close] of [['[', ']'], ['{"a":', '}'], ['[{"a":', '}]']] as const) {
    const deep = (levels: number) => `${open.repeat(levels)}1${close.repeat(levels)}`
    const half = open.length > 5 ? 2 : 1
    t.equal((await post(deep(1000 / half))).status, 202)
    assertError(t, await post(deep(1000 / half + 1)), 'TIDINGS_DATA_TOO_DEEP')
    assertError(t, await post(deep(100_000)), 'TIDINGS_DATA_TOO_DEEP', 'very deep')
  }
  t.equal((await post(JSON.stringify('['.repeat(5000)))).status, 202, 'brackets in a string are no levels')
})

t.test('publish, body: the limit at the edge and one beyond', async (t) => {
  const service = await startService(t)
  const limit = 2 * 65_536 + 1_048_576
  const padded = (length: number) => '{"to":"user:42","data":1}'.padEnd(length, ' ')
  t.equal((await service.call('POST', PATH, { body: padded(limit) })).status, 202)
  assertError(t, await service.call('POST', PATH, { body: padded(limit + 1), headers: { connection: 'close' } }), 'TIDINGS_BODY_TOO_LARGE')
})

t.test('publish, body: not JSON', async (t) => {
  const service = await startService(t)
  for (const body of ['{', '{"to":"all","data":1', '{"to":"all","data":1}}', '{to:"all"}', "{'to':'all'}", '{"to":"all","data":NaN}', '{"to":"all","data":undefined}', '{"to":"all",}', 'to=all&data=1', '\0', '"\n"', '{"to":"all","data":"\u0001"}', '// x\n{}']) {
    assertError(t, await service.call('POST', PATH, { body }), 'TIDINGS_BAD_JSON', show(body))
  }
  assertError(t, await service.call('POST', PATH, { headers: { 'content-type': 'application/json' } }), 'TIDINGS_BAD_JSON', 'empty')
  for (const body of ['[]', '"x"', '1', 'null', 'true', '{}', '[{"to":"all","data":1}]']) {
    assertError(t, await service.call('POST', PATH, { body }), 'TIDINGS_BAD_REQUEST', body)
  }
  for (const more of [{ id: '1' }, { topic: 'x' }, { Data: 1 }, JSON.parse('{"__proto__":{"to":"all"}}'), { constructor: 1 }]) {
    assertError(t, await service.publish('all', 1, more), 'TIDINGS_BAD_REQUEST', `unknown property ${Object.keys(more)}`)
  }
  assertError(t, await service.call('POST', PATH, { body: '{"to":"all","data":1,"__proto__":{"event":"x"}}' }), 'TIDINGS_BAD_REQUEST', '__proto__ beside data')
  t.equal(await service.metric('tidings_published_total'), 0)
})

t.test('publish, content type: JSON only', async (t) => {
  const service = await startService(t)
  const body = '{"to":"all","data":1}'
  for (const type of ['text/plain', 'text/plain;charset=UTF-8', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/xml', 'text/json', 'application/jsonx', 'json', '*/*', 'application/json-seq']) {
    assertError(t, await service.call('POST', PATH, { body, headers: { 'content-type': type } }), 'TIDINGS_UNSUPPORTED_MEDIA_TYPE', type)
  }
  assertError(t, await service.call('POST', PATH, { body: Buffer.from(body), headers: { 'content-type': '' } }), 'TIDINGS_UNSUPPORTED_MEDIA_TYPE', 'none')
  for (const encoding of ['gzip', 'br', 'identity, gzip']) {
    assertError(t, await service.call('POST', PATH, { body: gzipSync(body), headers: { 'content-type': 'application/json', 'content-encoding': encoding } }), 'TIDINGS_UNSUPPORTED_MEDIA_TYPE', encoding)
  }
  t.equal((await service.call('POST', PATH, { body, headers: { 'content-type': 'application/json', 'content-encoding': 'identity' } })).status, 202)
  t.equal((await service.call('POST', PATH, { body: Buffer.from(`\uFEFF${body}`), headers: { 'content-type': 'application/json' } })).status, 202, 'a byte order mark is no fault')
  for (const type of ['application/json', 'application/json; charset=utf-8', 'APPLICATION/JSON', 'application/json;charset=UTF-8']) {
    t.equal((await service.call('POST', PATH, { body, headers: { 'content-type': type } })).status, 202, type)
  }
})

t.test('publish, Idempotency-Key: the first answer again, and nothing published', async (t) => {
  const service = await startService(t)
  const client = service.client(t)
  await client.live()
  const post = async (key: string, data: unknown, token = service.operator) => await service.call('POST', PATH, { token, body: { to: ['user:42', 'all'], data }, headers: { 'idempotency-key': key } })
  const first = await post('a', 'first')
  t.equal(first.headers.get('idempotency-replayed'), null)
  const again = await post('a', 'first')
  t.same([again.status, again.body, again.headers.get('idempotency-replayed')], [202, first.body, 'true'])
  t.same((await post('a', 'something else')).body, first.body, 'whatever the body')
  t.notSame((await post('A', 'other key')).body, first.body)
  t.notSame((await post('a', 'other publisher', service.token({ sub: 'other', scope: PUBLISH }))).body, first.body, 'another publisher may use the same key')
  const many = await Promise.all(Array.from({ length: 10 }, async () => await post('at-once', 'at once')))
  t.equal(new Set(many.map(({ text }) => text)).size, 1, 'also when they come at once')
  await service.publish('user:42', 'last')
  await client.next(({ json }) => json === 'last')
  t.same(client.notifications.map(({ json }) => json), ['first', 'other key', 'other publisher', 'at once', 'last'])
  t.equal(await service.metric('tidings_published_total'), 9)
})

t.test('publish, Idempotency-Key: 1 to 255 visible ASCII characters', async (t) => {
  const service = await startService(t)
  const post = async (key: string) => await service.call('POST', PATH, { body: { to: 'all', data: 1 }, headers: { 'idempotency-key': key } })
  for (const key of ['a', '!', '~', 'k'.repeat(255), '"quoted"', '8e03978e-40d5-43e8-bc93-6894a57f9324', ':,;']) t.equal((await post(key)).status, 202, key.slice(0, 40))
  for (const key of ['', 'k'.repeat(256), 'a b', 'a\tb', 'é', '\u0080']) assertError(t, await post(key), 'TIDINGS_BAD_IDEMPOTENCY_KEY', show(key))
  const { head } = await service.raw({
    path: PATH,
    method: 'POST',
    headers: { Authorization: `Bearer ${service.operator}`, 'Content-Type': 'application/json', 'Idempotency-Key': 'a\r\nIdempotency-Key: b' },
    body: '{"to":"all","data":1}'
  })
  t.equal(head?.status, 400, 'two of them')
})

t.test('publish, Idempotency-Key of a request that was refused: free for the next', async (t) => {
  const service = await startService(t)
  const post = async (body: unknown) => await service.call('POST', PATH, { body, headers: { 'idempotency-key': 'k' } })
  assertError(t, await post({ to: 'nobody', data: 1 }), 'TIDINGS_BAD_ADDRESS')
  const { status, headers } = await post({ to: 'all', data: 1 })
  t.same([status, headers.get('idempotency-replayed')], [202, null])
})
