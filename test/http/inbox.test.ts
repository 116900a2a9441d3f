// The inbox over HTTP, on both brokers: the list, the counts, the cursors and marks on every device, options of a publish, and retract.
import t from 'tap'
import { watchCpuQueue } from '../fixtures/cpu-queue.ts'
import { startRedis } from '../fixtures/redis.ts'
import { PUBLISH } from '../fixtures/tokens.ts'
import { onBoth, startNodes, type Nodes } from '../security/nodes.ts'

const PATH = '/api/notifications'
const redis = await startRedis(t)

function world (all: Nodes) {
  const publish = async (to: string | string[], data: unknown, more: object = {}) => await all.call('POST', PATH, { body: { to, data, ...more } })
  return {
    /** Publishes; the id. */
    send: async (to: string | string[], data: unknown, more?: object): Promise<string> => {
      const { status, body } = await publish(to, data, more)
      if (status !== 202) throw new Error(`${status} ${JSON.stringify(body)}`)
      return body.notifications[0].id
    },
    publish,
    /** Asks as a user. */
    as: (sub: string, claims: object = {}) => async (method: string, path = '', body?: object, node = 1) =>
      await all.call(method, `${PATH}${path}`, { token: all.token({ sub, ...claims }), node, ...(body !== undefined && { body }) })
  }
}

onBoth(t, 'list, of what came to the user, their groups and all, is newest first, in pages, as it was published', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const { send, publish, as } = world(all)
  const ann = as('ann', { groups: ['Complaints'] })
  const begin = await ann('GET', '/position')
  t.match(begin, { status: 200, body: { position: /^\d{16}$/, seen: '0', read: '0', unseen: 0, unread: 0 } })
  t.equal(begin.headers.get('cache-control'), 'no-store')
  const ids = [await send('user:ann', 'one'), await send('group:Complaints', { b: 1, a: [] }, { event: 'stock', key: 'k' }), await send(['all', 'user:ann', 'group:Complaints'], 3)]
  await publish('user:bob', 'not hers')
  const { status, headers, body } = await ann('GET')
  t.equal(status, 200)
  t.match(headers.get('content-type'), /^application\/json/)
  t.equal(headers.get('cache-control'), 'no-store')
  t.match(body, {
    notifications: [
      { id: ids[2], to: 'user:ann', event: 'message', data: 3, isRead: false },
      { id: ids[1], to: 'group:Complaints', event: 'stock', data: { b: 1, a: [] }, key: 'k', isRead: false },
      { id: ids[0], to: 'user:ann', event: 'message', data: 'one', isRead: false }
    ],
    complete: true,
    seen: '0',
    read: '0',
    unseen: 3,
    unread: 3
  })
  t.equal(body.notifications.length, 3)
  t.equal(body.next, undefined)
  t.ok(Number(body.position) >= Number(ids[2]))
  t.equal(Date.parse(body.notifications[0].at), Math.floor(Number(ids[2]) / 1000))
  const first = (await ann('GET', '?limit=2')).body
  t.same(first.notifications.map(({ id }: { id: string }) => id), [ids[2], ids[1]])
  const second = (await ann('GET', `?limit=2&before=${first.next}`)).body
  t.same(second.notifications.map(({ id }: { id: string }) => id), [ids[0]])
  t.same((await as('bob')('GET')).body.notifications.map(({ data }: { data: unknown }) => data), ['not hers', 3])
})

t.test('list, of data that JSON.stringify would change, gives the text that came', async (t) => {
  const all = await startNodes(t, 'redis', redis)
  const data = '{"n":12345678901234567890,"x":1.10,"big":1e400,"b":1,"a":2,"b":3}'
  const token = all.token({ sub: 'op', scope: PUBLISH })
  const posted = await fetch(`${all.nodes[0]!.url}${PATH}`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: `{"to":"user:ann","data":${data}}` })
  t.equal(posted.status, 202)
  const text = await (await fetch(`${all.nodes[1]!.url}${PATH}`, { headers: { authorization: `Bearer ${all.token({ sub: 'ann' })}` } })).text()
  t.ok(text.includes(`"data":${data}`), text)
})

onBoth(t, 'cursors and marks, on one device, are heard by every stream of the user on every node within a second', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const { send, as } = world(all)
  const devices = [0, 1, 1].map((node) => all.client(t, { sub: 'ann' }, { node }))
  const bob = all.client(t, { sub: 'bob' })
  await Promise.all([...devices, bob].map((client) => client.live()))
  const ids = [await send('user:ann', 1), await send('user:ann', 2), await send('user:ann', 3)]
  const ann = as('ann')
  const heard = async (fits: (json: any) => boolean) => {
    const begin = performance.now()
    const queueMs = watchCpuQueue([redis.pid])
    for (const device of devices) {
      const event = await device.next(({ event, json }) => event === 'read' && fits(json))
      t.equal(event.id, undefined, 'without an id')
      t.ok(event.at - begin - queueMs() < 1000)
    }
  }
  t.match(await ann('PUT', '/seen', { upTo: ids[2]! }), { status: 200, body: { seen: ids[2], read: '0', unseen: 0, unread: 3 } })
  await heard(({ seen }) => seen === ids[2])
  t.match(await ann('PUT', `/${ids[1]}/read`), { status: 200, body: { unread: 2 } })
  await heard(({ unread, changed }) => unread === 2 && changed[0].id === ids[1] && changed[0].isRead === true)
  t.match(await ann('PUT', '/read', { upTo: ids[0]! }), { status: 200, body: { seen: ids[2], read: ids[0], unread: 1 } })
  t.match(await ann('PUT', '/read', { upTo: ids[2]! }), { status: 200, body: { read: ids[2], unread: 0 } })
  t.match(await ann('PUT', '/read', { upTo: ids[0]! }), { status: 200, body: { read: ids[2], unread: 0 } }, 'never back')
  t.match(await ann('DELETE', `/${ids[0]}/read`), { status: 200, body: { unread: 1 } })
  await heard(({ changed }) => changed?.[0].id === ids[0] && changed[0].isRead === false)
  t.match(await ann('DELETE', `/${ids[1]}`), { status: 200 })
  await heard(({ changed }) => changed?.[0].id === ids[1] && changed[0].dismissed === true)
  t.same((await ann('GET', '?unread=true')).body.notifications.map(({ id }: { id: string }) => id), [ids[0]])
  t.same((await ann('GET')).body.notifications.map(({ id }: { id: string }) => id), [ids[2], ids[0]])
  t.notOk(bob.events.some(({ event }) => event === 'read'), 'nobody else hears of it')
})

onBoth(t, 'options, keep, ttl and key, do what they say', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const { send, publish, as } = world(all)
  const client = all.client(t, { sub: 'ann' })
  const sync = await client.live()
  const replay = await send('user:ann', 'price', { keep: 'replay' })
  const none = await publish('user:ann', 'passing', { keep: 'none' })
  t.same(none.body, { notifications: [{ to: 'user:ann', receivers: 1 }] }, 'no id')
  const old = await send('user:ann', 'old', { key: 'k' })
  const young = await send('user:ann', 'young', { key: 'k', ttl: 3600 })
  for (const data of ['price', 'passing', 'old', 'young']) t.equal((await client.next()).json, data)
  t.same((await as('ann')('GET')).body.notifications.map(({ id }: { id: string }) => id), [young])
  const away = all.client(t, { sub: 'ann' }, { lastEventId: sync.id! })
  t.match((await away.live()).json, { resume: 'complete', replayed: 2 })
  t.same(away.notifications.map(({ id }) => id), [replay, young])
  t.not(old, young)
  for (const more of [{ ttl: 1 }, { ttl: 86_400 }, { key: 'k'.repeat(128) }, { key: '😀'.repeat(128) }]) t.equal((await publish('user:ann', 1, more)).status, 202, 'at its limit')
  const narrow = await all.call('POST', PATH, { body: { to: 'all', data: 1, keep: 'none' }, token: all.token({ sub: 'svc', scope: `${PUBLISH}:user` }) })
  t.match(narrow, { status: 403, body: { code: 'TIDINGS_SCOPE_MISSING' } }, 'what is not kept needs its scope, too')
  t.match(await publish('user:ann', 1, { keep: 'none', event: 'sync' }), { status: 400, body: { code: 'TIDINGS_RESERVED_EVENT' } }, 'and is looked at')
})

onBoth(t, 'position, of the user or asked by a back end, joins a page and the stream: what changed after it comes once, by whichever address', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const { send, as } = world(all)
  const ann = as('ann', { groups: ['g'] })
  await ann('GET', '/position')
  const rows: string[] = []
  const change = async () => { for (const to of ['user:ann', 'group:g', 'all', ['all', 'group:g', 'user:ann']]) rows.push(await send(to, rows.length)) }
  for (const ask of [async () => await ann('GET', '/position'), async () => await all.call('GET', '/api/users/ann/position', { node: 1 })]) {
    await change()
    const known = rows.length
    const { body: { position } } = await ask()
    t.ok(Number(position) >= Number(rows.at(-1)))
    await change() // while the page reads its own data
    const client = all.client(t, { sub: 'ann', groups: ['g'] }, { node: 1, query: { lastEventId: position } })
    t.match((await client.live()).json, { resume: 'complete', replayed: 4 })
    await change()
    await client.next(({ id }) => id === rows.at(-1))
    t.same(client.notifications.map(({ id }) => id), rows.slice(known))
    client.close()
  }
})

onBoth(t, 'retract, by id or by key, takes it from everybody and tells every stream; a second time there is none', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const { send, as } = world(all)
  const devices = [0, 1, 1].map((node) => all.client(t, { sub: 'ann', groups: ['g'] }, { node }))
  await Promise.all(devices.map((client) => client.live()))
  const heard = async (json: object) => {
    const [begin, queueMs] = [performance.now(), watchCpuQueue([redis.pid])]
    for (const device of devices) {
      const event = await device.next(({ event }) => event === 'retracted')
      t.match(event, { id: undefined, json })
      t.ok(event.at - begin - queueMs() < 1000, 'within a second')
    }
  }
  const id = await send('user:ann', 1)
  const keyed = await send('group:g', 2, { key: 'k' })
  const retract = async (body: object, scope = PUBLISH) => await all.call('POST', `${PATH}/retract`, { body, token: all.token({ sub: 'svc', scope }) })
  t.match(await retract({ to: 'user:ann', id }), { status: 200, body: { retracted: true } })
  await heard({ to: 'user:ann', id })
  t.match(await retract({ to: 'group:g', key: 'k' }, `${PUBLISH}:group:g`), { status: 200, body: { retracted: true } })
  await heard({ to: 'group:g', id: keyed, key: 'k' })
  for (const body of [{ to: 'user:ann', id }, { to: 'group:g', key: 'k' }, { to: 'user:ann', id: '1763794001222333' }, { to: 'user:bob', key: 'none' }, { to: 'user:bob', id: keyed }]) {
    t.match(await retract(body), { status: 200, body: { retracted: false } }, JSON.stringify(body))
  }
  t.same((await as('ann', { groups: ['g'] })('GET')).body.notifications, [])
  t.match(await retract({ to: 'user:ann', id }, `${PUBLISH}:group:g`), { status: 403, body: { code: 'TIDINGS_SCOPE_MISSING' } }, 'another address than the scope names')
  t.match(await retract({ to: 'user:ann', id }, ''), { status: 403 }, 'without a scope')
  for (const body of [{ to: 'user:ann' }, { to: 'user:ann', id, key: 'k' }, { id }, { to: ['user:ann'], id }, { to: 'user:ann', id: 5 }]) {
    t.match(await retract(body), { status: 400, body: { code: 'TIDINGS_BAD_REQUEST' } }, JSON.stringify(body))
  }
  t.match(await retract({ to: 'nobody', id }), { status: 400, body: { code: 'TIDINGS_BAD_ADDRESS' } })
  for (const id of ['', 'x', '-1', '1.5', '9'.repeat(17), 'x'.repeat(10_000)]) t.match(await retract({ to: 'user:ann', id }), { status: 400, body: { code: 'TIDINGS_BAD_POSITION' } })
  for (const key of ['', 'k'.repeat(129), 'a\nb', '\ud800']) t.match(await retract({ to: 'user:ann', key }), { status: 400, body: { code: 'TIDINGS_BAD_KEY' } })
})

onBoth(t, 'retract, of what went to two addresses, by a publisher whose scope has one of them, takes it from that one alone', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const { send, as } = world(all)
  const [ann, bob] = [all.client(t, { sub: 'ann', groups: ['g'] }, { node: 1 }), all.client(t, { sub: 'bob', groups: ['g'] })]
  await Promise.all([ann.live(), bob.live()])
  const id = await send(['user:ann', 'group:g'], 1, { key: 'k' })
  const retract = async (body: object) => await all.call('POST', `${PATH}/retract`, { body, token: all.token({ sub: 'svc', scope: `${PUBLISH}:user:ann` }) })
  const shown = async (): Promise<unknown> => await Promise.all(['ann', 'bob'].map(async (sub) => (await as(sub, { groups: ['g'] })('GET')).body.notifications.map(({ to }: { to: string }) => to)))
  for (const what of [{ id }, { key: 'k' }]) t.match(await retract({ to: 'group:g', ...what }), { status: 403, body: { code: 'TIDINGS_SCOPE_MISSING' } })
  t.same(await shown(), [['user:ann'], ['group:g']])
  t.match(await retract({ to: 'user:ann', id }), { status: 200, body: { retracted: true } })
  t.match(await ann.next(({ event }) => event === 'retracted'), { json: { to: 'user:ann', id } })
  t.same(await shown(), [['group:g'], ['group:g']], 'the group has it still, and so has Ann as its member')
  t.match(await retract({ to: 'user:ann', key: 'k' }), { status: 200, body: { retracted: false } })
  const fence = await send('group:g', 'fence')
  await bob.next((event) => event.id === fence)
  t.notOk(bob.events.some(({ event }) => event === 'retracted'), 'nobody else was told')
})

onBoth(t, 'input, that is bad, is refused with a sentence, and somebody else\'s notification is as unknown as none', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const { send, publish, as } = world(all)
  const [hers, his] = [await send('user:ann', 1), await send('user:bob', 2)]
  const [ann, ahead] = [as('ann'), String(Number(hers) + 3_600_000_000)]
  for (const upTo of ['', 'x', '-1', '1.5', '1e15', ' 1', '01', '!replaced', '9'.repeat(17), 'x'.repeat(10_000), ahead, '99999999999999999999']) {
    for (const cursor of ['/seen', '/read']) t.match(await ann('PUT', cursor, { upTo }), { status: 400, body: { code: 'TIDINGS_BAD_POSITION' } }, `${cursor} ${upTo.slice(0, 20)}`)
    if (upTo !== '' && upTo !== ahead) t.match(await ann('GET', `?before=${encodeURIComponent(upTo)}`), { status: 400 })
  }
  // A small number, seconds, milliseconds: no clock of ours gave them.
  for (const upTo of ['1', '1763794001', '1763794001222']) {
    for (const cursor of ['/seen', '/read']) t.match(await ann('PUT', cursor, { upTo }), { status: 400, body: { code: 'TIDINGS_BAD_POSITION' } }, `${cursor} ${upTo}`)
  }
  for (const body of [{}, { upTo: 5 }, { upTo: null }, { upTo: [hers] }, { upTo: hers, more: 1 }]) t.match(await ann('PUT', '/read', body), { status: 400, body: { code: 'TIDINGS_BAD_REQUEST' } })
  t.match(await ann('PUT', '/read', { upTo: '0' }), { status: 200 }, 'the cursor of who never read')
  const unknown = String(Number(hers) - 5)
  const answers = []
  for (const [method, suffix] of [['PUT', '/read'], ['DELETE', '/read'], ['DELETE', '']] as const) {
    for (const id of [his, unknown, '1', ahead]) answers.push(await ann(method, `/${id}${suffix}`))
    t.match(await ann(method, `/nonsense${suffix}`), { status: 400, body: { code: 'TIDINGS_BAD_POSITION' } })
  }
  t.same(new Set(answers.map(({ status, body }) => `${status} ${JSON.stringify(body)}`)).size, 1, 'no difference between another\'s and none')
  t.match(answers[0], { status: 404, body: { code: 'TIDINGS_NO_NOTIFICATION' } })
  t.equal((await as('bob')('GET')).body.notifications[0].isRead, false)
  const faults = { 'limit=0': '>= 1', 'limit=-1': '>= 1', 'limit=101': '<= 100', 'limit=1.5': 'integer', 'limit=': 'integer', 'unread=yes': 'boolean', 'unread=1': 'boolean', 'limit=1&limit=2': 'integer' }
  for (const [query, message] of Object.entries(faults)) t.match(await ann('GET', `?${query}`), { status: 400, body: { message } }, query)
  for (const ttl of [0, -1, 1.5, 86_401, 1e300]) t.match(await publish('user:ann', 1, { ttl }), { status: 400, body: { code: 'TIDINGS_BAD_TTL', message: /86400/ } }, `ttl ${ttl}`)
  for (const key of ['', 'k'.repeat(129), 'a\nb', 'a\u0000', '\ud800']) t.match(await publish('user:ann', 1, { key }), { status: 400, body: { code: 'TIDINGS_BAD_KEY' } }, `key of ${key.length}`)
  for (const keep of ['', 'Inbox', 'forever', 'none ']) t.match(await publish('user:ann', 1, { keep }), { status: 400, body: { code: 'TIDINGS_BAD_KEEP' } }, `keep ${keep}`)
  for (const more of [{ ttl: '5' }, { ttl: null }, { key: 5 }, { keep: null }]) t.match(await publish('user:ann', 1, more), { status: 400, body: { code: 'TIDINGS_BAD_REQUEST' } })
  t.equal((await ann('GET')).body.notifications.length, 1, 'nothing of it was published')
})

onBoth(t, 'inbox, past INBOX_PER_MINUTE of one user over two nodes, is 429 with Retry-After; another user and back ends are not meant', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { env: { INBOX_PER_MINUTE: '5' } })
  const { send, as } = world(all)
  const id = await send('user:ann', 1)
  const ann = as('ann')
  const ways: Array<[method: string, path: string, body?: object]> = [['GET', ''], ['GET', '/position'], ['PUT', '/seen', { upTo: id }], ['PUT', '/read', { upTo: id }], ['PUT', `/${id}/read`]]
  for (const [i, [method, path, body]] of ways.entries()) t.equal((await ann(method, path, body, i % 2)).status, 200)
  for (const [i, [method, path, body]] of ways.entries()) {
    const { status, headers, body: error } = await ann(method, path, body, i % 2)
    t.match({ status, error }, { status: 429, error: { code: 'TIDINGS_TOO_MANY_REQUESTS', message: /INBOX_PER_MINUTE/ } })
    t.match(headers.get('retry-after'), /^[1-9]\d*$/)
  }
  t.equal((await as('bob')('GET')).status, 200)
  for (let i = 0; i < 8; i++) t.equal((await all.call('GET', '/api/users/ann/notifications')).status, 200)
})

onBoth(t, 'back end, with notifications:manage, reads any user\'s inbox and changes nothing', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const { send, as } = world(all)
  const id = await send('user:ann', 'x')
  for (const path of ['/api/users/ann/notifications', '/api/users/ann/position']) {
    const { status, headers, body } = await all.call('GET', path)
    t.match({ status, body }, { status: 200, body: { position: String, seen: '0', read: '0', unseen: 1, unread: 1 } })
    t.equal(headers.get('cache-control'), 'no-store')
    if (path.endsWith('notifications')) t.match(body.notifications, [{ id, data: 'x', isRead: false }])
    for (const [token, status] of [[null, 401], [all.token({ sub: 'ann' }), 403], [all.token({ sub: 'ann', scope: PUBLISH }), 403]] as const) t.equal((await all.call('GET', path, { token })).status, status)
  }
  t.match(await all.call('GET', '/api/users/%00/notifications'), { status: 400, body: { code: 'TIDINGS_BAD_NAME' } })
  t.match((await as('ann')('GET')).body, { unread: 1 })
})

t.test('Tidings-User: the inbox of that user alone is read and changed; another\'s token or cookie is refused', async (t) => {
  const all = await startNodes(t, 'memory', redis)
  const { send } = world(all)
  const sub = 'Z\u00fcrich/7 %'
  const id = await send(`user:${sub}`, 1)
  const cookie = `tidings_token=${all.token({ sub })}`
  const ways: Array<[method: string, path: string, body?: object]> = [
    ['GET', ''], ['GET', '/position'], ['PUT', '/seen', { upTo: id }], ['PUT', '/read', { upTo: id }], ['PUT', `/${id}/read`], ['DELETE', `/${id}/read`], ['DELETE', `/${id}`]
  ]
  for (const [user, expected] of [['ann', { status: 403, body: { code: 'TIDINGS_NOT_YOUR_STREAM' } }], [sub, { status: 200 }]] as const) {
    for (const [method, path, body] of ways) {
      const headers = { cookie, 'tidings-user': encodeURIComponent(user) }
      t.match(await all.call(method, `${PATH}${path}`, { token: null, headers, ...(body !== undefined && { body }) }), expected, `${user} ${method} ${path}`)
    }
    if (user === 'ann') t.match((await all.call('GET', `${PATH}/position`, { token: all.token({ sub }) })).body, { unseen: 1, unread: 1 }, 'nothing was moved')
  }
})

t.test('cookie, of a foreign page, reads and changes no inbox; of our own it does', async (t) => {
  const all = await startNodes(t, 'memory', redis, { env: { CORS_ORIGINS: 'https://app.example' } })
  const { send } = world(all)
  const id = await send('user:ann', 1)
  const cookie = `tidings_token=${all.token({ sub: 'ann' })}`
  const ways: Array<[method: string, path: string, body?: object]> = [
    ['GET', ''], ['GET', '/position'], ['PUT', '/seen', { upTo: id }], ['PUT', '/read', { upTo: id }], ['PUT', `/${id}/read`], ['DELETE', `/${id}/read`], ['DELETE', `/${id}`]
  ]
  for (const [origin, status] of [['https://evil.example', 403], ['https://app.example', 200]] as const) {
    for (const [method, path, body] of ways) {
      const answer = await all.call(method, `${PATH}${path}`, { token: null, headers: { cookie, origin, 'sec-fetch-site': 'cross-site' }, ...(body !== undefined && { body }) })
      t.equal(answer.status, status, `${origin} ${method} ${path}`)
      t.equal(answer.headers.get('access-control-allow-origin'), status === 200 ? origin : null)
    }
  }
})
