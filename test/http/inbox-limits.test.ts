// The limits of an inbox, reached for real: as many marks as there may be, and a user who calls without end.
import net from 'node:net'
import t from 'tap'
import { MAX_MARKS } from '../../src/broker/inbox.ts'
import { startRedis } from '../fixtures/redis.ts'
import type { Scope } from '../fixtures/wait.ts'
import { onBoth, startNodes } from '../security/nodes.ts'

const PATH = '/api/notifications'
// Its own: the keys of others would be counted.
const redis = await startRedis(t, { own: true })

/** So many calls, some at a time. */
async function inTurn<T> (count: number, call: (i: number) => Promise<T>): Promise<T[]> {
  const answers: T[] = []
  for (let i = 0; i < count; i += 40) answers.push(...await Promise.all(Array.from({ length: Math.min(40, count - i) }, (_, j) => call(i + j))))
  return answers
}

onBoth(t, 'marks, one more than there may be, are 409 with what to do; the read cursor makes room', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { count: 1, env: { INBOX_PER_MINUTE: '0', PUBLISH_PER_MINUTE: '0' } })
  const token = all.token({ sub: 'ann' })
  const ask = async (method: string, path: string, body?: object) => await all.call(method, `${PATH}${path}`, { token, ...(body !== undefined && { body }) })
  await ask('GET', '/position')
  const published = await inTurn(MAX_MARKS + 1, async (i) => await all.call('POST', PATH, { body: { to: 'user:ann', data: i } }))
  const ids = published.map(({ body }) => body.notifications[0].id as string).sort()
  const marks = await inTurn(MAX_MARKS, async (i) => await ask('PUT', `/${ids[i + 1]!}/read`))
  t.ok(marks.every(({ status }) => status === 200))
  t.match(await ask('GET', '/position'), { body: { unread: 1, unseen: 1 } })
  t.match(await ask('DELETE', `/${ids[0]!}`), { status: 409, body: { code: 'TIDINGS_TOO_MANY_MARKS', message: /cursor/ } })
  t.match(await ask('GET', '/position'), { body: { unread: 1, unseen: 1 } }, 'refused is not half done')
  t.match(await ask('PUT', '/read', { upTo: ids[9]! }), { status: 200, body: { unread: 0 } })
  t.match(await ask('DELETE', `/${ids[0]!}`), { status: 200 }, 'the cursor has passed nine')
})

/** What may be under way on a connection. */
const PIPELINED = 16

/** So many calls over some connections, in pieces of as many as may be under way on one. Returns how many had which status. */
async function hammer (t: Scope, url: string, connections: number, count: number, requestOf: (i: number) => string): Promise<Map<number, number>> {
  const statuses = new Map<number, number>()
  let sent = 0
  await Promise.all(Array.from({ length: connections }, async () => {
    const socket = net.connect(Number(new URL(url).port), '127.0.0.1').setNoDelay(true).setEncoding('latin1')
    t.teardown(() => { socket.destroy() })
    let [owed, rest] = [0, '']
    const next = (): void => {
      const piece: string[] = []
      while (piece.length < PIPELINED && sent < count) piece.push(requestOf(sent++))
      owed = piece.length
      if (owed > 0) socket.write(piece.join('')); else socket.end()
    }
    socket.once('connect', next)
    for await (const piece of socket) {
      rest += String(piece)
      let end = 0
      for (const { 0: line, 1: status, index } of rest.matchAll(/HTTP\/1\.1 (\d{3}) /g)) {
        statuses.set(Number(status), (statuses.get(Number(status)) ?? 0) + 1)
        owed--
        end = index + line.length
      }
      // What may become one.
      rest = rest.slice(Math.max(end, rest.length - 12))
      if (owed === 0) next()
    }
  }))
  return statuses
}

onBoth(t, 'read, called 10,000 times without a pause by one user, is refused past the limit; nothing grows, and nobody else has less', async (t, kind) => {
  const all = await startNodes(t, kind, redis, { count: 1, env: { INBOX_PER_MINUTE: '30' } })
  const token = all.token({ sub: 'ann' })
  const { body } = await all.call('POST', PATH, { body: { to: 'user:ann', data: 1 } })
  const upTo = Number(body.notifications[0].id)
  const keys = async (): Promise<string[]> => await redis.cli('KEYS', `${all.prefix}:*`) as string[]
  await all.call('PUT', `${PATH}/read`, { token, body: { upTo: '1000000000000001' } })
  const bob = all.client(t, { sub: 'bob' })
  await bob.live()
  const asBob = async (): Promise<object> => await all.call('PUT', `${PATH}/seen`, { token: all.token({ sub: 'bob' }), body: { upTo: '1000000000000001' } })
  t.match(await asBob(), { status: 200 })
  const before = new Set(await keys())
  let middle: Promise<unknown> | undefined
  const startedMs = performance.now()
  // Each time another position, which is stored.
  const statuses = await hammer(t, all.nodes[0]!.url, 16, 10_000, (i) => {
    if (i === 5000) middle = Promise.all([asBob(), all.call('POST', PATH, { body: { to: 'user:bob', data: 'meanwhile' } })])
    const upToText = JSON.stringify({ upTo: String(upTo - 10_000 + i) })
    return [`PUT ${PATH}/read HTTP/1.1`, 'Host: localhost', `Authorization: Bearer ${token}`, 'Content-Type: application/json', `Content-Length: ${upToText.length}`, '', upToText].join('\r\n')
  })
  t.comment(`10,000 calls in ${Math.round(performance.now() - startedMs)} ms`)
  const taken = statuses.get(200) ?? 0
  t.equal(taken + (statuses.get(429) ?? 0), 10_000, [...statuses].join(' '))
  // A minute may end meanwhile.
  t.ok(taken >= 29 && taken <= 59, `${taken} were taken`)
  t.match(await middle, [{ status: 200 }, { status: 202 }], 'another user, in the middle of it')
  t.match(await bob.next(), { json: 'meanwhile' })
  t.equal(bob.connections.length, 1, 'a stream goes on')
  // Beside counters of the next minute, and what bob's notification is kept and explained with.
  const isBounded = /:(hits:.*|log:user:bob|receipts|written|trail:\w+|reads:\w+)$/
  t.same((await keys()).filter((key) => !before.has(key) && !isBounded.test(key)), [], 'no key more')
  if (kind === 'redis') {
    t.equal(await redis.cli('HLEN', `${all.prefix}:inbox:ann`), 2, 'the two cursors')
    t.ok(Number(await redis.cli('LLEN', `${all.prefix}:reads:ann`)) <= 64)
  }
  t.match(await all.call('GET', '/api/users/ann/position'), { status: 200, body: { unread: 1 } })
})
