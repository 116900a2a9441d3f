// Nodes and lines are lost, nothing else: every client resumes on another node with exactly what it missed.
import t from 'tap'
import { once } from 'node:events'
import net from 'node:net'
import type { Client } from '../fixtures/client.ts'
import { startCluster } from '../fixtures/cluster.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { freePort } from '../fixtures/process.ts'
import { eventually, type Scope } from '../fixtures/wait.ts'

const cluster = await startCluster(t, { env: { DRAIN_SECONDS: '2' } })
const { nodes, nginx, publish } = cluster
const urls = () => nodes.map(({ url }) => url)

/** Six users through nginx, and six that go to one node after the other themselves, two streams each. */
async function crowd (t: Scope, ledger: Ledger, tag: string): Promise<Client[]> {
  const clients = Array.from({ length: 12 }, (_, index) => {
    const sub = `${tag}-${index % 6}`
    const claims = { sub, groups: [index % 2 === 0 ? `${tag} even` : `${tag} odd`] }
    const own = index < 6 ? {} : { url: (attempt: number) => urls()[(index + attempt) % 3]! }
    return cluster.client(t, claims, { name: `${sub} ${index < 6 ? 'through nginx' : 'at the nodes'}`, ...own })
  })
  await Promise.all(clients.map((client) => client.live()))
  clients.forEach((client, index) => ledger.open(client, [`user:${tag}-${index % 6}`, `group:${tag} ${index % 2 === 0 ? 'even' : 'odd'}`]))
  return clients
}

/** Some to every address, over the nodes given in turn, each with the others as second choice. */
async function some (ledger: Ledger, tag: string, at: string[]): Promise<void> {
  const to = ['all', `group:${tag} even`, `group:${tag} odd`, ...Array.from({ length: 6 }, (_, index) => `user:${tag}-${index}`)]
  await Promise.all(to.map((one, index) => publish(ledger, { to: one, at: at.map((_, step) => at[(index + step) % at.length]!) })))
}

const nodeOf = (client: Client) => client.connection.headers['tidings-node']

t.test('a client, back on another node after its line was lost, gets exactly what it missed', async (t) => {
  const ledger = new Ledger(t)
  const nowhere = `http://127.0.0.1:${await freePort()}`
  let where = nodes[0]!.url
  const client = cluster.client(t, { sub: 'mover', groups: ['movers'] }, { url: () => where })
  const first = await client.live()
  t.equal(first.json.resume, 'fresh')
  ledger.open(client, ['user:mover', 'group:movers'])
  await publish(ledger, { to: 'user:mover' })
  await ledger.settled()

  for (const [round, reset] of [[1, false], [2, true], [0, false]] as const) {
    where = nowhere
    client.drop({ reset })
    await client.ended(client.connection.number)
    for (const at of urls()) {
      for (const to of ['user:mover', 'group:movers', 'all', 'user:somebody-else']) await publish(ledger, { to, at: [at] })
    }
    where = nodes[round]!.url
    const sync = await client.live(client.connection.number + 1)
    t.match(sync.json, { resume: 'complete', replayed: 9 }, `on node ${round}`)
    t.equal(nodeOf(client), nodes[round]!.name)
    await publish(ledger, { to: 'all' })
    await ledger.settled()
  }
  ledger.assertExact(t)
})

t.test('a client that resumes by lastEventId in the URL, or with a position that is not ours, is told how complete it is', async (t) => {
  const { notifications: [first, second] } = await (async () => {
    const ledger = new Ledger(t)
    const client = cluster.client(t, { sub: 'reader' })
    await client.live()
    for (let count = 0; count < 2; count++) await publish(ledger, { to: 'user:reader' })
    ledger.open(client, [])
    return await client.until(() => client.notifications.length === 2 ? client : undefined, 'two notifications')
  })()
  const byUrl = cluster.client(t, { sub: 'reader' }, { query: { lastEventId: first!.id! } })
  t.match((await byUrl.live()).json, { resume: 'complete', replayed: 1 })
  t.same(byUrl.notifications.map(({ id }) => id), [second!.id])
  for (const lastEventId of ['garbage', '-1', '0', '1e3', '99999999999999999999', 'x'.repeat(10_000), 'ü']) {
    const client = cluster.client(t, { sub: 'reader' }, { lastEventId })
    const sync = await client.live()
    t.equal(sync.json.resume, 'incomplete', `Last-Event-ID ${lastEventId.slice(0, 30)}`)
    t.match(sync.id, /^\d+$/, 'and is given one of ours')
  }
})

t.test('kill -9 of a node, under load, costs its clients nothing', async (t) => {
  const ledger = new Ledger(t)
  const clients = await crowd(t, ledger, 'kill')
  await some(ledger, 'kill', urls())
  const victim = nodes[1]!
  const victims = clients.filter((client) => nodeOf(client) === victim.name)
  t.ok(victims.length >= 2, `${victims.length} clients are on it`)
  const load = Promise.all([some(ledger, 'kill', urls()), some(ledger, 'kill', urls()), some(ledger, 'kill', urls())])
  t.equal((await victim.kill()).signal, 'SIGKILL')
  await load
  await some(ledger, 'kill', urls())
  const syncs = await Promise.all(victims.map((client) => client.live(2)))
  t.same(syncs.map(({ json }) => json.resume), syncs.map(() => 'complete'))
  t.ok(victims.every((client) => nodeOf(client) !== victim.name), 'they are on the other nodes')
  t.ok(clients.every((client) => victims.includes(client) || client.connections.length === 1), 'nobody else noticed')
  await cluster.restart(1)
  await some(ledger, 'kill', urls())
  await ledger.settled()
  ledger.assertExact(t)
})

t.test('SIGTERM to a node, under load, drains it: exit 0, its clients go on elsewhere', async (t) => {
  const ledger = new Ledger(t)
  const clients = await crowd(t, ledger, 'term')
  await some(ledger, 'term', urls())
  const leaving = nodes[2]!
  const moved = clients.filter((client) => nodeOf(client) === leaving.name)
  t.ok(moved.length >= 2, `${moved.length} clients are on it`)
  const load = Promise.all([some(ledger, 'term', urls()), some(ledger, 'term', urls())])
  const asked = performance.now()
  t.same(await leaving.stop(), { code: 0, signal: null })
  t.ok(performance.now() - asked < 7_000, 'within DRAIN_SECONDS and what closing takes')
  await load
  await some(ledger, 'term', urls())
  const syncs = await Promise.all(moved.map((client) => client.live(2)))
  t.same(syncs.map(({ json }) => json.resume), syncs.map(() => 'complete'))
  for (const client of moved) {
    const { ending, retries } = client.connections[0]!
    t.match({ ending, retries: retries.length }, { ending: 'end', retries: Number }, `${client.name}: ended as HTTP says it should`)
  }
  await cluster.restart(2)
  await ledger.settled()
  ledger.assertExact(t)
})

t.test('all nodes killed, nginx left alone: it tells clients to retry, and they resume when nodes are back', async (t) => {
  const ledger = new Ledger(t)
  const clients = (await crowd(t, ledger, 'dark')).slice(0, 6)
  await some(ledger, 'dark', urls())
  await ledger.settled()
  await Promise.all(nodes.map((node) => node.kill()))
  await Promise.all(clients.map(async (client) => {
    const dark = await client.until(() => client.connections.find(({ number, ending, status }) => number > 1 && status === 200 && ending === 'end'), 'an answer of nginx')
    t.match(dark.headers['content-type'], /^text\/event-stream/)
    t.match(dark.body, /^retry: \d+\nevent: ping\ndata: \{\}\n\n$/)
  }))
  const answer = await cluster.call('POST', `${nginx.url}/api/notifications`, { to: 'all', data: 1 })
  t.match([answer.status, answer.headers.get('retry-after'), answer.body.code], [503, /^\d+$/, /^TIDINGS_/], 'a publisher is told to try again')
  // What other services send meanwhile.
  const data = { mark: ledger.mark() }
  const [id] = await cluster.redis.cli('FCALL', 'tidings_publish', 1, cluster.redis.prefix, 'group:dark even', 'message', JSON.stringify(data)) as [string]
  ledger.sent({ to: 'group:dark even', id, data })
  await Promise.all(nodes.map((_, index) => cluster.restart(index)))
  const syncs = await Promise.all(clients.map(async (client) => await client.until(() => client.syncs[1], 'the second sync')))
  t.same(syncs.map(({ json }) => json.resume), syncs.map(() => 'complete'))
  await some(ledger, 'dark', urls())
  await ledger.settled()
  ledger.assertExact(t)
  t.ok(clients.every(({ state }) => state === 'open'), 'no stream was closed for good')
})

t.test('clients that reset or vanish at every step of the connect leave nothing behind', async (t) => {
  const node = nodes[0]!
  const token = cluster.token({ sub: 'rude' })
  const request = `GET /api/notifications/subscribe HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`
  // Cut within the request, right after it, and after the first, second and third piece of the answer.
  const cuts = [0, 3, 40, request.length - 1, request.length].map((bytes) => ({ bytes, pieces: 0 }))
  for (const pieces of [1, 2, 3]) cuts.push({ bytes: request.length, pieces })
  for (const { bytes, pieces } of [...cuts, ...cuts]) {
    const socket = net.connect(node.port, '127.0.0.1')
    await once(socket, 'connect')
    if (bytes > 0) await new Promise((resolve) => socket.write(request.slice(0, bytes), resolve))
    // The answer may come in fewer pieces; a stream that has said all it has to say is cut as it stands.
    const synced = new Promise<void>((resolve) => socket.on('data', (piece) => { if (String(piece).includes('event: sync')) resolve() }))
    for (let piece = 0; piece < pieces; piece++) await Promise.race([once(socket, 'data'), synced])
    socket.resetAndDestroy()
    await once(socket, 'close')
  }
  const witness = cluster.client(t, { sub: 'rude' }, { url: node.url })
  await witness.live()
  const count = async () => Number(/^tidings_streams(?:\{[^}]*\})? (\d+)/m.exec(await (await fetch(`${node.url}/metrics`)).text())?.[1])
  const left = await eventually(count, (streams) => streams === 1, { what: 'how many streams the node counts' })
  t.equal(left, 1, 'only the witness is left')
  const logged = (what: string) => node.logs.filter(({ msg }) => msg === what).length
  await node.waitForLine(() => logged('stream open') === logged('stream end') + 1)
  const ledger = new Ledger(t)
  ledger.open(witness, ['user:rude'])
  await publish(ledger, { to: 'user:rude', at: [node.url] })
  await ledger.settled()
  ledger.assertExact(t)
})
