// Three nodes as processes behind the project's nginx: sessions through blips, kill -9 and a rolling deploy; logout; and what the logs hold.
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { startCluster } from '../fixtures/cluster.ts'
import { watchCpuQueue } from '../fixtures/cpu-queue.ts'
import type { Claims } from '../fixtures/tokens.ts'
import { eventually } from '../fixtures/wait.ts'
import { passOf } from './nodes.ts'

const SUBSCRIBE = '/api/notifications/subscribe'
const cluster = await startCluster(t, { env: { SESSION_POLICY: 'single', LOG_LEVEL: 'trace', HEARTBEAT_SECONDS: '2', TRUST_PROXY: '127.0.0.1' } })
const { redis, nginx, nodes, call } = cluster
/** Those that were killed or stopped too. */
const everyNode = [...nodes]
const restart = async (index: number): Promise<void> => { everyNode.push(await cluster.restart(index)) }
/** Everything that must not be found in any log. */
const secrets = new Set<string>([cluster.operator])
const token = (claims: Claims): string => {
  const made = cluster.token(claims)
  secrets.add(made)
  return made
}
/** As publishers do it: a node that dies with the request leaves it uncertain, and the same key makes it exactly once. */
const send = async (to: string, data: unknown): Promise<void> => {
  const key = randomUUID()
  const ask = () => call('POST', `${nginx.url}/api/notifications`, { to, data }, { 'idempotency-key': key })
  await eventually(ask, ({ status }) => status === 202, { what: `a publish to ${to}` })
}

t.test('session, through nginx, when a second tab opens: the first stops, and "use here" takes it back', async (t) => {
  const first = cluster.client(t, { sub: 'ann' })
  await first.live()
  const second = cluster.client(t, { sub: 'ann' })
  await second.live()
  t.match(await first.closed(), { status: 204, sentLastEventId: '!replaced', number: 2 })
  const here = cluster.client(t, { sub: 'ann' })
  await here.live()
  t.match(await second.closed(), { status: 204 })
  await send('user:ann', 'hello')
  t.match(await here.next(), { json: 'hello' })
})

t.test('session, its node killed with kill -9 again and again, stays with its tab, which resumes complete', async (t) => {
  const tab = cluster.client(t, { sub: 'bob' })
  await tab.live()
  for (let round = 0; round < 3; round++) {
    const index = nodes.findIndex(({ name }) => name === tab.connection.headers['tidings-node'])
    const connection = tab.connection.number
    await nodes[index]!.kill()
    await send('user:bob', round)
    t.equal((await tab.live(connection + 1)).json.resume, 'complete')
    t.equal((await tab.next()).json, round)
    await restart(index)
  }
  t.notOk(tab.events.some(({ event }) => event === 'replaced'))
})

t.test('session, through a rolling deploy, stays with its tab; one that was replaced stays away', async (t) => {
  const replaced = cluster.client(t, { sub: 'carol' })
  await replaced.live()
  const tab = cluster.client(t, { sub: 'carol' })
  await tab.live()
  await replaced.closed()
  for (const index of [0, 1, 2]) {
    await nodes[index]!.stop()
    await restart(index)
  }
  await send('user:carol', 'after')
  await tab.next(({ json }) => json === 'after')
  t.notOk(tab.events.some(({ event }) => event === 'replaced' || event === 'closed'))
  t.ok(tab.syncs.slice(1).every(({ json }) => json.resume === 'complete'))
  t.ok(tab.connections.length <= 12, `${tab.connections.length} connections`)
  t.equal(replaced.connections.length, 2, 'no loop')
})

t.test('ticket, through nginx, its stream\'s node killed: the spent ticket and its pass go on, on another node', async (t) => {
  const { body } = await call('POST', `${nginx.url}/api/notifications/tickets`, undefined, { authorization: `Bearer ${token({ sub: 'dave' })}` })
  secrets.add(body.ticket)
  const stream = cluster.client(t, {}, { token: '', headers: { Authorization: '' }, query: { ticket: body.ticket }, reconnect: false })
  await stream.live()
  const { name, value } = passOf(stream)
  secrets.add(value)
  const index = nodes.findIndex(({ name }) => name === stream.connection.headers['tidings-node'])
  await nodes[index]!.kill()
  await stream.ended()
  await send('user:dave', 'missed')
  const again = cluster.client(t, {}, { token: '', headers: { Authorization: '', Cookie: `${name}=${value}` }, query: { ticket: body.ticket }, lastEventId: stream.lastEventId })
  t.match((await again.live()).json, { resume: 'complete', replayed: 1 })
  await restart(index)
})

t.test('logout, through nginx, ends the stream within a second, wherever it is, and refuses the token on every node', async (t) => {
  const old = token({ sub: 'erin' })
  const stream = cluster.client(t, {}, { token: old })
  await stream.live()
  const begin = performance.now()
  const queueMs = watchCpuQueue([redis.pid, nginx.pid, ...nodes.map(({ pid }) => pid)])
  t.equal((await call('DELETE', `${nginx.url}/api/users/erin/streams`)).status, 204)
  t.match(await stream.closed(), { status: 204, sentLastEventId: '!closed' })
  t.ok(stream.events.at(-1)!.at - begin - queueMs() < 1000)
  for (const { url } of nodes) t.match(await call('GET', url + SUBSCRIBE, undefined, { authorization: `Bearer ${old}` }), { status: 401, body: { code: 'TIDINGS_TOKEN_REVOKED' } })
})

t.test('logs, of nodes at level trace and of nginx, hold no token, ticket, cookie or signature', async (t) => {
  // Every way in which a secret may stand in a request, each at a node and through nginx, good and bad.
  const good = token({ sub: 'frank' })
  const bad = `${good.slice(0, -4)}AAAA`
  secrets.add(bad)
  for (const base of [nginx.url, ...nodes.map(({ url }) => url)]) {
    for (const secret of [good, bad]) {
      for (const [path, headers] of [
        [SUBSCRIBE, { authorization: `Bearer ${secret}` }], [SUBSCRIBE, { authorization: '', cookie: `tidings_token=${secret}; tidings_pass_x=${secret}` }],
        [`${SUBSCRIBE}?ticket=${secret}`, { authorization: '' }], [`${SUBSCRIBE}?token=${secret}`, { authorization: '' }], [`/nowhere?ticket=${secret}`, {}],
        ['/livez', { referer: `${base}/page?ticket=${secret}`, 'user-agent': 'test', 'x-token': secret }], [`${SUBSCRIBE}/a%0ab?ticket=${secret}`, { authorization: '' }]
      ] as [string, Record<string, string>][]) {
        const abort = new AbortController()
        const answer = await fetch(base + path, { headers, signal: abort.signal }).catch(() => undefined)
        t.ok(answer === undefined || answer.status < 500, `${path.slice(0, 40)}: ${answer?.status}`)
        abort.abort()
      }
      await call('POST', `${base}/api/notifications`, '{', { authorization: `Bearer ${secret}` })
      await call('POST', `${base}/api/notifications/tickets`, undefined, { authorization: `Bearer ${secret}` })
    }
  }
  // An upstream that is gone while a ticket is on its way: nginx's error log would quote the request line.
  const { body: { ticket } } = await call('POST', `${nginx.url}/api/notifications/tickets`, undefined, { authorization: `Bearer ${good}` })
  secrets.add(ticket)
  await Promise.all(nodes.map((node) => node.kill()))
  const later = await fetch(`${nginx.url}${SUBSCRIBE}?ticket=${ticket}`)
  t.match(await later.text(), /^retry: \d+/)
  await fetch(`${nginx.url}${SUBSCRIBE}?ticket=${ticket}`, { headers: { cookie: `tidings_token=${good}` } })

  await fetch(`${nginx.url}/docs`) // this one the error log may have
  const logs: Record<string, string[]> = { 'nginx, error log': nginx.lines, 'nginx, access log': nginx.accessLog() }
  for (const node of everyNode) logs[`${node.name}, process ${node.pid}`] = node.lines
  const all = Object.values(logs).flat().join('\n')
  for (const there of ['stream open', 'stream end', '"level":20', '"path":"/api/notifications/subscribe"', '[error]']) t.ok(all.includes(there), `there is something to read: ${there}`)
  for (const [name, lines] of Object.entries(logs)) {
    const text = lines.join('\n')
    for (const secret of secrets) {
      // Of a token, the signature alone too: the other parts are no secret, but have no place there either.
      for (const piece of [secret, ...secret.split('.')]) {
        if (piece.length < 20 || !text.includes(piece)) continue
        t.fail(`${name} holds ${piece.slice(0, 12)}…: ${lines.find((line) => line.includes(piece))!.slice(0, 300)}`)
      }
    }
    t.notMatch(text, /ticket=|tidings_pass|tidings_token=|authorization|bearer ey/i, name)
  }
})
