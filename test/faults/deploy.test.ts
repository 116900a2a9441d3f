// Nodes that leave and nginx that breaks: every client is live again by itself, complete, and no browser is told to stop.
import { once } from 'node:events'
import { createConnection } from 'node:net'
import t from 'tap'
import { connect, type Client, type ClientOptions } from '../fixtures/client.ts'
import { startCluster, type Cluster } from '../fixtures/cluster.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { startNginx } from '../fixtures/nginx.ts'
import { startNode } from '../fixtures/node.ts'
import type { Scope } from '../fixtures/wait.ts'

const STREAMS = 60
const DRAIN_SECONDS = 3

const cluster = await startCluster(t, { env: { DRAIN_SECONDS: String(DRAIN_SECONDS), RETRY_MS: '400', CONNECTS_PER_MINUTE: '0' } })
const { nodes, redis, issuer } = cluster

/** Two streams of a user each, with a browser's patience: whatever `retry:` says. */
async function crowd (t: Scope, tag: string, options: Partial<ClientOptions>): Promise<{ ledger: Ledger, clients: Client[] }> {
  const clients = Array.from({ length: STREAMS }, (_, index) => {
    const sub = `${tag}-${index >> 1}`
    return connect(t, { url: '', token: cluster.token({ sub, groups: [tag] }), name: `${sub} #${index & 1}`, ...options })
  })
  await Promise.all(clients.map(async (client) => await client.live()))
  const ledger = new Ledger(t)
  clients.forEach((client, index) => { ledger.open(client, [`user:${tag}-${index >> 1}`, `group:${tag}`]) })
  return { ledger, clients }
}

/** By FCALL, so that it does not matter who is up. */
async function some ({ redis }: Cluster, ledger: Ledger, tag: string): Promise<void> {
  for (const to of ['all', `group:${tag}`, `user:${tag}-0`, `user:${tag}-7`]) {
    const data = { mark: ledger.mark() }
    const [id] = await redis.cli('FCALL', 'tidings_publish', 1, redis.prefix, to, 'message', JSON.stringify(data)) as [string]
    ledger.sent({ to, id, data })
  }
}

/** Publishes all the time until it is called. */
function load (ledger: Ledger, tag: string): () => Promise<void> {
  let isOver = false
  const loop = (async () => {
    while (!isOver) {
      await some(cluster, ledger, tag)
      await new Promise((resolve) => { setTimeout(resolve, 50) })
    }
  })()
  return async () => {
    isOver = true
    await loop
    await some(cluster, ledger, tag)
  }
}

function assertNobodyStopped (t: { ok: (value: unknown, message: string) => unknown, same: (found: unknown, wanted: unknown, message: string) => unknown }, clients: readonly Client[]): void {
  t.same(clients.flatMap(({ connections }) => connections).filter(({ status }) => status !== undefined && status !== 200).map(({ status }) => status), [], 'every answer was 200')
  t.ok(clients.every(({ state }) => state === 'open'), 'every EventSource is open')
  const resumes = new Set(clients.flatMap(({ syncs }) => syncs.slice(1).map(({ json }) => json.resume)))
  t.same([...resumes], ['complete'], 'and resumed complete')
}

t.test('drain: streams end spread over the budget, each with a retry of its own, and the node ends with 0', async (t) => {
  const leaving = await startNode(t, { name: 'leaving', env: { ...redis.env, ...issuer.env, DRAIN_SECONDS: String(DRAIN_SECONDS), RETRY_MS: '400', CONNECTS_PER_MINUTE: '0' } })
  const { ledger, clients } = await crowd(t, 'drain', { url: (attempt) => attempt === 1 ? leaving.url : nodes[attempt % 3]!.url })
  const stop = load(ledger, 'drain')
  const askedAt = performance.now()
  const exit = leaving.stop()
  await Promise.any(clients.map(async (client) => await client.ended(1)))
  // The node is draining now: whoever comes is not refused, and not taken.
  const late = connect(t, { url: leaving.url, token: cluster.token({ sub: 'late' }), reconnect: false, name: 'late' })
  const { status, body } = await late.ended(1)
  t.match([status, body], [200, /^retry: \d+\nevent: ping\ndata: {}\n\n$/], 'who comes meanwhile gets 200, retry and an end')
  const ready = await fetch(`${leaving.url}/readyz`).then(async (answer) => [answer.status, (await answer.json() as { status: string }).status])
  t.same(ready, [503, 'draining'])
  t.same(await exit, { code: 0, signal: null })
  const ends = clients.map(({ connections: [first] }) => first!.endedAt! - askedAt).sort((a, b) => a - b)
  const tookMs = ends.at(-1)! - ends[0]!
  t.ok(tookMs > DRAIN_SECONDS * 600 && tookMs < DRAIN_SECONDS * 1000 + 4000, `the ends are spread over ${Math.round(tookMs)} ms`)
  const tenth = ends.map((end) => ends.filter((other) => other >= end && other < end + DRAIN_SECONDS * 100).length)
  t.ok(Math.max(...tenth) <= STREAMS / 2, `at most ${Math.max(...tenth)} of ${STREAMS} in a tenth of the time`)
  t.ok(clients.every(({ connections: [first] }) => first!.ending === 'end'), 'each in good order')
  const retries = clients.map(({ connections: [first] }) => first!.retries.at(-1)!)
  t.ok(new Set(retries).size > STREAMS / 3, `${new Set(retries).size} different waits for ${STREAMS} streams`)
  await Promise.all(clients.map(async (client) => await client.live(2)))
  await stop()
  await ledger.settled()
  ledger.assertExact(t)
  assertNobodyStopped(t, clients)
})

t.test('node, full, answers 200 with retry and an end', async (t) => {
  const full = await startNode(t, { name: 'full', env: { ...redis.env, ...issuer.env, MAX_STREAMS: '2' } })
  const taken = ['x', 'y'].map((sub) => connect(t, { url: full.url, token: cluster.token({ sub }) }))
  await Promise.all(taken.map(async (client) => await client.live()))
  const third = connect(t, { url: full.url, token: cluster.token({ sub: 'z' }), retryCapMs: 50 })
  const { status, body } = await third.ended(1)
  t.match([status, body], [200, /^retry: \d+\nevent: ping\ndata: {}\n\n$/])
  taken[0]!.close()
  await third.until(() => third.syncs[0], 'to be taken when there is room')
})

// Publishers go through nginx too, as in most installations.
t.test('rolling restart of all three nodes, under load: everybody ends up live and complete', async (t) => {
  const { ledger, clients } = await crowd(t, 'roll', { url: cluster.nginx.url })
  const stop = load(ledger, 'roll')
  let isOver = false
  const publishing = (async () => {
    while (!isOver) await cluster.publish(ledger, { to: 'group:roll', at: Array.from({ length: 20 }, () => cluster.nginx.url) })
  })()
  for (const index of [0, 1, 2]) {
    t.same(await nodes[index]!.stop(), { code: 0, signal: null })
    await cluster.restart(index)
  }
  isOver = true
  await Promise.all([publishing, stop()])
  await ledger.settled(40_000)
  ledger.assertExact(t)
  assertNobodyStopped(t, clients)
})

// Nothing but streams goes through this nginx, and with `max_fails` a node that it passed over would count as good again only when a
// request to it has ended, which a stream does not.
t.test('rolling restart of all three nodes, where only streams go through nginx: everybody ends up live and complete', async (t) => {
  const nginx = await startNginx(t, { nodes: nodes.map(({ port }) => port) })
  const { ledger, clients } = await crowd(t, 'only', { url: nginx.url })
  const stop = load(ledger, 'only')
  for (const index of [0, 1, 2]) {
    await nodes[index]!.stop()
    await cluster.restart(index)
  }
  await stop()
  await ledger.settled(8000)
  ledger.assertExact(t)
  assertNobodyStopped(t, clients)
})

t.test('kill -9 of a node, under load: its clients resume elsewhere, complete', async (t) => {
  const { ledger, clients } = await crowd(t, 'kill', { url: cluster.nginx.url })
  const stop = load(ledger, 'kill')
  const victims = clients.filter(({ connection }) => connection.headers['tidings-node'] === nodes[0]!.name)
  t.ok(victims.length > 0)
  await nodes[0]!.kill()
  await Promise.all(victims.map(async (client) => await client.live(2)))
  await stop()
  await ledger.settled()
  ledger.assertExact(t)
  assertNobodyStopped(t, clients)
  await cluster.restart(0)
})

t.test('nginx, reloaded and then killed with its workers, under load: streams outlive the one, and come back after the other', async (t) => {
  const ports = nodes.map(({ port }) => port)
  const nginx = await startNginx(t, { nodes: ports })
  const { ledger, clients } = await crowd(t, 'proxy', { url: nginx.url })
  const stop = load(ledger, 'proxy')
  await nginx.reload()
  await some(cluster, ledger, 'proxy')
  t.ok(clients.every(({ connections }) => connections.length === 1), 'a reload ends no stream')
  await nginx.kill()
  await Promise.all(clients.map(async (client) => await client.ended(1)))
  // While nobody listens they knock again and again.
  await Promise.all(clients.map(async (client) => await client.ended(2)))
  await startNginx(t, { nodes: ports, port: nginx.port })
  await Promise.all(clients.map(async (client) => await client.until(() => client.syncs[1], 'the second sync')))
  await stop()
  await ledger.settled()
  ledger.assertExact(t)
  assertNobodyStopped(t, clients)
})

// Linux drops who comes to a full queue without a word; they knock again after 1, 3, 7, 15 seconds.
t.test('node, too busy to accept: a thousand who come meanwhile are let into the queue', async (t) => {
  const node = await startNode(t, { env: issuer.env })
  node.signal('SIGSTOP')
  const sockets = Array.from({ length: 1000 }, () => createConnection(node.port, '127.0.0.1'))
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  node.signal('SIGCONT')
  t.pass('nobody was turned away')
})
