// A rolling deploy from 0.1.0 to this version and back, on one real Redis, with old nodes and new ones side by side: their streams, what is
// published by either, groups, resumes and logouts go on as if all nodes were one version.
import t, { type Test } from 'tap'
import { connect, type Client } from '../fixtures/client.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { startNode, type TestNode } from '../fixtures/node.ts'
import { oldVersion } from '../fixtures/old-version.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, MANAGE, PUBLISH } from '../fixtures/tokens.ts'

const PATH = '/api/notifications'
const USERS = 4
const GROUP = 'group:room'

// Its own: a function library belongs to the whole server.
const redis = await startRedis(t, { own: true })
const issuer = createIssuer()
const operator = issuer.token({ sub: 'operator', scope: `${PUBLISH} ${MANAGE}` })
const old = oldVersion(t)
const env = { ...redis.env, ...issuer.env, DRAIN_SECONDS: '1', RETRY_MS: '100', CONNECTS_PER_MINUTE: '0', HISTORY_LENGTH: '10000' }
const startOld = (name: string): Promise<TestNode> => startNode(t, { name, root: old.root, env: { ...env, ...old.env } })
const startNew = (name: string): Promise<TestNode> => startNode(t, { name, env: { ...env, PUBLISH_PER_MINUTE: '0' } })

interface Asking { body?: object, token?: string, headers?: Record<string, string> }
interface Answer { status: number, body: any, headers: Headers }

async function call ({ url }: TestNode, method: string, path: string, { body, token = operator, headers = {} }: Asking = {}): Promise<Answer> {
  const answer = await fetch(new URL(path, url), {
    method,
    headers: { authorization: `Bearer ${token}`, ...body !== undefined && { 'content-type': 'application/json' }, ...headers },
    ...body !== undefined && { body: JSON.stringify(body) }
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, body: text.startsWith('{') ? JSON.parse(text) : text }
}

/** Where whoever connects goes: streams with an even number to the first node, the others to the second. */
let targets: readonly [TestNode, TestNode]
const ledger = new Ledger(t)
/** What was kept, in the order of its ids. */
const sent: Array<{ id: string, to: string }> = []
const stream = (sub: string, place: 0 | 1, more: { name?: string, lastEventId?: string } = {}): Client =>
  connect(t, { url: () => targets[place].url, token: issuer.token({ sub, groups: ['room'] }), retryCapMs: 50, name: `${sub} #${place}`, ...more })

/** One of each way to publish: by the nodes of both places over HTTP, and by FCALL, which 0.1.0 had with these arguments. */
async function publishSome (): Promise<void> {
  for (const to of ['all', GROUP, 'user:u0', 'user:u3']) {
    for (const via of [...targets, 'FCALL'] as const) {
      const data = { mark: ledger.mark() }
      const id = typeof via === 'string'
        ? (await redis.cli('FCALL', 'tidings_publish', 1, redis.prefix, to, 'message', JSON.stringify(data)) as [string])[0]
        : String((await call(via, 'POST', PATH, { body: { to, data } })).body.notifications[0].id)
      ledger.sent({ to, id, data })
      sent.push({ id, to })
    }
  }
}

/** The same again and again while something is done. */
async function underLoad<T> (act: () => Promise<T>): Promise<T> {
  let isOver = false
  const publishing = (async () => {
    for (let round = 0; !isOver; round++) {
      // A slow machine is not given more to do the slower it is.
      if (round < 20) await publishSome()
      await new Promise((resolve) => { setTimeout(resolve, 100) })
    }
  })()
  const done = await act().finally(() => { isOver = true })
  await publishing
  await publishSome()
  return done
}

/** A node leaves and its streams come to another one; those of the other place stay where they are. */
async function replace (t: Test, place: 0 | 1, by: TestNode): Promise<void> {
  const leaving = targets[place]
  targets = place === 0 ? [by, targets[1]] : [targets[0], by]
  await underLoad(async () => { t.same(await leaving.stop(), { code: 0, signal: null }, `${leaving.name} has ended`) })
  await Promise.all(clients.map((client) => client.until(() => client.connection.headers['tidings-node'] === targets[client.name.endsWith('0') ? 0 : 1].name || undefined, 'its node')))
  await Promise.all(clients.map((client) => client.live()))
  await ledger.settled()
}

/** Whoever was away since `cursor` gets what was kept for them, and is told that it is all. */
async function comesBack (t: Test, place: 0 | 1, cursor: string, groups: readonly string[]): Promise<void> {
  const owed = sent.filter(({ id, to }) => Number(id) > Number(cursor) && (to === 'all' || to === GROUP)).map(({ id }) => id)
  const client = stream('away', place, { lastEventId: cursor })
  t.match((await client.live()).json, { resume: 'complete', replayed: owed.length, groups })
  t.same(client.notifications.map(({ id }) => id), owed, `all ${owed.length} that ${targets[place].name} replays`)
  client.close()
}

/** What one node is asked and the other one's streams must follow. `here` and `there` are of different versions. */
async function sideBySide (t: Test, here: TestNode, there: TestNode): Promise<void> {
  const sub = `${here.name}-${there.name}`
  const token = issuer.token({ sub })
  const [mine, yours] = [here, there].map(({ name, url }) => connect(t, { url, token, retryCapMs: 50, name: `${sub} at ${name}` })) as [Client, Client]
  const both = [mine, yours]
  const expected: unknown[] = []
  const post = async (node: TestNode, to: string | string[], data: unknown, headers = {}) => {
    const answer = await call(node, 'POST', PATH, { body: { to, data }, headers })
    t.equal(answer.status, 202)
    return answer
  }
  await Promise.all(both.map((client) => client.live()))
  const group = `/api/users/${sub}/groups/${sub}`
  await post(there, `group:${sub}`, 'before the join')
  t.equal((await call(here, 'PUT', group)).status, 200)
  for (const node of [here, there]) expected.push((await post(node, `group:${sub}`, `joined, by ${node.name}`)).body.notifications[0].id)
  // One id, and once on each stream, whichever version publishes.
  const { body: { notifications } } = await post(here, [`user:${sub}`, `group:${sub}`], 'two addresses')
  t.equal(new Set(notifications.map(({ id }: { id: string }) => id)).size, 1)
  expected.push(notifications[0].id)
  const once = await post(here, `user:${sub}`, 'once', { 'idempotency-key': sub })
  const again = await post(there, `user:${sub}`, 'twice', { 'idempotency-key': sub })
  t.same([again.body, again.headers.get('idempotency-replayed')], [once.body, 'true'])
  expected.push(once.body.notifications[0].id)
  t.equal((await call(there, 'DELETE', group)).status, 200)
  for (const node of [here, there]) await post(node, `group:${sub}`, 'left')
  t.equal(await redis.cli('PUBLISH', `${redis.prefix}:user:${sub}`, JSON.stringify({ data: 'plain' })), 2, 'a plain PUBLISH reaches both nodes')
  expected.push(undefined)
  expected.push((await post(there, `user:${sub}`, 'the last')).body.notifications[0].id)
  for (const client of both) {
    await client.next(({ json }) => json === 'the last')
    t.same(client.notifications.map(({ id }) => id), expected, client.name)
    t.equal(client.connections.length, 1)
  }
  t.equal((await call(here, 'DELETE', `/api/users/${sub}/streams`)).status, 204)
  for (const client of both) {
    t.equal((await client.closed()).status, 204, `${client.name} is told to stop for good`)
    t.match(client.events.at(-1), { event: 'closed', json: { reason: 'logout' } })
  }
  for (const { url } of [here, there]) {
    const late = connect(t, { url, token, reconnect: false })
    t.equal((await late.closed()).status, 401, 'and the token counts nowhere')
  }
}

/** What the new node says of an inbox that old ones have filled, too; a stream at the old node does not mind. */
async function inboxAt (t: Test, place: 0 | 1): Promise<void> {
  const token = issuer.token({ sub: 'u0', groups: ['room'] })
  const mine = sent.filter(({ to }) => to !== 'user:u3').map(({ id }) => id)
  const listed: string[] = []
  for (let next: string | undefined = ''; next !== undefined;) {
    const { body }: Answer = await call(targets[place], 'GET', `${PATH}?limit=100${next}`, { token })
    listed.push(...body.notifications.map(({ id }: { id: string }) => id))
    next = body.next === undefined ? undefined : `&before=${body.next}`
  }
  t.same(listed.filter((id) => mine.includes(id)).reverse(), mine, `the inbox has all ${mine.length} of it`)
  t.match(await call(targets[place], 'PUT', `${PATH}/read`, { token, body: { upTo: sent.at(-1)!.id } }), { status: 200 })
  t.match(await call(targets[place], 'GET', `${PATH}/position`, { token }), { body: { unread: 0, unseen: 0, read: sent.at(-1)!.id } })
}

let clients: readonly Client[] = []

t.test('a rolling deploy, from 0.1.0 to this version and back, loses nothing, doubles nothing, and tells nobody of a gap', async (t) => {
  targets = await Promise.all([startOld('old-1'), startOld('old-2')])
  clients = Array.from({ length: 2 * USERS }, (_, i) => stream(`u${i >> 1}`, i % 2 as 0 | 1))
  await Promise.all(clients.map((client) => client.live()))
  for (const client of clients) ledger.open(client, [`user:${client.name.slice(0, 2)}`, GROUP])
  const away = stream('away', 0)
  await away.live()
  away.close()
  const keyed = async (): Promise<unknown> => (await call(targets[0], 'POST', PATH, { body: { to: 'user:nobody', data: 1 }, headers: { 'idempotency-key': 'deploy' } })).body
  const answer = await keyed()
  await publishSome()
  const atOld = away.lastEventId

  // The first new node brings the newer library, while old ones publish.
  const [new1, new2] = await underLoad(async () => await Promise.all([startNew('new-1'), startNew('new-2')]))
  await replace(t, 0, new1)
  t.match([targets[0].name, targets[1].name], ['new-1', 'old-2'])
  await sideBySide(t, ...targets)
  await sideBySide(t, targets[1], targets[0])
  await comesBack(t, 0, atOld, ['room'])
  await inboxAt(t, 0)
  t.equal((await call(targets[0], 'PUT', '/api/users/away/groups/kept')).status, 200)
  const [, old2] = targets
  await replace(t, 1, new2)
  t.same(await keyed(), answer, 'the answer to an idempotent publish is still known')
  const { position: atNew } = (await call(new2, 'GET', '/api/users/away/position')).body
  await publishSome()

  const [old3, old4] = await underLoad(async () => await Promise.all([startOld('old-3'), startOld('old-4')]))
  await replace(t, 0, old3)
  t.match([targets[0].name, targets[1].name], ['old-3', 'new-2'])
  await sideBySide(t, ...targets)
  await sideBySide(t, targets[1], targets[0])
  await inboxAt(t, 1)
  await replace(t, 1, old4)
  await comesBack(t, 1, atOld, ['kept', 'room'])
  await comesBack(t, 0, atNew, ['kept', 'room'])
  t.same(await keyed(), answer)
  await ledger.settled()

  ledger.assertExact(t)
  t.ok(sent.length > 100, `${sent.length} were published`)
  for (const client of clients) {
    t.same(client.connections.map(({ headers }) => headers['tidings-node']), client.name.endsWith('0') ? ['old-1', 'new-1', 'old-3'] : ['old-2', 'new-2', 'old-4'], client.name)
    t.same(client.syncs.map(({ json }) => json.resume), ['fresh', 'complete', 'complete'])
  }
  for (const node of [old2, new2, old3, old4]) t.same(node.logs.filter(({ level }) => level >= 50), [], `${node.name} logged no error`)
  for (const node of [old2, old3]) t.ok(node.logs.some(({ address, reason }) => address === 'user:u0' && reason === 'malformed'), `${node.name} warns of "read", which it does not know`)
})
