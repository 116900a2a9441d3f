// The users routes: groups read, replaced, joined and left, what live streams make of it, the token's claim, presence, names and limits.
import t from 'tap'
import { MemoryBus } from '../../src/broker/memory/bus.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { assertError, show, startService } from './service.ts'

const now = () => Math.floor(Date.now() / 1000)
const newBus = () => new MemoryBus({ historyLength: 1000, groupHistoryLength: 1000, historySeconds: 1000, maxDataBytes: 65_536 })

t.test('groups, read and replaced, joined and left: the list after it, sorted, each time', async (t) => {
  const service = await startService(t)
  const steps: Array<[method: string, path: string, body: unknown, groups: string[]]> = [
    ['GET', 'groups', undefined, []],
    ['PUT', 'groups', { groups: ['b', 'a', 'b'] }, ['a', 'b']],
    ['PUT', 'groups/c', undefined, ['a', 'b', 'c']],
    ['PUT', 'groups/c', undefined, ['a', 'b', 'c']],
    ['DELETE', 'groups/a', undefined, ['b', 'c']],
    ['DELETE', 'groups/a', undefined, ['b', 'c']],
    ['DELETE', 'groups/never', undefined, ['b', 'c']],
    ['PUT', 'groups', { groups: ['d', 'b'] }, ['b', 'd']],
    ['PUT', 'groups', { groups: [] }, []],
    ['PUT', 'groups/__proto__', undefined, ['__proto__']],
    ['PUT', `groups/${encodeURIComponent('a/b c:d?é')}`, undefined, ['__proto__', 'a/b c:d?é']],
    ['PUT', `groups/${encodeURIComponent('😀'.repeat(128))}`, undefined, ['__proto__', 'a/b c:d?é', '😀'.repeat(128)]]
  ]
  for (const [method, path, body, groups] of steps) {
    const answer = await service.call(method, `/api/users/42/${path}`, { body })
    t.same([answer.status, answer.body], [200, { groups }], `${method} ${show(path)}`)
    t.same((await service.call('GET', '/api/users/42/groups')).body, { groups })
  }
  t.same((await service.call('GET', '/api/users/43/groups')).body, { groups: [] }, 'another user has none of it')
})

t.test('groups, joined and left while streams are open: they follow, on every node, and get exactly what they are owed', async (t) => {
  const bus = newBus()
  const one = await startService(t, { bus })
  const two = await startService(t, { bus, issuer: one.issuer })
  const ledger = new Ledger(t)
  const members = [one.client(t), one.client(t), two.client(t)]
  const other = two.client(t, { sub: '43', groups: ['g'] })
  for (const client of [...members, other]) {
    await client.live()
    ledger.open(client, [`user:${client === other ? 43 : 42}`])
  }
  ledger.join([other], 'group:g')
  await one.send(ledger, 'group:g', 'before')
  for (let round = 0; round < 5; round++) {
    await one.call('PUT', '/api/users/42/groups/g')
    ledger.join(members, 'group:g')
    await two.send(ledger, 'group:g', 'a member on both nodes')
    await one.send(ledger, 'user:42')
    t.equal((await one.publish('group:g', { mark: ledger.mark() })).body.notifications[0].receivers > 0, true)
    await one.call('DELETE', '/api/users/42/groups/g')
    ledger.leave(members, 'group:g')
    await one.send(ledger, 'group:g', 'no member any more')
    await two.send(ledger, 'all')
    await ledger.settled()
  }
  t.same(ledger.faults().map(({ missing, duplicates, outOfOrder, altered }) => [missing, duplicates, outOfOrder, altered]).flat(2), [])
  const wrong = ledger.faults().flatMap(({ foreign }) => foreign).filter((text) => text.includes('no member'))
  t.same(wrong, [], 'nothing after it was left')
  for (const client of [...members, other]) t.equal(client.connections.length, 1, 'no stream had to reconnect')
})

t.test('groups, replaced while a stream is open: the new ones are heard, the old ones not', async (t) => {
  const service = await startService(t)
  const ledger = new Ledger(t)
  const client = service.client(t, { groups: ['old', 'kept'] })
  await client.live()
  ledger.open(client, ['user:42', 'group:old', 'group:kept'])
  for (const to of ['group:old', 'group:kept', 'group:new']) await service.send(ledger, to)
  await service.call('PUT', '/api/users/42/groups', { body: { groups: ['kept', 'new'] } })
  ledger.leave([client], 'group:old')
  ledger.join([client], 'group:new')
  for (const to of ['group:old', 'group:kept', 'group:new', 'all']) await service.send(ledger, to)
  await ledger.settled()
  ledger.assertExact(t)
})

t.test('groups, history: replayed from the join on, not before, and not after it was left', async (t) => {
  const service = await startService(t)
  const client = service.client(t, {}, { reconnect: false })
  const { id } = await client.live()
  client.close()
  const publish = async () => (await service.publish('group:g', 'x')).body.notifications[0].id
  await publish()
  await service.call('PUT', '/api/users/42/groups/g')
  const owed = [await publish(), await publish()]
  const back = service.client(t, {}, { lastEventId: id! })
  await back.live()
  t.same(back.notifications.map(({ id }) => id), owed)
  await service.call('DELETE', '/api/users/42/groups/g')
  const left = service.client(t, {}, { lastEventId: id! })
  t.match((await left.live()).json, { replayed: 0, groups: [] })
})

t.test('claim, groups of a token: joined at connect; one that was left since it was issued stays left', async (t) => {
  const service = await startService(t)
  const iat = now() - 5
  const groupsOf = async (claims: object) => {
    const client = service.client(t, { sub: '42', ...claims }, { reconnect: false })
    const { json } = await client.live()
    client.close()
    return json.groups
  }
  t.same(await groupsOf({ groups: ['a', 'b'], iat }), ['a', 'b'])
  t.same((await service.call('GET', '/api/users/42/groups')).body, { groups: ['a', 'b'] }, 'the users routes know them')
  t.same(await groupsOf({ groups: ['c'], iat }), ['a', 'b', 'c'], 'of two tokens of one age, each adds')
  await service.call('DELETE', '/api/users/42/groups/b')
  t.same(await groupsOf({ groups: ['a', 'b'], iat }), ['a', 'c'], 'left after iat')
  t.same(await groupsOf({ groups: ['b'], iat: undefined }), ['a', 'c'], 'a token that does not say when it was issued')
  t.same(await groupsOf({ groups: ['b', 'c'], iat: now() + 2 }), ['b', 'c'], 'a token that is newer brings it back, and takes what it lacks')
  await service.call('DELETE', '/api/users/42/groups/b')
  await service.call('PUT', '/api/users/42/groups/b')
  t.same(await groupsOf({ iat }), ['b', 'c'], 'joined again by a manager')
})

t.test('claim, group left while the stream is open: a reconnect with the same token does not bring it back', async (t) => {
  const service = await startService(t)
  const client = service.client(t, { groups: ['g'], iat: now() - 5 })
  t.same((await client.live()).json.groups, ['g'])
  await service.call('DELETE', '/api/users/42/groups/g')
  client.drop({ reset: true })
  t.same((await client.live(2)).json.groups, [])
})

t.test('groups, limits: 1,000 are taken, one more is refused, however it comes', async (t) => {
  const service = await startService(t)
  const names = (count: number) => Array.from({ length: count }, (_, i) => `g${i}`)
  const put = async (path: string, body?: unknown) => await service.call('PUT', `/api/users/42/${path}`, { body })
  t.equal((await put('groups', { groups: names(1000) })).body.groups.length, 1000)
  assertError(t, await put('groups/one-more'), 'TIDINGS_TOO_MANY_GROUPS')
  assertError(t, await put('groups', { groups: names(1001) }), 'TIDINGS_BAD_REQUEST', '1,001 at once')
  t.equal((await put('groups/g5')).status, 200, 'one that the user is in already')
  t.equal((await put('groups', { groups: Array.from({ length: 1000 }, (_, i) => `h${i}`) })).body.groups.length, 1000, 'all of them exchanged')
  await service.call('DELETE', '/api/users/42/groups/h0')
  t.equal((await put('groups/one-more')).body.groups.length, 1000, 'a place that has become free')
})

t.test('names, what is one and what is not', async (t) => {
  const service = await startService(t)
  const bad = ['u'.repeat(129), '😀'.repeat(129), 'a\nb', 'a\0', '\u0085', '\t', '\u007f']
  for (const name of bad) {
    const encoded = encodeURIComponent(name)
    for (const [method, path] of [['GET', `${encoded}/groups`], ['PUT', `${encoded}/groups/g`], ['DELETE', `${encoded}/groups/g`], ['GET', `${encoded}/presence`], ['PUT', `42/groups/${encoded}`], ['DELETE', `42/groups/${encoded}`]]) {
      assertError(t, await service.call(method!, `/api/users/${path}`), 'TIDINGS_BAD_NAME', `${method} ${show(name)}`)
    }
    assertError(t, await service.call('PUT', '/api/users/42/groups', { body: { groups: ['good', name] } }), 'TIDINGS_BAD_NAME', `in a list: ${show(name)}`)
  }
  assertError(t, await service.call('PUT', '/api/users/42/groups', { body: { groups: [''] } }), 'TIDINGS_BAD_NAME', 'empty, in a list')
  assertError(t, await service.call('PUT', '/api/users/42/groups', { body: '{"groups":["\\ud800"]}' }), 'TIDINGS_BAD_NAME', 'half an emoji, in a list')
  for (const body of [{}, { groups: 'a' }, { groups: [1] }, { groups: null }, { groups: [], more: 1 }, [], 'null']) {
    assertError(t, await service.call('PUT', '/api/users/42/groups', { body }), 'TIDINGS_BAD_REQUEST', show(body))
  }
  t.same((await service.call('GET', '/api/users/42/groups')).body, { groups: [] }, 'nothing of a bad request was done')
  const long = await service.call('GET', `/api/users/${'x'.repeat(3000)}/presence`)
  t.match(long.body, { statusCode: 400, code: /^TIDINGS_BAD_(NAME|REQUEST)$/, error: 'Bad Request', message: String }, 'far too long')
})

t.test('names, in Tidings-User: understood as every language encodes them in a URL, and no other name', async (t) => {
  const service = await startService(t)
  const token = service.token({ sub: 'o\'brien/7@b.c %41' })
  const status = async (name: string) => (await service.call('GET', '/api/notifications/position', { token, headers: { 'tidings-user': name } })).status
  t.equal(await status('o\'brien%2F7%40b.c%20%2541'), 200, 'encodeURIComponent(name)')
  t.equal(await status('o%27brien%2F7%40b.c%20%2541'), 200, 'Python: quote(name, safe="")')
  t.equal(await status('o%27brien%2F7@b.c%20%2541'), 200, 'Go: url.PathEscape(name)')
  t.equal(await status('o%27brien%2f7%40b.c%20%2541'), 200, 'in lower case')
  for (const other of ['o%27brien%2F7@b.c%20%41', 'o%2527brien%2F7@b.c%20%2541', '%', '%C0%AF', 'ann', '']) t.equal(await status(other), 403, `none, or another: ${other}`)
})

t.test('presence: where the user has a stream, and gone some seconds after the last one', async (t) => {
  const bus = newBus()
  const dropped = Promise.withResolvers<void>()
  const one = await startService(t, {
    bus,
    alter: (broker) => {
      const { unsubscribe } = broker
      broker.unsubscribe = (addresses) => {
        unsubscribe.call(broker, addresses)
        if (addresses.includes('user:42')) dropped.resolve()
      }
    }
  })
  const two = await startService(t, { bus, issuer: one.issuer })
  const presence = async () => (await two.call('GET', '/api/users/42/presence')).body
  t.same(await presence(), { online: false, nodes: 0 })
  const client = one.client(t)
  await client.live()
  t.same(await presence(), { online: true, nodes: 1 })
  await one.client(t).live()
  t.same(await presence(), { online: true, nodes: 1 }, 'nodes, not streams')
  const elsewhere = two.client(t)
  await elsewhere.live()
  t.same(await presence(), { online: true, nodes: 2 })
  t.equal((await one.publish('user:42', 1)).body.notifications[0].receivers, 2)
  t.same((await two.call('GET', '/api/users/43/presence')).body, { online: false, nodes: 0 })

  await one.app.hub.drain(0)
  await dropped.promise
  t.same(await presence(), { online: true, nodes: 1 })
})
