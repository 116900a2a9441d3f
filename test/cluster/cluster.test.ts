// Three nodes, one Redis, the project's own nginx.conf: what is published anywhere reaches exactly those it is for, in id order.
import t from 'tap'
import type { Client } from '../fixtures/client.ts'
import { startCluster } from '../fixtures/cluster.ts'
import { Ledger } from '../fixtures/ledger.ts'
import type { Reply } from '../fixtures/resp.ts'
import { eventually } from '../fixtures/wait.ts'

// Names that other code tends to break on: a space, a colon, letters beyond ASCII, Lua pattern and glob characters.
const GROUPS = ['Complaints', 'Sales: north', 'Züri 北京 %a*?']
const users = Array.from({ length: 10 }, (_, index) => `user-${index}`)
const groupsOf = (index: number) => GROUPS.filter((_, group) => index % (group + 2) === 0)

const cluster = await startCluster(t)
const { redis, nodes, nginx, call, publish } = cluster
const bases = [...nodes.map(({ url }) => url), nginx.url]
const ledger = new Ledger(t)

// Of each user: a stream through nginx, one through nginx with the cookie, one straight at a node. 30 streams.
const streams = users.map((sub, index) => {
  const claims = { sub, groups: groupsOf(index) }
  return [
    cluster.client(t, claims, { name: `${sub} through nginx` }),
    cluster.client(t, claims, { name: `${sub} through nginx, by cookie`, via: 'cookie' }),
    cluster.client(t, claims, { name: `${sub} at node ${index % 3}`, url: nodes[index % 3]!.url, path: `/api/notifications/subscribe/${sub}` })
  ]
})
const everyone = streams.flat()
await Promise.all(everyone.map((client) => client.live()))
users.forEach((sub, index) => {
  for (const client of streams[index]!) ledger.open(client, [`user:${sub}`, ...groupsOf(index).map((group) => `group:${group}`)])
})

const nodeOf = (client: Client) => client.connection.headers['tidings-node']
const nodesOf = (clients: Client[]) => new Set(clients.map(nodeOf)).size
/** What comes after this has reached everyone proves that nothing else was under way. */
const settle = async () => {
  for (const at of bases) await publish(ledger, { to: 'all', event: 'fence', at: [at] })
  await ledger.settled()
}

t.test('streams, opened through nginx, are spread over the nodes and live', async (t) => {
  t.equal(nodesOf(everyone.filter(({ name }) => name.includes('nginx'))), 3, 'nginx used all three nodes')
  for (const client of everyone) {
    const { status, headers, body } = client.connection
    t.match({ status, type: headers['content-type'], cache: headers['cache-control'], coding: headers['content-encoding'] },
      { status: 200, type: 'text/event-stream; charset=utf-8', cache: 'no-store, no-transform', coding: undefined }, client.name)
    t.match(body, /^retry: \d+\n\w+:/, 'the first event says when to come back')
  }
  t.same(streams[0]!.map(({ syncs }) => syncs[0]!.json.resume), ['fresh', 'fresh', 'fresh'])
  t.same(streams[0]![0]!.syncs[0]!.json.groups.toSorted(), GROUPS.toSorted())
})

t.test('publish, on each node and through nginx, reaches exactly those it is for', async (t) => {
  for (const at of bases) {
    const send = (to: string | string[], more = {}) => publish(ledger, { to, at: [at], ...more })
    await Promise.all([
      ...users.map((sub) => send(`user:${sub}`, { value: { text: 'a\r\nb\u2028\u0000', list: [1, null, true, ''] } })),
      ...GROUPS.map((group) => send(`group:${group}`, { event: 'stock.level', value: 1.5 })),
      send('all'),
      // One call: several addresses of one user, one twice, one of nobody.
      send(['all', 'user:user-0', 'group:Complaints', ...users.map((sub) => `user:${sub}`), 'user:nobody', 'group:none']),
      // Into one log, concurrently.
      ...Array.from({ length: 10 }, (_, value) => send('user:user-6', { value }))
    ])
  }
  await settle()
  ledger.assertExact(t)
})

t.test('publish, answered with receivers, counts the nodes that took it', async (t) => {
  const [mine] = await publish(ledger, { to: 'user:user-3' })
  t.equal(mine!.receivers, nodesOf(streams[3]!), 'a user\'s nodes')
  const [all] = await publish(ledger, { to: 'all' })
  t.equal(all!.receivers, 3, 'all')
  const [nobody] = await publish(ledger, { to: 'user:nobody' })
  t.equal(nobody!.receivers, 0, 'nobody is online')
})

t.test('publish, a thousand addresses at once, gives all of them the one id', async (t) => {
  const to = [...users.map((sub) => `user:${sub}`), ...Array.from({ length: 990 }, (_, index) => `user:absent-${index}`)]
  const answer = await publish(ledger, { to, at: [nodes[1]!.url] })
  t.equal(answer.length, 1000)
  t.same(answer.map(({ to }) => to), to)
  t.equal(new Set(answer.map(({ id }) => id)).size, 1)
  await settle()
  ledger.assertExact(t)
})

t.test('publish, the same Idempotency-Key on another node, gives the first answer and publishes nothing', async (t) => {
  const data = { mark: ledger.mark() }
  const body = { to: ['all', 'user:user-1'], data }
  const headers = { 'idempotency-key': `once-${redis.prefix}` }
  const first = await call('POST', `${nodes[0]!.url}/api/notifications`, body, headers)
  t.equal(first.status, 202)
  for (const { to, id } of first.body.notifications) ledger.sent({ to, id: String(id), data })
  const again = await call('POST', `${nodes[2]!.url}/api/notifications`, body, headers)
  t.same(again.body, first.body)
  await settle()
  ledger.assertExact(t)
})

t.test('other services, by FCALL and PUBLISH, reach the same clients', async (t) => {
  for (const [index, to] of ['user:user-4', 'group:Complaints', `group:${GROUPS[2]}`, 'all'].entries()) {
    const data = { mark: ledger.mark(), by: 'FCALL', text: '\u2028 \\ "' }
    const [id, receivers] = await redis.cli('FCALL', 'tidings_publish', 1, redis.prefix, to, 'message', JSON.stringify(data)) as [Reply, number]
    t.ok(receivers >= 1, `${to}: taken by ${receivers} nodes`)
    t.match(String(id), /^\d{16}$/)
    ledger.sent({ to, id: String(id), data })
    const plain = { mark: ledger.mark(), by: 'PUBLISH' }
    const payload = index % 2 === 0 ? { data: plain } : { event: 'plain', data: plain }
    t.equal(await redis.cli('PUBLISH', `${redis.prefix}:${to}`, JSON.stringify(payload)), receivers)
    ledger.sent({ to, data: plain, ...(payload.event !== undefined && { event: payload.event }) })
  }
  await settle()
  ledger.assertExact(t)
})

t.test('other services, sending what is malformed, oversized or reserved, hurt nobody', async (t) => {
  const json = (value: unknown) => JSON.stringify(value)
  const mark = () => ({ mark: ledger.mark() })
  const bad: (string | Buffer)[] = [
    '', ' ', 'hello', '{', '[]', '7', 'null', '"text"', '{}', '{"data":}', '{"event":"x"}', Buffer.from([0xff, 0xfe, 0x00]),
    json({ event: 'sync', data: mark() }), json({ event: 'closed', data: mark() }), json({ event: 'replaced', data: mark() }), json({ event: 'ping', data: mark() }),
    json({ event: 'a\nid: 1', data: mark() }), json({ event: '', data: mark() }), json({ event: 'x'.repeat(65), data: mark() }), json({ event: 7, data: mark() }),
    json({ data: 'x'.repeat(65_536) }), json({ data: 'x'.repeat(1_000_000) }), '['.repeat(100_000),
    // What looks like the nodes' own messages, and is not.
    '{"tidings":1}', '{"tidings":1,', '{"tidings":1,}', '{"tidings":1,"id":null,"event":null,"data":null}',
    '{"tidings":1,"id":"1\\nevent: closed","event":"message","data":{}}', '{"tidings":1,"id":1,"event":"a\\ndata: forged","data":{}}',
    '{"tidings":1,"id":1e300,"event":"message","data":{}}', '{"tidings":1,"id":-5,"event":"message","data":{}}', '{"tidings":1,"id":99,"event":"sync","data":{}}',
    json({ control: 'join' }), json({ control: 'leave', group: 7 }), json({ control: 'unknown', group: 'x' }), json({ control: 'logout' })
  ]
  for (const channel of ['user:user-0', 'group:Complaints', 'all']) {
    for (const payload of bad) await redis.cli('PUBLISH', `${redis.prefix}:${channel}`, payload)
  }
  const entries = Number(await redis.cli('XLEN', `${redis.prefix}:log:user:user-0`))
  const call = (...args: (string | Buffer)[]) => redis.cli('FCALL', 'tidings_publish', 1, redis.prefix, ...args)
  for (const args of [
    ['user:', 'message', '1'], ['user', 'message', '1'], ['planet:x', 'message', '1'], ['', 'message', '1'], [`user:${'u'.repeat(129)}`, 'message', '1'], ['user:a\nb', 'message', '1'],
    ['user:user-0', 'sync', '1'], ['user:user-0', 'a\nid: 1', '1'], ['user:user-0', '', '1'], ['user:user-0', 'x'.repeat(65), '1'],
    ['user:user-0', 'message', ''], ['user:user-0', 'message', '{'], ['user:user-0', 'message', '{"a":1}\n\ndata: forged'], ['user:user-0', 'message', '1 2'], ['user:user-0', 'message', 'NaN'],
    ['user:user-0', 'message', `"${'x'.repeat(65_536)}"`], ['user:user-0', 'message'], []
  ]) {
    await t.rejects(call(...args), { message: /^TIDINGS_[A-Z_]+ / }, `FCALL ${json(args).slice(0, 60)}`)
  }
  t.equal(await redis.cli('XLEN', `${redis.prefix}:log:user:user-0`), entries, 'nothing was stored')
  await settle()
  ledger.assertExact(t)
  t.ok(everyone.every(({ connections }) => connections.length === 1), 'no stream was lost')
  await eventually(async () => nodes.every(({ logs }) => logs.some(({ level, msg }) => level >= 40 && /drop/i.test(msg))), Boolean, { what: 'every node to say in its log that it dropped something' })
  const metrics = await (await fetch(`${nodes[0]!.url}/metrics`)).text()
  for (const reason of ['malformed', 'oversized', 'reserved']) {
    t.match(metrics, new RegExp(`^tidings_\\w*dropped\\w*\\{[^}]*reason="${reason}"[^}]*\\} [1-9]`, 'm'), `${reason}: counted`)
  }
})

t.test('join and leave, by the users routes, act on live streams of every node at once', async (t) => {
  const mine = streams[1]!
  const path = '/api/users/user-1/groups'
  const url = (index: number, more = '') => `${nodes[index]!.url}${path}${more}`
  await publish(ledger, { to: 'group:Night' })
  t.equal((await call('PUT', url(0, '/Night'))).status < 300, true)
  ledger.join(mine, 'group:Night')
  await publish(ledger, { to: 'group:Night', at: [nodes[1]!.url] })
  await settle()
  ledger.assertExact(t, 'joined: what came after the answer, nothing from before')

  t.ok((await call('DELETE', url(2, '/Night'))).status < 300)
  ledger.leave(mine, 'group:Night')
  await publish(ledger, { to: 'group:Night', at: [nodes[0]!.url] })
  await settle()
  ledger.assertExact(t, 'left: nothing that came after the answer')

  const before = groupsOf(1)
  const after = ['Complaints', 'Ä/ö?#%']
  t.ok((await call('PUT', url(1), { groups: after })).status < 300)
  for (const group of before) ledger.leave(mine, `group:${group}`)
  for (const group of after) ledger.join(mine, `group:${group}`)
  const read = await call('GET', url(0))
  t.same(read.body.groups.toSorted(), after.toSorted(), 'another node reads the same')
  for (const group of new Set([...before, ...after])) await publish(ledger, { to: `group:${group}` })
  await settle()
  ledger.assertExact(t, 'replaced')
})

t.test('presence, asked on any node, counts the nodes that hold the user', async (t) => {
  for (const base of bases) {
    const { status, body } = await call('GET', `${base}/api/users/user-2/presence`)
    t.same({ status, body }, { status: 200, body: { online: true, nodes: nodesOf(streams[2]!) } })
    t.same((await call('GET', `${base}/api/users/nobody/presence`)).body, { online: false, nodes: 0 })
  }
})

t.test('logs, after all this, hold no token', async (t) => {
  const written = [...nodes.flatMap(({ lines }) => lines), ...nginx.lines, ...nginx.accessLog()].join('\n')
  t.match(written, 'user-1', 'the logs were read')
  for (const token of cluster.tokens) {
    if (written.includes(token.split('.')[2]!)) t.fail(`the token of ${Buffer.from(token.split('.')[1]!, 'base64url').toString()} is in a log`)
  }
})
