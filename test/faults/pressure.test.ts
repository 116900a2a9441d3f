// Clients that do not read and publishers that do not stop: latency may grow, memory may not, and nothing durable is lost.
import t from 'tap'
import { readFileSync } from 'node:fs'
import { connect, type Client } from '../fixtures/client.ts'
import { startCluster } from '../fixtures/cluster.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { startNode, type TestNode } from '../fixtures/node.ts'
import { eventually } from '../fixtures/wait.ts'

const STALLED = 500
const STREAM_BUFFER_BYTES = 65_536

const cluster = await startCluster(t, {
  count: 1,
  env: { STREAM_BUFFER_BYTES: String(STREAM_BUFFER_BYTES), MAX_DATA_BYTES: '16384', MAX_STREAMS_PER_USER: '1000', CONNECTS_PER_MINUTE: '0', PUBLISH_PER_MINUTE: '0', HISTORY_LENGTH: '20000' }
})
const { redis, issuer, nodes: [node] } = cluster

/** Resident memory of the process, in MB. */
function rssMb ({ pid }: TestNode): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
}

async function metric ({ url }: TestNode, name: string, label = ''): Promise<number> {
  const line = (await (await fetch(`${url}/metrics`)).text()).split('\n').find((line) => line.startsWith(name) && line.includes(label))
  return Number(line?.slice(line.lastIndexOf(' ')))
}

async function publish (to: string, data: { mark: string, [key: string]: unknown }, ledger?: Ledger): Promise<void> {
  const [id] = await redis.cli('FCALL', 'tidings_publish', 1, redis.prefix, to, 'message', JSON.stringify(data)) as [string]
  ledger?.sent({ to, id, data })
}

t.test('500 clients, stalled under full load, cost bounded memory; a client that reads gets everything', async (t) => {
  const ledger = new Ledger(t)
  const reader = connect(t, { url: node!.url, token: cluster.token({ sub: 'reader', groups: ['load'] }), retryCapMs: 50 })
  await reader.live()
  ledger.open(reader, ['group:load'])
  const token = cluster.token({ sub: 'stalled', groups: ['load'] })
  const stalled: Client[] = []
  for (let index = 0; index < STALLED; index++) stalled.push(connect(t, { url: node!.url, token, reconnect: false }))
  await Promise.all(stalled.map(async (client) => await client.live()))
  for (const client of stalled) client.pause()
  const beforeMb = rssMb(node!)
  let mostMb = 0
  const filling = 'x'.repeat(15_000)
  const cut = async (): Promise<number> => await metric(node!, 'tidings_streams_ended_total', 'reason="slow"')
  // What the kernel takes for each is some MB, so this is some GB in all: until every one of them is cut.
  let sent = 0
  for (let rounds = 0; rounds < 100 && await cut() < STALLED; rounds++) {
    for (let i = 0; i < 20; i++, sent++) await publish('group:load', { mark: ledger.mark(), filling }, ledger)
    mostMb = Math.max(mostMb, rssMb(node!))
  }
  t.equal(await cut(), STALLED, `every one is cut and counted, after ${(sent * 15 / 1000).toFixed(1)} MB each`)
  const growthMb = mostMb - beforeMb
  // Each may have STREAM_BUFFER_BYTES, and they share one copy; what V8 and the kernel's callbacks take comes on top.
  t.ok(growthMb < 150, `the node grew by ${Math.round(growthMb)} MB at most, from ${Math.round(beforeMb)} MB`)
  await ledger.settled()
  ledger.assertExact(t)
  await eventually(async () => await metric(node!, 'tidings_streams'), (streams) => streams === 1, { what: 'how many streams are left' })
})

t.test('publishing faster than a client takes, for long: latency grows, memory does not, nothing is lost', async (t) => {
  const ledger = new Ledger(t)
  const clients = Array.from({ length: 20 }, (_, index) =>
    connect(t, { url: node!.url, token: cluster.token({ sub: `busy-${index}`, groups: ['busy'] }), retryCapMs: 50, name: `busy-${index}` }))
  await Promise.all(clients.map(async (client) => await client.live()))
  for (const client of clients) ledger.open(client, ['group:busy'])
  const beforeMb = rssMb(node!)
  let mostMb = 0
  const filling = 'x'.repeat(2000)
  for (let round = 0; round < 20; round++) {
    // Read in bursts: every other round goes out to clients that look away.
    for (const client of clients) if (round % 2 === 0) client.pause()
    await Promise.all(Array.from({ length: 200 }, () => publish('group:busy', { mark: ledger.mark(), filling }, ledger)))
    mostMb = Math.max(mostMb, rssMb(node!))
    for (const client of clients) client.resume()
  }
  await ledger.settled(60_000)
  ledger.assertExact(t)
  t.ok(mostMb - beforeMb < 150, `the node grew by ${Math.round(mostMb - beforeMb)} MB at most`)
  t.same([...new Set(clients.flatMap(({ syncs }) => syncs.slice(1).map(({ json }) => json.resume)))].filter((resume) => resume !== 'complete'), [])
})

t.test('half-open clients, that neither read nor close, are gone by MAX_STREAM_SECONDS, and so is what they held', async (t) => {
  const brief = await startNode(t, { name: 'brief', env: { ...redis.env, ...issuer.env, MAX_STREAM_SECONDS: '4', MAX_STREAMS_PER_USER: '100', HEARTBEAT_SECONDS: '1', STREAM_BUFFER_BYTES: '67108864' } })
  const token = cluster.token({ sub: 'gone' })
  const gone = Array.from({ length: 20 }, () => connect(t, { url: brief.url, token, reconnect: false }))
  await Promise.all(gone.map(async (client) => await client.live()))
  const since = performance.now()
  for (const client of gone) client.pause()
  // So much that the last words find no room either, and not so much that they are cut for being slow.
  for (let i = 0; i < 400; i++) await publish('user:gone', { mark: 'x', filling: 'x'.repeat(15_000) })
  await eventually(async () => await metric(brief, 'tidings_streams'), (streams) => streams === 0, { what: 'how many streams are left' })
  t.ok(performance.now() - since < 4000 + 2000 + 5000, `all gone ${Math.round(performance.now() - since)} ms after they fell silent`)
  t.equal(await metric(brief, 'tidings_streams_ended_total', 'reason="age"'), 20)
})

t.test('lines of one page, lost without a word to the node, 30 of them: it is always let in, and what is published arrives', async (t) => {
  const home = await startNode(t, { name: 'home', env: { ...redis.env, ...issuer.env, MAX_STREAMS_PER_USER: '5', CONNECTS_PER_MINUTE: '0' } })
  const token = cluster.token({ sub: 'phone' })
  let last = connect(t, { url: home.url, token, reconnect: false })
  await last.live()
  for (let i = 0; i < 30; i++) {
    last.pause() // nobody hears it any more, and nobody says so
    last = connect(t, { url: home.url, token, reconnect: false, lastEventId: last.lastEventId })
    const { json } = await last.live()
    t.equal(json.resume, 'complete')
  }
  await publish('user:phone', { mark: 'here' })
  await last.next()
  t.equal(await metric(home, 'tidings_streams_ended_total', 'reason="displaced"'), 26)
  const opened = await fetch(`${home.url}/api/notifications/subscribe`, { headers: { authorization: `Bearer ${token}` } })
  t.equal(opened.status, 403, 'a page that is opened anew is refused')
})

t.test('50 pages of one user at once, with room for 5: five are let in', async (t) => {
  const home = await startNode(t, { name: 'crowd', env: { ...redis.env, ...issuer.env, MAX_STREAMS_PER_USER: '5', CONNECTS_PER_MINUTE: '0' } })
  const token = cluster.token({ sub: 'crowd' })
  const pages = Array.from({ length: 50 }, () => connect(t, { url: home.url, token, reconnect: false }))
  await Promise.all(pages.map(async (page) => await page.until(() => page.syncs[0] ?? (page.state === 'closed' || undefined), 'an answer')))
  t.equal(pages.filter(({ syncs }) => syncs.length > 0).length, 5)
  t.equal(pages.filter(({ connection: { status } }) => status === 403).length, 45)
  t.equal(await metric(home, 'tidings_streams'), 5)
})
