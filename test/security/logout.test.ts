// Logout, and leaving a group: live streams follow within a second on every node, and older tokens do not bring it back.
import t from 'tap'
import type { Broker } from '../../src/broker/broker.ts'
import { watchCpuQueue } from '../fixtures/cpu-queue.ts'
import { startRedis } from '../fixtures/redis.ts'
import { MANAGE, PUBLISH } from '../fixtures/tokens.ts'
import type { Scope } from '../fixtures/wait.ts'
import { passOf, onBoth, startNodes, type Nodes } from './nodes.ts'

const SUBSCRIBE = '/api/notifications/subscribe'
const redis = await startRedis(t)
const now = (): number => Math.floor(Date.now() / 1000)
/** Tokens say when they were issued in whole seconds; one of the very second of the logout counts as older if it was used. */
const nextSecond = async (): Promise<void> => { await new Promise((resolve) => { setTimeout(resolve, 1010 - Date.now() % 1000) }) }
const logout = async (all: Nodes, sub: string, node = 0): Promise<void> => {
  const { status } = await all.call('DELETE', `/api/users/${encodeURIComponent(sub)}/streams`, { node })
  if (status !== 204) throw new Error(`logout: ${status}`)
}

/** Routes that look at no token. */
const PUBLIC = ['/livez', '/readyz', '/metrics', '/client.js', '/client.d.ts', '/react.js']

/** Every route that there is, as OpenAPI has them, but the public ones. */
function routesOf ({ nodes }: Nodes): Array<[method: string, path: string]> {
  return Object.entries(nodes[0]!.app.swagger().paths ?? {})
    .filter(([path]) => !PUBLIC.includes(path))
    .flatMap(([path, methods]) => Object.keys(methods as object).map((method): [string, string] => [method.toUpperCase(), path.replace('{userId}', 'ann').replaceAll(/\{\w+\}/g, '1')]))
}

/** A body that the route takes, so that nothing else refuses it. */
function bodyOf (path: string): object {
  if (path.endsWith('/groups')) return { groups: [] }
  if (path.endsWith('/seen') || path.endsWith('/read')) return { upTo: '1000000000000001' }
  if (path.endsWith('/retract')) return { to: 'user:bob', id: '1' }
  return { to: 'user:bob', data: 1 }
}

onBoth(t, 'logout, of a user with streams on every node, ends them within a second and for good', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { count: 3 })
  const ann = [0, 1, 2, 0].map((node) => all.client(t, { sub: 'ann' }, { node }))
  const bob = all.client(t, { sub: 'bob' })
  await Promise.all([...ann, bob].map((client) => client.live()))
  const begin = performance.now()
  const queueMs = watchCpuQueue([redis.pid])
  await logout(all, 'ann', 1)
  for (const client of ann) {
    const last = await client.closed()
    t.match(client.events.at(-1), { event: 'closed', id: '!closed', json: { reason: 'logout' } })
    t.match(last, { status: 204, sentLastEventId: '!closed', number: 2 })
    t.ok(client.events.at(-1)!.at - begin - queueMs() < 1000, `after ${Math.round(client.events.at(-1)!.at - begin)} ms`)
  }
  t.equal(bob.state, 'open', 'another user stays')
})

onBoth(t, 'logout, then every older token of the user, is refused everywhere; a newer one is taken', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const scope = `${PUBLISH} ${MANAGE}`
  const issuedAt = now()
  const old = all.token({ sub: 'ann', scope, iat: issuedAt })
  const undated = all.token({ sub: 'ann', scope, iat: undefined })
  const unused = await all.ticket({ sub: 'ann' })
  const spent = await all.ticket({ sub: 'ann' })
  const stream = all.bare(t, { query: { ticket: spent }, reconnect: false })
  await stream.live()
  const { name, value } = passOf(stream)
  for (const token of [old, undated]) t.equal((await all.call('GET', '/api/users/ann/groups', { token })).status, 200, 'before it, both are good')
  await logout(all, 'ann')

  const published = async (token: string) => await all.call('POST', '/api/notifications', { token, node: 1, body: { to: 'user:bob', data: 1 } })
  const TOKEN_REVOKED = { status: 401, body: { code: 'TIDINGS_TOKEN_REVOKED' } }
  for (const [what, token] of [['older', old], ['without iat', undated]] as const) {
    t.match(await published(token), TOKEN_REVOKED, `${what}: publish`)
    t.match(await all.call('GET', SUBSCRIBE, { token, node: 1 }), TOKEN_REVOKED, `${what}: stream`)
    t.match(await all.call('GET', `${SUBSCRIBE}/ann`, { token: null, headers: { cookie: `tidings_token=${token}` } }), TOKEN_REVOKED, `${what}: stream, by cookie`)
    t.match(await all.call('POST', '/api/notifications/tickets', { token }), TOKEN_REVOKED, `${what}: ticket`)
    for (const [method, path] of routesOf(all)) {
      // Each has a token of its own: one that another route has refused is known to the node, so a route that asks nobody would refuse it, too.
      const own = all.token({ sub: 'ann', scope, iat: what === 'older' ? issuedAt : undefined, jti: `${method} ${path}` })
      t.match(await all.call(method, path, { token: own, ...(method !== 'GET' && method !== 'DELETE' && { body: bodyOf(path) }) }), TOKEN_REVOKED, `${what}: ${method} ${path}`)
    }
  }
  t.match(await all.call('GET', `${SUBSCRIBE}?ticket=${unused}`, { token: null }), TOKEN_REVOKED, 'a ticket of before')
  t.match(await all.call('GET', `${SUBSCRIBE}?ticket=${spent}`, { token: null, headers: { cookie: `${name}=${value}` } }), TOKEN_REVOKED, 'a pass of before')
  t.match(await all.call('GET', SUBSCRIBE, { token: old, headers: { 'last-event-id': '1' } }), TOKEN_REVOKED, 'with a position')

  await nextSecond()
  t.equal((await published(all.token({ sub: 'ann', scope }))).status, 202, 'newer: publish')
  await all.client(t, { sub: 'ann' }, { node: 1 }).live()
  await all.bare(t, { query: { ticket: await all.ticket({ sub: 'ann' }) } }).live()
  t.equal((await published(old)).status, 401, 'the older stays refused')
  t.equal((await published(all.token({ sub: 'bob', scope, iat: now() - 3600 }))).status, 202, 'another user\'s old token is good')
})

onBoth(t, 'logout, then a ticket of before, is refused, and the newer cookie that came with it stays good', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const [unused, spent] = [await all.ticket({ sub: 'ann' }), await all.ticket({ sub: 'ann' })]
  const stream = all.bare(t, { query: { ticket: spent }, reconnect: false })
  await stream.live()
  const { name, value } = passOf(stream)
  await logout(all, 'ann')
  await nextSecond()
  for (const [sub, ticket] of [['ann', spent], ['bob', unused]] as const) {
    const cookie = `tidings_token=${all.token({ sub })}`
    const refused = await all.call('GET', `${SUBSCRIBE}?ticket=${ticket}`, { token: null, headers: { cookie: `${cookie}; ${name}=${value}` } })
    t.match(refused, { status: 401, body: { code: 'TIDINGS_TOKEN_REVOKED' } })
    t.equal((await all.call('GET', '/api/notifications', { token: null, headers: { cookie } })).status, 200, `the cookie of ${sub}`)
  }
})

onBoth(t, 'logout, then a token of that second that may not publish any more, reads on at every node', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  await nextSecond()
  await logout(all, 'ann')
  const token = all.token({ sub: 'ann', scope: PUBLISH })
  t.equal((await all.call('POST', '/api/notifications', { token, body: { to: 'user:ann', data: 1 } })).status, 401)
  t.equal((await all.call('POST', '/api/notifications/retract', { token, body: { to: 'user:ann', key: 'k' } })).status, 401)
  for (const node of [0, 1]) t.equal((await all.call('GET', '/api/notifications/position', { token, node })).status, 200, `node ${node}`)
})

onBoth(t, 'logout, twice and for one who is not there, is 204; by one who may not manage, 403', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const client = all.client(t, { sub: 'ann' })
  await client.live()
  t.equal((await all.call('DELETE', '/api/users/ann/streams', { token: all.token({ sub: 'ann', scope: PUBLISH }) })).status, 403)
  t.equal((await all.call('DELETE', '/api/users/ann/streams', { token: null })).status, 401)
  t.equal((await all.call('GET', '/api/users/ann/presence')).body.online, true)
  for (const sub of ['nobody', 'nobody', 'an', 'ann2', 'Ann', 'a:ann']) await logout(all, sub)
  t.equal(client.state, 'open')
  t.equal((await all.call('DELETE', '/api/users/%00/streams')).status, 400)
})

/** The first answer to a stream that opens reaches its node late: what is decided after it is heard before it. */
function lateAnswer (): { alter: (broker: Broker) => void, asked: Promise<void>, arrive: () => void } {
  const [asked, arrived] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let isFirst = true
  return {
    asked: asked.promise,
    arrive: arrived.resolve,
    alter: (broker) => {
      const { resume } = broker
      broker.resume = async (query) => {
        const page = await resume.call(broker, query)
        if (!isFirst) return page
        isFirst = false
        asked.resolve()
        await arrived.promise
        return page
      }
    }
  }
}
/** Resolves when the first node has heard everything that was decided before: what is published after it has arrived there. */
async function heard (t: Scope, all: Nodes): Promise<void> {
  const probe = all.client(t, { sub: 'probe' })
  await probe.live()
  await all.call('POST', '/api/notifications', { node: 1, body: { to: 'user:probe', data: 'heard' } })
  await probe.next(({ json }) => json === 'heard')
}

onBoth(t, 'logout, while a stream is being opened, ends it', async (t, kind) => {
  const late = lateAnswer()
  const all = await startNodes(t, kind, redis, { alter: late.alter })
  const client = all.client(t, { sub: 'ann' })
  await late.asked
  await logout(all, 'ann', 1)
  await heard(t, all)
  late.arrive()
  t.equal((await client.closed()).status, 204)
  t.same(client.syncs, [])
})

onBoth(t, 'leaving a group, with live streams, acts within a second on every node, also against a token that claims it', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { count: 3 })
  const token = all.token({ sub: 'ann', groups: ['Complaints', 'Sales'] })
  const clients = [0, 1, 2].map((node) => all.bare(t, { node, token }))
  await Promise.all(clients.map((client) => client.live()))
  const begin = performance.now()
  const queueMs = watchCpuQueue([redis.pid])
  t.equal((await all.call('DELETE', '/api/users/ann/groups/Complaints')).status, 200)
  await all.call('POST', '/api/notifications', { node: 1, body: { to: ['group:Complaints', 'group:Sales'], data: 1 } })
  for (const client of clients) t.match(await client.next(), { json: 1 })
  t.ok(performance.now() - begin - queueMs() < 1000)
  await all.call('POST', '/api/notifications', { node: 2, body: { to: 'user:ann', data: 'last' } })
  for (const client of clients) {
    await client.next(({ json }) => json === 'last')
    t.equal(client.notifications.length, 2, 'nothing of the group that was left')
    client.drop()
    t.same((await client.live(2)).json.groups, ['Sales'], 'a reconnect with the same token does not bring it back')
  }
  t.same((await all.bare(t, { node: 1, token }).live()).json.groups, ['Sales'], 'nor a fresh stream')
  t.same((await all.bare(t, { query: { ticket: (await all.call('POST', '/api/notifications/tickets', { token })).body.ticket } }).live()).json.groups, ['Sales'], 'nor a ticket')
  await nextSecond()
  t.same((await all.client(t, { sub: 'ann', groups: ['Complaints', 'Sales'] }).live()).json.groups, ['Complaints', 'Sales'], 'a newer token does')
})

onBoth(t, 'leaving a group never joined, before a token that claims it is first used, counts', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const token = all.token({ sub: 'ann', groups: ['Complaints'] })
  await all.call('DELETE', '/api/users/ann/groups/Complaints', { node: 1 })
  t.same((await all.bare(t, { token }).live()).json.groups, [])
})

onBoth(t, 'leaving a group, while a stream is being filled, is not overlooked', async (t, kind) => {
  const late = lateAnswer()
  const all = await startNodes(t, kind, redis, { alter: late.alter })
  await all.call('PUT', '/api/users/ann/groups/Complaints')
  const client = all.client(t, { sub: 'ann' })
  await late.asked
  await all.call('DELETE', '/api/users/ann/groups/Complaints', { node: 1 })
  await heard(t, all)
  late.arrive()
  t.same((await client.live()).json.groups, [], 'its sync knows')
  await all.call('POST', '/api/notifications', { node: 1, body: { to: 'group:Complaints', data: 'not for ann' } })
  await all.call('POST', '/api/notifications', { node: 1, body: { to: 'user:ann', data: 'last' } })
  t.equal((await client.next()).json, 'last', 'it gets nothing of the group')
})

onBoth(t, 'logout, of a user whose cookie stands beside that of another: once it is known as revoked, the other counts, although it is older', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { count: 1 })
  const [bob, dan] = [all.token({ sub: 'bob', iat: now() - 100 }), all.token({ sub: 'dan', iat: now() - 500 })].map((token) => `tidings_token=${token}`)
  const list = async (cookie: string) => await all.call('GET', '/api/notifications', { token: null, headers: { cookie, 'tidings-user': 'dan' } })
  t.equal((await list(`${bob!}; ${dan!}`)).status, 403, 'who has signed in last')
  await logout(all, 'bob')
  t.equal((await all.call('GET', '/api/notifications', { token: null, headers: { cookie: bob! } })).status, 401)
  t.equal((await list(`${bob!}; ${dan!}`)).status, 200)
})
