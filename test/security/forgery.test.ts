// Who may PUBLISH on a channel can imitate what the library sends there: what that does, and what it does not.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { startNodes } from './nodes.ts'

const redis = await startRedis(t)

async function start (t: any, env: Record<string, string> = {}) {
  const all = await startNodes(t, 'redis', redis, { env })
  const forge = async (address: string, payload: unknown) => await redis.cli('PUBLISH', `${all.prefix}:${address}`, typeof payload === 'string' ? payload : JSON.stringify(payload))
  const id = () => Date.now() * 1000 + 1_000_000
  /** What is published after it has come: the forged message was dealt with before. */
  const fence = async (client: ReturnType<typeof all.client>) => {
    const mark = Math.random()
    await all.call('POST', '/api/notifications', { body: { to: 'user:ann', data: mark } })
    await client.next(({ json }) => json === mark)
  }
  return { ...all, forge, fence, id }
}

t.test('control message, forged: a logout ends nothing, since no logout stands in Redis', async (t) => {
  const all = await start(t)
  const client = all.client(t, { sub: 'ann' })
  await client.live()
  for (const id of [all.id(), String(all.id()), 1]) await all.forge('user:ann', { control: 'logout', id })
  await all.fence(client)
  t.same([client.state, client.connections.length, client.syncs.length], ['open', 1, 1])
})

t.test('control message, forged: a takeover replaces nobody, since the session in Redis is another\'s', async (t) => {
  const all = await start(t, { SESSION_POLICY: 'single' })
  const client = all.client(t, { sub: 'ann' })
  await client.live()
  for (const subject of ['', 'mine', crypto.randomUUID()]) await all.forge('user:ann', { control: 'takeover', id: String(all.id()), subject })
  await all.fence(client)
  t.same([client.state, client.connections.length], ['open', 1])
})

t.test('control message, forged: a join gives no group, a leave takes none', async (t) => {
  const all = await start(t)
  const client = all.client(t, { sub: 'ann', groups: ['Complaints'] })
  await client.live()
  await all.forge('user:ann', { control: 'join', id: String(all.id()), subject: 'Secret' })
  await all.forge('user:ann', { control: 'leave', id: String(all.id()), subject: 'Complaints' })
  await all.call('POST', '/api/notifications', { body: { to: ['group:Secret', 'group:Complaints'], data: 'news' } })
  await client.next(({ json }) => json === 'news')
  await all.fence(client)
  t.equal(client.notifications.length, 2, 'once, by the group that it is in, and the fence')
})

t.test('control messages, forged in a loop: each is dropped, and Redis is asked nothing about them', async (t) => {
  const own = await startRedis(t, { own: true })
  const all = await startNodes(t, 'redis', own)
  const client = all.client(t, { sub: 'ann', groups: ['Complaints'] })
  await client.live()
  const calls = async () => Number(/cmdstat_fcall:calls=(\d+)/.exec(String(await own.cli('INFO', 'commandstats')))![1])
  const before = await calls()
  for (let i = 0; i < 500; i++) {
    for (const control of [{ control: 'join', subject: 'Secret' }, { control: 'leave', subject: 'Complaints' }, { control: 'logout' }]) {
      await own.cli('PUBLISH', `${all.prefix}:user:ann`, JSON.stringify({ ...control, id: String(Date.now() * 1000 + i) }))
    }
  }
  await all.call('POST', '/api/notifications', { body: { to: 'user:ann', data: 'the last' } })
  await client.next(({ json }) => json === 'the last')
  // Each node asks once a second whether all is as it was.
  const asked = await calls() - before
  t.ok(asked < 100, `${asked} calls`)
})

t.test('control message, on a channel that is no user\'s, or malformed: nothing happens', async (t) => {
  const all = await start(t)
  const client = all.client(t, { sub: 'ann', groups: ['Complaints'] })
  await client.live()
  for (const address of ['all', 'group:Complaints']) await all.forge(address, { control: 'logout', id: String(all.id()) })
  for (const payload of [
    { control: 'logout' }, { control: 'logout', id: 'x' }, { control: 'logout', id: '-1' }, { control: 'logout', id: '1e300' }, { control: 'logout', id: all.id() }, { control: 'takeover', id: String(all.id()), subject: {} },
    { control: 'toString', id: String(all.id()), subject: 'x' }, { control: '__proto__', id: String(all.id()), subject: 'x' }, { control: null }, { control: ['logout'], id: String(all.id()) }
  ]) await all.forge('user:ann', payload)
  await all.fence(client)
  t.same([client.state, client.connections.length, client.notifications.length], ['open', 1, 1])
  // With data it is what any PUBLISH is: a notification without an id.
  for (const n of [undefined, '0'.repeat(32)]) await all.forge('user:ann', { control: 'logout', n, id: String(all.id()), data: 'plain' })
  await all.fence(client)
  t.same([client.state, client.connections.length, client.notifications.filter(({ json }) => json === 'plain').map(({ id }) => id)], ['open', 1, [undefined, undefined]])
})

t.test('notification, forged with fields, newlines or a reserved name: cannot speak for the stream', async (t) => {
  const all = await start(t)
  const client = all.client(t, { sub: 'ann' })
  await client.live()
  const data = 'x\n\nid: !closed\nevent: closed\ndata: {}\n\n\r\rretry: 1\u2028'
  await all.forge('user:ann', { event: 'message', data })
  t.equal((await client.next()).json, data, 'line ends in data stay data')
  for (const event of ['closed', 'replaced', 'sync', 'expiring', 'ping', 'a\nid: !closed', 'a\r', '']) await all.forge('user:ann', { event, data: 1 })
  await all.forge('user:ann', { id: '!closed', data: 1 })
  t.equal((await client.next()).id, undefined, 'an id of its own is ignored')
  for (const payload of [
    '{"tidings":1,"id":"!closed","event":"closed","data":1}', `{"tidings":1,"id":${all.id()},"event":"closed","data":1}`, `{"tidings":1,"id":${all.id()},"event":"a\\nid: 1","data":1}`,
    '{"tidings":1,"id":9007199254740991,"event":"message","data":1}', '{"tidings":1,"id":-5,"event":"message","data":1}', '{"tidings":1,"id":0,"event":"message","data":1}'
  ]) await all.forge('user:ann', payload)
  await all.fence(client)
  t.same([client.state, client.notifications.length], ['open', 3])
  t.notOk(client.retryMs === 1)
})

t.test('log, written into past the library with what it would not take: told as incomplete, and what comes next arrives', async (t) => {
  const all = await start(t)
  const claims = { sub: 'ann', groups: ['Complaints'] }
  for (const [after, event, data] of [[1, 'x\nid: 7\nevent: closed', '1'], [2, 'closed', '1'], [3, 'message', '{'], [4, 'message', `"${'x'.repeat(12_000_000)}"`]] as const) {
    const { json: { groups }, lastEventId } = await all.client(t, claims, { reconnect: false }).live()
    t.same(groups, ['Complaints'])
    await redis.cli('DEL', `${all.prefix}:log:group:Complaints`)
    await redis.cli('XADD', `${all.prefix}:log:group:Complaints`, `${Number(lastEventId) + after}-0`, 'e', event, 'd', data)
    const client = all.client(t, claims, { lastEventId })
    t.match((await client.live()).json, { resume: 'incomplete', replayed: 0 }, JSON.stringify(event))
    await all.fence(client)
    t.equal(client.notifications.length, 1, 'the fence, which is not taken for a duplicate')
    client.close()
  }
})

t.test('log, written into past the library with an id of the future: passed over, put away at the next publish, and told', async (t) => {
  const all = await start(t)
  const claims = { sub: 'ann', groups: ['Complaints'] }
  const log = `${all.prefix}:log:group:Complaints`
  for (const id of ['9007199254740990-0', `${(Date.now() + 600_000) * 1000}-0`, '18446744073709551615-7']) {
    const { lastEventId } = await all.client(t, claims, { reconnect: false }).live()
    await redis.cli('DEL', log)
    await redis.cli('XADD', log, id, 'e', 'message', 'd', '"forged"')
    const client = all.client(t, claims, { lastEventId })
    t.match((await client.live()).json, { replayed: 0 }, id)
    await all.fence(client)
    t.equal(client.notifications.length, 1, 'the fence, which is not taken for a duplicate')
    client.close()
    await all.call('POST', '/api/notifications', { body: { to: ['group:Complaints', 'user:bob'], data: 'real' } })
    const late = all.client(t, claims, { lastEventId })
    t.match((await late.live()).json, { resume: 'incomplete', replayed: 2 })
    t.equal(await redis.cli('XLEN', log), 1)
    late.close()
  }
})

t.test('notification, forged with an id ahead of the clock: nobody gets it, and the next real one arrives', async (t) => {
  const all = await start(t)
  const client = all.client(t, { sub: 'ann' })
  await client.live()
  for (const nonce of ['', ',"n":""', `,"n":"${'0'.repeat(32)}"`]) {
    await all.forge('user:ann', `{"tidings":1${nonce},"id":${(Date.now() + 3_000) * 1000},"event":"message","data":"forged"}`)
    await all.forge('user:ann', `{"tidings":1${nonce},"id":0,"asOf":${(Date.now() + 3_000) * 1000},"event":"read","data":{"unread":7}}`)
  }
  await all.call('POST', '/api/notifications', { body: { to: 'user:ann', data: 'real' } })
  t.equal((await client.next()).json, 'real')
  await all.fence(client)
  t.notOk(client.events.some(({ event }) => event === 'read'))
})
