// Every position that a client can come back with: `incomplete` exactly when something may be missing, and never what is not theirs.
import t from 'tap'
import { startCluster } from '../fixtures/cluster.ts'
import { startRedis, type Redis } from '../fixtures/redis.ts'
import { startNode, type TestNode } from '../fixtures/node.ts'
import { connect, type Sync } from '../fixtures/client.ts'
import { createIssuer, type Claims } from '../fixtures/tokens.ts'
import { eventually, type Scope } from '../fixtures/wait.ts'

const issuer = createIssuer()
const redis = await startRedis(t, { own: true })
const HISTORY = { HISTORY_LENGTH: '50', HISTORY_SECONDS: '3' }
let count = 0

/** A node with a prefix of its own: another installation each time. */
async function install (t: Scope, env: Record<string, string> = {}): Promise<{ node: TestNode, prefix: string }> {
  const prefix = `${redis.prefix}-${++count}`
  return { prefix, node: await startNode(t, { env: { ...redis.env, REDIS_PREFIX: prefix, ...issuer.env, CONNECTS_PER_MINUTE: '0', ...env } }) }
}

async function publish (prefix: string, to: string, data: unknown, at: Redis = redis): Promise<number> {
  const [id] = await at.cli('FCALL', 'tidings_publish', 1, prefix, to, 'message', JSON.stringify(data)) as [string]
  return Number(id)
}

/** Waits until a log that has outgrown its length is trimmed, as a node does within a second. Returns what is left. */
async function trimmed (prefix: string, address: string, atMost: number, at: Redis = redis): Promise<number> {
  const length = async (): Promise<number> => Number(await at.cli('XLEN', `${prefix}:log:${address}`))
  return await eventually(length, (left) => left <= atMost, { what: `the length of the log of ${address}` })
}

/** Comes back with a position; how complete it is told to be, and what it gets before its sync. */
async function resume (t: Scope, { url }: TestNode, lastEventId: number | string, claims: Claims = { sub: 'me' }): Promise<{ resume: Sync['json']['resume'], got: unknown[] }> {
  const client = connect(t, { url, token: issuer.token(claims), lastEventId: String(lastEventId), reconnect: false })
  const { json } = await client.live()
  client.close()
  return { resume: json.resume, got: client.notifications.map(({ json }) => json) }
}

t.test('positions of a whole log: complete from each of them', async (t) => {
  const { node, prefix } = await install(t)
  const start = await publish(prefix, 'user:somebody', 0)
  const ids = [start]
  for (let i = 1; i <= 5; i++) ids.push(await publish(prefix, 'user:me', i))
  for (const [index, id] of ids.entries()) t.same(await resume(t, node, id), { resume: 'complete', got: [1, 2, 3, 4, 5].slice(index) })
  t.same(await resume(t, node, ids.at(-1)! + 1), { resume: 'complete', got: [] }, 'between the last one and now')
})

t.test('log, trimmed: incomplete before what is left, complete from there', async (t) => {
  const { node, prefix } = await install(t, { HISTORY_LENGTH: '50' })
  const start = await publish(prefix, 'user:somebody', 0)
  const ids: number[] = []
  for (let i = 0; i < 400; i++) ids.push(await publish(prefix, 'user:me', i))
  const kept = await trimmed(prefix, 'user:me', 150)
  t.ok(kept >= 50 && kept < 400, `${kept} of 400 are kept`)
  const before = await resume(t, node, start)
  t.same([before.resume, before.got.length, before.got[0]], ['incomplete', kept, 400 - kept], 'with what is left')
  t.equal((await resume(t, node, ids[399 - kept]! - 1)).resume, 'incomplete', 'just before the last one that is gone')
  t.same(await resume(t, node, ids[398]!), { resume: 'complete', got: [399] })
  t.equal((await resume(t, node, ids[400 - kept]!)).resume, 'complete', 'from the first one that is left')
  t.same(await resume(t, node, start, { sub: 'you' }), { resume: 'complete', got: [] }, 'and of others\' logs nobody else is told')
})

t.test('log, expired: incomplete once its time is over, complete until then', async (t) => {
  const { node, prefix } = await install(t, HISTORY)
  let young: number
  let answer: Awaited<ReturnType<typeof resume>>
  // On a busy machine they may be old before the answer comes: then it says nothing.
  for (let tookMs = Infinity; tookMs > 2500;) {
    const old = await publish(prefix, 'user:me', 'old')
    const sinceMs = performance.now()
    young = await publish(prefix, 'user:me', 'young')
    answer = await resume(t, node, old)
    tookMs = performance.now() - sinceMs
  }
  t.same(answer!, { resume: 'complete', got: ['young'] })
  await eventually(async () => Number(await redis.cli('EXISTS', `${prefix}:log:user:me`)), (count) => count === 0, { what: 'the log to have expired' })
  t.same(await resume(t, node, young!), { resume: 'incomplete', got: [] })
  const fresh = await publish(prefix, 'user:me', 'fresh')
  t.same(await resume(t, node, fresh - 1), { resume: 'complete', got: ['fresh'] })
})

t.test('Redis, emptied: incomplete for every position from before, complete for those from after', async (t) => {
  const { node, prefix } = await install(t)
  const ids = [await publish(prefix, 'user:me', 1), await publish(prefix, 'user:me', 2)]
  await redis.cli('FLUSHALL')
  const after = await publish(prefix, 'user:me', 3)
  t.ok(after > ids[1]!, 'ids go on growing')
  for (const id of ids) t.same(await resume(t, node, id), { resume: 'incomplete', got: [3] })
  t.same(await resume(t, node, after), { resume: 'complete', got: [] })
})

t.test('positions from before the history began, from the future, and of another installation: incomplete', async (t) => {
  const { node, prefix } = await install(t)
  const id = await publish(prefix, 'user:me', 'mine')
  t.same(await resume(t, node, 1), { resume: 'incomplete', got: ['mine'] }, 'long before')
  t.same(await resume(t, node, id + 3_600_000_000), { resume: 'incomplete', got: [] }, 'in an hour')
  for (const strange of ['0', '-1', '1.5', 'abc', '9007199254740993', '99999999999999999999', ' ', '1e15', 'a'.repeat(2000)]) {
    t.same(await resume(t, node, strange), { resume: strange.trim() === '' ? 'fresh' : 'incomplete', got: [] }, `"${strange.slice(0, 24)}"`)
  }
  // The other one is younger: a position of the first is from before it was born.
  const other = await install(t)
  const otherId = await publish(other.prefix, 'user:me', 'of the other')
  t.same(await resume(t, other.node, id), { resume: 'incomplete', got: ['of the other'] })
  t.same((await resume(t, other.node, otherId)).got, [])
})

t.test('users never receive, by any position, what was not for them, nor a group\'s history from before the join', async (t) => {
  const { node, prefix } = await install(t)
  const start = await publish(prefix, 'user:you', 'yours')
  await publish(prefix, 'group:club', 'before the join')
  await redis.cli('FCALL', 'tidings_join', 1, prefix, 'me', 'club')
  await publish(prefix, 'group:club', 'after the join')
  await publish(prefix, 'group:other', 'of others')
  await publish(prefix, 'all', 'of all')
  const wanted = ['after the join', 'of all']
  for (const from of [1, start - 1, start]) t.same((await resume(t, node, from)).got, wanted, `from ${from}`)
  t.same((await resume(t, node, start, { sub: 'me', groups: ['other'] })).got, wanted, 'a claim joins now, not then')
  await redis.cli('FCALL', 'tidings_leave', 1, prefix, 'me', 'club')
  t.same((await resume(t, node, start)).got, ['of all'], 'and who has left has it no more')
})

t.test('live streams, when the log was trimmed past them while the line was down, are told incomplete', async (t) => {
  const cluster = await startCluster(t, { count: 2, env: { HISTORY_LENGTH: '20' } })
  const client = cluster.client(t, { sub: 'me' }, { url: cluster.nodes[0]!.url })
  await client.live()
  cluster.nodes[0]!.signal('SIGSTOP')
  for (let i = 0; i < 300; i++) await publish(cluster.redis.prefix, 'user:me', i, cluster.redis)
  await cluster.redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub')
  for (let i = 300; i < 600; i++) await publish(cluster.redis.prefix, 'user:me', i, cluster.redis)
  await trimmed(cluster.redis.prefix, 'user:me', 120, cluster.redis) // by the other node
  cluster.nodes[0]!.signal('SIGCONT')
  const { json } = await client.until(() => client.syncs[1], 'the second sync')
  t.equal(json.resume, 'incomplete')
  await publish(cluster.redis.prefix, 'user:me', 'after', cluster.redis)
  await client.until(() => client.notifications.find(({ json }) => json === 'after'), 'what came after')
  const ids = client.notifications.map(({ id }) => Number(id))
  t.same(ids, ids.toSorted((a, b) => a - b))
  t.equal(client.connections.length, 1)
})

t.test('two devices of a user behind a trimmed log, one cut off in mid-history while the other is told: both are told', async (t) => {
  const { node, prefix } = await install(t, { HISTORY_LENGTH: '20' })
  const start = await publish(prefix, 'user:me', 'seen by both')
  for (let i = 0; i < 400; i++) await publish(prefix, 'user:me', { i, filling: i > 300 ? 'x'.repeat(60_000) : '' })
  await trimmed(prefix, 'user:me', 120)
  const token = issuer.token({ sub: 'me' })
  const phone = connect(t, { url: node.url, token, lastEventId: String(start), reconnect: false })
  await phone.until(() => phone.notifications.length >= 3 ? true : undefined, 'a part of its history')
  phone.close({ reset: true })
  const laptop = await resume(t, node, start)
  t.equal(laptop.resume, 'incomplete')
  // Wherever the phone's line broke: whoever has something from behind the gap has been told, and is told no more.
  const seen = phone.events.slice(0, 4)
  for (let count = 0; count <= seen.length; count++) {
    const got = seen.slice(0, count)
    const client = connect(t, { url: node.url, token, lastEventId: got.at(-1)?.lastEventId ?? String(start), reconnect: false })
    await client.live()
    client.close()
    const syncs = [...got, ...client.events].filter(({ event }) => event === 'sync')
    t.ok(syncs.some(({ json }) => json.resume === 'incomplete'), `cut off after ${count} events`)
  }
})
