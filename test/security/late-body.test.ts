// A request whose head came with a good token, and whose body comes when that token is good no more.
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { MANAGE, PUBLISH } from '../fixtures/tokens.ts'
import { onBoth, startNodes, type Nodes } from './nodes.ts'

const redis = await startRedis(t)

/** Sends the head; returns a function that sends the body and resolves with the answer. */
async function begin ({ nodes }: Nodes, method: string, path: string, token: string, body: object): Promise<() => Promise<{ status: number | undefined, code: string }>> {
  const json = JSON.stringify(body)
  const sent = request(`${nodes[0]!.url}${path}`, {
    method, agent: false, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'content-length': json.length, expect: '100-continue' }
  })
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>
  const read = once(sent, 'continue')
  sent.flushHeaders()
  await read
  return async () => {
    sent.end(json)
    const [response] = await answered
    return { status: response.statusCode, code: JSON.parse(await text(response)).code }
  }
}

const scope = `${MANAGE} ${PUBLISH}`

async function beginAll (all: Nodes, token: string): Promise<Array<() => Promise<{ status: number | undefined, code: string }>>> {
  const { body } = await all.call('POST', '/api/notifications', { body: { to: 'user:ann', data: 1, key: 'k' } })
  const begun = await Promise.all([
    begin(all, 'PUT', '/api/users/eve/groups', token, { groups: ['Secret'] }),
    begin(all, 'POST', '/api/notifications', token, { to: 'user:ann', data: 2 }),
    begin(all, 'POST', '/api/notifications/retract', token, { to: 'user:ann', key: 'k' }),
    begin(all, 'PUT', '/api/notifications/seen', token, { upTo: body.notifications[0].id }),
    begin(all, 'PUT', '/api/notifications/read', token, { upTo: body.notifications[0].id })
  ])
  await all.call('GET', '/api/users/eve/groups', { token }) // authorised after them
  return begun
}

async function assertUnchanged (t: any, { call }: Nodes): Promise<void> {
  t.same((await call('GET', '/api/users/eve/groups')).body, { groups: [] })
  t.match((await call('GET', '/api/users/ann/notifications')).body, { notifications: { length: 1 }, unseen: 1, unread: 1 })
}

onBoth(t, 'body, that arrives after a logout, changes nothing', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const begun = await beginAll(all, all.token({ sub: 'ann', scope, iat: Math.floor(Date.now() / 1000) - 5 }))
  await all.call('DELETE', '/api/users/ann/streams', { node: 1 })
  for (const end of begun) t.same(await end(), { status: 401, code: 'TIDINGS_TOKEN_REVOKED' })
  await assertUnchanged(t, all)
})

onBoth(t, 'body, that arrives after the end of the token, changes nothing', async (t, kind) => {
  const all = await startNodes(t, kind, redis)
  const exp = Math.floor(Date.now() / 1000) + 3
  const begun = await beginAll(all, all.token({ sub: 'ann', scope, exp }))
  t.ok(Date.now() < exp * 1000, 'all heads came before it')
  await sleep(exp * 1000 + 50 - Date.now())
  for (const end of begun) t.same(await end(), { status: 401, code: 'TIDINGS_TOKEN_EXPIRED' })
  await assertUnchanged(t, all)
})
