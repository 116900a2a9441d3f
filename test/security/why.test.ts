// Why somebody did, or did not, get a notification: each verdict is made true, on both brokers, and told by another node.
import t, { type Test } from 'tap'
import { VERDICTS } from '../../src/why.ts'
import { startRedis } from '../fixtures/redis.ts'
import type { Client } from '../fixtures/client.ts'
import { eventually } from '../fixtures/wait.ts'
import { onBoth, startNodes, type Nodes, type NodesOptions } from './nodes.ts'

const redis = await startRedis(t)
const told = new Set<string>()

interface World extends Nodes {
  /** Publishes through node 0; the id. */
  publish: (to: string | string[], more?: object) => Promise<string>
  /** What node 1 says. */
  why: (user: string, id: string, node?: number) => Promise<any>
  /** The same, once it says this. */
  becomes: (verdict: string, user: string, id: string) => Promise<any>
}

async function start (t: Test, kind: 'memory' | 'redis', options: NodesOptions = {}): Promise<World> {
  const all = await startNodes(t, kind, redis, { ...options, env: { RECEIPTS: 'all', ...options.env } })
  const why: World['why'] = async (user, id, node = 1) => {
    // As if a second had passed: what nodes noted has gone out.
    await Promise.all(all.nodes.map(async ({ broker }) => { await broker.trail.flush() }))
    const { status, body } = await all.call('GET', `/api/users/${encodeURIComponent(user)}/why?id=${id}`, { node })
    t.equal(status, 200)
    told.add(body.verdict)
    return body
  }
  return {
    ...all,
    why,
    publish: async (to, more = {}) => (await all.call('POST', '/api/notifications', { body: { to, data: 1, ...more } })).body.notifications[0].id,
    becomes: async (verdict, user, id) => await eventually(async () => await why(user, id), (body) => body.verdict === verdict, { what: `the verdict ${verdict}` })
  }
}

async function gone (all: Nodes, client: Client, node = 0): Promise<void> {
  client.drop()
  client.close()
  await eventually(async () => all.nodes[node]!.app.hub.streams, (streams) => streams === 0, { what: 'the stream is gone' })
}

onBoth(t, 'why, of what was never addressed to somebody, or does not exist for them', async (t, kind) => {
  const all = await start(t, kind)
  const id = await all.publish(['user:1', 'group:g'])
  t.match(await all.why('2', id), { userId: '2', id, verdict: 'not-addressed', addresses: [], streams: [], receipts: 'all' })
  t.match(await all.why('nobody at all', id), { verdict: 'not-addressed' }, 'an unknown user is an answer')
  t.match(await all.why('1', '1000000000000000'), { verdict: 'too-old', sentence: /HISTORY_SECONDS/ })
})

onBoth(t, 'why, of a group joined later or left before, names the moment', async (t, kind) => {
  const all = await start(t, kind)
  const early = await all.publish('group:g')
  await all.call('PUT', '/api/users/1/groups/g')
  t.match(await all.why('1', early), { verdict: 'joined-later', sentence: /group:g, which 1 joined later, at 20/ })
  const during = await all.publish('group:g')
  t.match(await all.why('1', during), { verdict: 'nobody-online', addresses: [{ to: 'group:g', state: 'kept' }] })
  await all.call('DELETE', '/api/users/1/groups/g')
  const late = await all.publish('group:g')
  t.match(await all.why('1', late), { verdict: 'left-before', sentence: /which 1 had left at 20/ })
  t.match(await all.why('1', during), { verdict: 'left-before', sentence: /nobody was online; they left at/ })
})

onBoth(t, 'why, of a group left while away, does not say that a stream wrote it', async (t, kind) => {
  const all = await start(t, kind)
  const come = async (lastEventId?: string): Promise<string> => {
    const client = all.client(t, { sub: '1' }, { reconnect: false, ...lastEventId !== undefined && { lastEventId } })
    const { id } = await client.live()
    await gone(all, client)
    return id!
  }
  await all.call('PUT', '/api/users/1/groups/g')
  const before = await come()
  const id = await all.publish('group:g')
  const both = await all.publish(['group:g', 'user:1'])
  await all.call('DELETE', '/api/users/1/groups/g')
  const after = await come(before)
  const missed = { verdict: 'left-before', sentence: /published to group:g while 1 was in it, and nobody was online; they left at 20/ }
  t.match(await all.why('1', id), { ...missed, streams: [{ outcome: 'gone-before' }, { outcome: 'ended-before' }] })
  t.match(await all.why('1', both), { verdict: 'written', sentence: /from the log/ }, 'what came by another address was written')
  await come(after)
  t.match(await all.why('1', id), missed, 'nor that the page said it had it')
  await all.call('PUT', '/api/users/1/groups/g')
  t.match(await all.why('1', id), missed, 'nor that nobody came, once they are in it again')
  const token = all.token({ sub: '1' })
  await all.call('PUT', '/api/notifications/read', { token, body: { upTo: (await all.call('GET', '/api/notifications/position', { token })).body.position } })
  t.match(await all.why('1', id), missed, 'nor that they have read what their list never had')
  await all.becomes('read', '1', both)
  await come(before)
  t.match(await all.why('1', id), { verdict: 'written', sentence: /from the log/ }, 'unless a page comes back from before')
})

onBoth(t, 'why, of what no list has, does not say that a page finds it there', async (t, kind) => {
  const all = await start(t, kind)
  await all.call('PUT', '/api/users/1/groups/g')
  const ids = [await all.publish('user:1', { keep: 'replay' }), await all.publish('group:g')]
  for (const method of ['DELETE', 'PUT']) await all.call(method, '/api/users/1/groups/g')
  await all.client(t, { sub: '1' }).live()
  for (const id of ids) t.match(await all.why('1', id), { verdict: 'nobody-online', sentence: /opened afterwards.*gets what is listed, and this is not/ })
})

onBoth(t, 'why, of what is gone, says how and when, and whether somebody had it before', async (t, kind) => {
  const all = await start(t, kind)
  const client = all.client(t, { sub: '1' })
  await client.live()
  const had = await all.publish('user:1')
  await client.next()
  await gone(all, client)
  await all.call('POST', '/api/notifications/retract', { body: { to: 'user:1', id: had } })
  t.match(await all.why('1', had), { verdict: 'retracted', addresses: [{ state: 'retracted', at: /^20/ }], sentence: /taken back at 20.*Before that it was written to stream/ })
  const unseen = await all.publish('user:1')
  await all.call('POST', '/api/notifications/retract', { body: { to: 'user:1', id: unseen } })
  t.match(await all.why('1', unseen), { verdict: 'retracted', sentence: /no stream of theirs wrote it/ })
  const older = await all.publish('user:1', { key: 'k' })
  const newer = await all.publish('user:1', { key: 'k' })
  t.match(await all.why('1', older), { verdict: 'replaced', sentence: new RegExp(`took its place: ${newer}`) })
  const short = await all.publish('user:1', { ttl: 1 })
  t.match(await all.becomes('expired', '1', short), { sentence: /its ttl/ })
})

onBoth(t, 'why, of what was trimmed, or taken out with very many others, does not pretend to know', async (t, kind) => {
  const all = await start(t, kind)
  const replaced = await all.publish('user:1', { key: 'k' })
  for (let i = 0; i < 130; i++) await all.publish('user:1', { key: 'k' })
  t.match(await all.why('1', replaced), { verdict: 'forgotten' })
  const trimmed = await all.publish('user:2')
  for (let i = 0; i < 1100; i += 50) await Promise.all(Array.from({ length: 50 }, async () => await all.publish('user:2')))
  t.match(await all.why('2', trimmed), { verdict: 'trimmed', sentence: /log of user:2 was trimmed up to .*HISTORY_LENGTH/ })
})

onBoth(t, 'why, of what a stream wrote, names stream, node and moment, from another node, live and from the log', async (t, kind) => {
  const all = await start(t, kind)
  const client = all.client(t, { sub: '1' }, { reconnect: false })
  const { id: position } = await client.live()
  const id = await all.publish(['user:1', 'all'])
  await client.next()
  const live = await all.becomes('written', '1', id)
  t.match(live, { verdict: 'written', sentence: /^It was written to stream \w+ on node node-0 at 20/, streams: [{ node: 'node-0', outcome: 'written', how: 'live', at: /^20/ }] })
  t.ok(all.nodes[0]!.lines.some((line) => line.includes(`"stream":"${live.streams[0].stream}"`)), 'the log names it the same')
  await gone(all, client)
  t.match(await all.becomes('written', '1', id), { streams: [{ outcome: 'written', ended: 'client' }] })
  const away = await all.publish('user:1')
  t.match(await all.why('1', away), { verdict: 'nobody-online', sentence: /none has been opened since/ })
  const again = all.client(t, { sub: '1' }, { node: 1, lastEventId: position! })
  await again.live()
  t.match(await all.why('1', away), { verdict: 'written', sentence: /on node node-1 .* from the log/, streams: [{ node: 'node-1', how: 'log' }, { outcome: 'ended-before' }] })
  t.match(await all.why('2', id), { verdict: 'nobody-online', streams: [] }, 'nothing of the streams of others')
})

onBoth(t, 'why, of streams on two nodes, has the newest first, whichever node was the first to say so', async (t, kind) => {
  const all = await start(t, kind)
  const client = all.client(t, { sub: '1' })
  const { id: position } = await client.live()
  await gone(all, client)
  const id = await all.publish('user:1')
  await all.client(t, { sub: '1' }, { node: 1, lastEventId: position! }).live()
  await all.nodes[1]!.broker.trail.flush()
  t.match(await all.why('1', id), { streams: [{ node: 'node-1', outcome: 'written' }, { node: 'node-0', outcome: 'ended-before' }] })
})

onBoth(t, 'why, of a page that came with a position behind it, and of one that came without any', async (t, kind) => {
  const all = await start(t, kind)
  const id = await all.publish('user:1')
  const fresh = all.client(t, { sub: '1' })
  await fresh.live()
  t.match(await all.why('1', id, 0), { verdict: 'nobody-online', sentence: /opened afterwards.*finds it in the list/, streams: [{ outcome: 'opened-later' }] })
  await gone(all, fresh)
  const foreign = all.client(t, { sub: '1' }, { lastEventId: 'of somebody else' })
  await foreign.live()
  t.match(await all.why('1', id, 0), { sentence: /by a page without a position of this service/ }, 'nor with one that is not ours')
  await gone(all, foreign)
  const past = all.client(t, { sub: '1' }, { lastEventId: id })
  await past.live()
  t.match(await all.why('1', id, 0), { verdict: 'resumed-past', sentence: /a position behind it/ })
})

onBoth(t, 'why, of what the user has read or dismissed, says so, and when', async (t, kind) => {
  const all = await start(t, kind)
  const [one, two, three] = [await all.publish('user:1'), await all.publish('user:1'), await all.publish('user:1')] as [string, string, string]
  const token = all.token({ sub: '1' })
  await all.call('PUT', `/api/notifications/${two}/read`, { token })
  t.match(await all.becomes('read', '1', two), { sentence: /^1 has read it at 20.*, through node node-0\.$/ })
  t.match(await all.why('1', one), { verdict: 'nobody-online' })
  await all.call('PUT', '/api/notifications/read', { token, body: { upTo: two } })
  t.match(await all.becomes('read', '1', one), { sentence: /has read it at 20/ })
  await all.call('DELETE', `/api/notifications/${three}`, { token })
  t.match(await all.why('1', three), { verdict: 'dismissed' })
})

onBoth(t, 'why, of a client that did not read and was cut, says that it was among what was not taken', async (t, kind) => {
  const all = await start(t, kind, { env: { STREAM_BUFFER_BYTES: '131072' } })
  const client = all.client(t, { sub: '1' }, { reconnect: false })
  const { id: position } = await client.live()
  client.pause()
  const data = 'x'.repeat(60_000)
  await eventually(async () => {
    await all.publish('user:1', { data })
    return all.nodes[0]!.app.hub.stats.ended.slow
  }, (slow) => slow === 1, { what: 'the stream is cut' })
  const { notifications } = (await all.call('GET', '/api/users/1/notifications?limit=100')).body
  const verdicts = await Promise.all(notifications.map(async (item: any) => (await all.why('1', item.id, 0)).verdict))
  t.ok(verdicts.includes('cut-as-slow'), verdicts.join())
  const cut = notifications[verdicts.indexOf('cut-as-slow')].id
  t.match(await all.why('1', cut), { sentence: /did not take what was sent/, streams: [{ outcome: 'cut-as-slow', ended: 'slow' }] })
  await all.client(t, { sub: '1' }, { node: 1, lastEventId: position! }).live()
  t.match(await all.why('1', cut), { verdict: 'written', streams: [{ how: 'log' }, { outcome: 'cut-as-slow' }] }, 'when it came back, it was sent again')
})

onBoth(t, 'why, of a page that broke off amid its history, does not say that none was opened', async (t, kind) => {
  const all = await start(t, kind)
  const position = await all.publish('user:1')
  const ids: string[] = []
  for (let i = 0; i < 150; i++) ids.push(await all.publish('user:1', { data: 'x'.repeat(60_000) }))
  t.match(await all.why('1', ids.at(-1)!), { verdict: 'nobody-online', sentence: /No stream of 1 was open then, and none/ })
  const client = all.client(t, { sub: '1' }, { lastEventId: position, reconnect: false, read: false })
  await eventually(async () => all.nodes[0]!.app.hub.streams, (streams) => streams === 1, { what: 'the stream is open' })
  await gone(all, client)
  t.match(await all.why('1', ids.at(-1)!), { verdict: 'nobody-online', sentence: /ended at 20.*, before this was written to it/, streams: [{ outcome: 'ended-before' }] })
})

t.test('why, of a node that has died, says that nobody knows, and knows again when the page comes back (redis)', async (t) => {
  const all = await start(t, 'redis')
  const client = all.client(t, { sub: '1' }, { reconnect: false })
  const { id: position } = await client.live()
  await all.nodes[0]!.broker.trail.flush()
  // As if killed: what it would have noted from here on never goes out.
  all.nodes[0]!.broker.trail.wrote = () => {}
  all.nodes[0]!.broker.trail.note = () => {}
  const id = await all.publish('user:1')
  await client.next()
  t.match(await all.why('1', id), { verdict: 'unconfirmed', sentence: /has not said yet/ })
  const again = all.client(t, { sub: '1' }, { node: 1, lastEventId: position! })
  await again.live()
  t.match(await all.why('1', id), { verdict: 'written', streams: [{ node: 'node-1', how: 'log' }, { node: 'node-0', outcome: 'unconfirmed' }] })
})

onBoth(t, 'why, with receipts sampled, knows the stream and not always the moment; off, it knows what the logs know', async (t, kind) => {
  const all = await start(t, kind, { env: { RECEIPTS: 'sampled' } })
  const client = all.client(t, { sub: '1' })
  await client.live()
  const ids: string[] = []
  for (let i = 0; i < 64; i++) ids.push(await all.publish('user:1'))
  await client.next(({ id }) => id === ids.at(-1))
  const answers = []
  await all.becomes('written', '1', ids.at(-1)!)
  for (const id of ids) answers.push(await all.why('1', id))
  t.ok(answers.every(({ verdict }) => verdict === 'written'))
  const timed = answers.filter(({ streams: [{ at }] }) => at !== undefined).length
  t.equal(timed, ids.filter((id) => Number(id) % 16 === 0).length)
  const off = await start(t, kind, { env: { RECEIPTS: 'off' } })
  const id = await off.publish('user:1')
  t.match(await off.why('1', id), { verdict: 'no-receipts', sentence: /Set RECEIPTS/, receipts: 'off', streams: [] })
})

onBoth(t, 'why, where one node of two keeps no receipts, says that it is not known who got it', async (t, kind) => {
  const all = await start(t, kind, { envOf: (node) => ({ RECEIPTS: node === 0 ? 'off' : 'all' }) })
  const client = all.client(t, { sub: '1' })
  await client.live()
  const id = await all.publish('user:1')
  await client.next((event) => event.id === id)
  const unknown = { verdict: 'no-receipts', sentence: /whether a stream wrote it is not known/ }
  for (const node of [0, 1]) t.match(await all.why('1', id, node), unknown)
  await all.client(t, { sub: '1' }, { node: 1 }).live()
  await eventually(async () => await all.why('1', id), ({ streams }) => streams.length === 1, { what: 'the later stream is noted' })
  t.match(await all.why('1', id), { ...unknown, streams: [{ outcome: 'opened-later' }] }, 'also beside a stream that is known')
  await all.call('PUT', '/api/users/2/groups/g')
  const during = await all.publish('group:g')
  await all.call('DELETE', '/api/users/2/groups/g')
  const left = await all.why('2', during)
  t.match(left, { verdict: 'left-before', sentence: /not known/ })
  t.notMatch(left.sentence, /nobody was online/)
  const other = await all.publish('user:2')
  t.match(await all.why('2', other), unknown)
  if (kind === 'memory') return
  // As if that node had ended some time ago.
  await redis.cli('HSET', `${all.prefix}:config`, 'unnoted', id)
  t.match(await all.why('2', other), { verdict: 'nobody-online' })
  t.match(await all.why('1', id), unknown, 'what was before stays unknown')
})

t.test('why, asked for nonsense or without the scope, refuses as the other routes do', async (t) => {
  const all = await start(t, 'memory', { count: 1 })
  const id = await all.publish('user:1')
  const ask = async (query: string, token?: string | null, user = '1') =>
    (await all.call('GET', `/api/users/${user}/why${query}`, token === undefined ? {} : { token })).body.code
  t.equal(await ask('?id=x'), 'TIDINGS_BAD_POSITION')
  for (const never of ['0', '1', '999999999999999', '1763794001222']) t.equal(await ask(`?id=${never}`), 'TIDINGS_BAD_POSITION', `${never}, which was never an id`)
  t.match((await all.call('GET', '/api/users/1/why?id=1000000000000000')).body, { verdict: 'too-old' }, 'an id of 2001')
  t.equal(await ask(`?id=${Number(id) + 3_600_000_000}`), 'TIDINGS_BAD_POSITION', 'of the future')
  t.equal(await ask(''), 'TIDINGS_BAD_REQUEST')
  t.equal(await ask(`?id=${id}`, undefined, '%00'), 'TIDINGS_BAD_NAME')
  t.equal(await ask(`?id=${id}`, null), 'TIDINGS_TOKEN_MISSING')
  for (const scope of [undefined, 'notifications:publish']) t.equal(await ask(`?id=${id}`, all.token({ sub: '1', scope })), 'TIDINGS_SCOPE_MISSING')
})

t.test('why, over all of the above, has given every verdict that there is', async (t) => {
  t.same([...told].sort(), [...VERDICTS].sort())
})
