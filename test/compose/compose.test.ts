// docker-compose.yml as operators run it: real image, real Redis, three nodes behind nginx. Each client gets exactly what it is
// owed, in id order, while nodes are killed, stopped and added.
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { connect, type Client } from '../fixtures/client.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { eventually, startStack } from './stack.ts'

// Building, pulling and starting take their time.
t.setTimeout(900_000)

const users: Record<string, string[]> = { 1: ['Complaints'], 2: ['Complaints'], 3: ['Complaints', 'Stock'], 4: ['Stock'], 5: [], 6: [] }

t.test('docker-compose.yml, three nodes: the ledger holds whatever happens to them', async (t) => {
  const issuer = createIssuer()
  const stack = await startStack(t, { ...issuer.env, HEARTBEAT_SECONDS: '1', DRAIN_SECONDS: '2' })
  const ledger = new Ledger(t)
  const clients: Client[] = []
  const publisher = issuer.token({ sub: 'shop', scope: PUBLISH })
  const [redis = ''] = await stack.containers('redis')

  async function subscribe (userId: string): Promise<Client> {
    const groups = users[userId] ?? []
    const client = connect(t, { url: stack.url, token: issuer.token({ sub: userId, groups }), name: `user ${userId}, client ${clients.length + 1}` })
    await client.live()
    ledger.open(client, [`user:${userId}`, ...groups.map((group) => `group:${group}`)])
    clients.push(client)
    return client
  }

  /** As a publisher should: what was not answered, or answered with 503, is sent again with the same key. */
  async function post (to: string[], event?: string): Promise<number[]> {
    const data = { mark: ledger.mark(), title: 'Complaint update' }
    const key = randomUUID()
    const answer = await eventually('a publish to be taken', async () => {
      const response = await fetch(`${stack.url}/api/notifications`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${publisher}`, 'Content-Type': 'application/json', 'Idempotency-Key': key },
        body: JSON.stringify({ to: to.length === 1 ? to[0] : to, ...(event !== undefined && { event }), data })
      })
      const body = await response.text()
      if (response.status === 503) throw new Error(body)
      return response.status === 202 ? JSON.parse(body) as { notifications: { to: string, id: string | number, receivers: number }[] } : body
    })
    if (typeof answer === 'string') throw new Error(`a publish was refused: ${answer}`)
    for (const { to, id } of answer.notifications) ledger.sent({ to, id: String(id), data, ...(event !== undefined && { event }) })
    return answer.notifications.map(({ receivers }) => receivers)
  }

  async function fcall (to: string, event = 'message'): Promise<void> {
    const data = { mark: ledger.mark(), by: 'FCALL' }
    const reply = await stack.docker('exec', redis, 'redis-cli', 'FCALL', 'tidings_publish', '1', 'tidings', to, event, JSON.stringify(data))
    const id = /^\d{16}/.exec(reply)?.[0]
    if (id === undefined) throw new Error(`FCALL tidings_publish answered without an id: ${reply}`)
    ledger.sent({ to, id, event, data })
  }

  async function plain (to: string, event = 'message'): Promise<void> {
    const data = { mark: ledger.mark(), by: 'PUBLISH' }
    await stack.docker('exec', redis, 'redis-cli', 'PUBLISH', `tidings:${to}`, JSON.stringify({ event, data }))
    ledger.sent({ to, event, data })
  }

  async function publishRound (): Promise<void> {
    for (const userId of Object.keys(users)) await post([`user:${userId}`])
    await post(['group:Complaints'], 'complaint')
    await post(['user:1', 'user:5', 'group:Stock'])
    await post(['all'], 'notice')
  }

  const nodeOf = (client: Client): string => client.connection.headers['tidings-node'] ?? ''
  /** A node's name begins with its host's, which Docker makes of the container's id. */
  const on = (container: string): Client[] => clients.filter((client) => nodeOf(client).startsWith(container.slice(0, 12)))
  const spread = (some = clients): number => new Set(some.map(nodeOf)).size

  await t.test('the processes: ordinary users, node gets its signals, nothing of development in the image', async (t) => {
    const nodes = await stack.containers('node')
    t.equal(nodes.length, 3)
    for (const container of [...nodes, ...await stack.containers('nginx')]) {
      const [uid] = /(?<=^Uid:\s+)\d+/m.exec(await stack.docker('exec', container, 'cat', '/proc/1/status')) ?? []
      t.ok(Number(uid) > 0, `${container.slice(0, 12)} runs as ${uid}`)
    }
    for (const container of nodes) {
      const line = await stack.docker('exec', container, 'cat', '/proc/1/cmdline')
      t.same(line.split('\0').filter(Boolean), ['node', 'src/server.ts'], 'process 1 is node itself')
    }
    t.same(await stack.docker('run', '--rm', stack.project, 'sh', '-c', 'ls -d node_modules/tap node_modules/node node_modules/typescript test demo 2>/dev/null; true'), '')
  })

  await t.test('operators\' pages: not through nginx, but at each node', async (t) => {
    for (const path of ['/metrics', '/livez', '/readyz']) {
      const response = await fetch(`${stack.url}${path}`)
      t.match({ status: response.status, body: await response.json() }, { status: 404, body: { statusCode: 404, code: 'TIDINGS_NOT_FOUND', error: 'Not Found', message: String } })
      for (const container of await stack.containers('node')) t.equal(await stack.ask(container, path), 200, path)
    }
  })

  await t.test('subscribing, 12 clients through nginx: on all three nodes', async (t) => {
    for (const userId of [...Object.keys(users), ...Object.keys(users)]) await subscribe(userId)
    t.equal(spread(), 3, clients.map(nodeOf).join(' '))
    t.same(clients.map(({ connection }) => connection.headers['content-type']), clients.map(() => 'text/event-stream; charset=utf-8'))
  })

  await t.test('publishing, by HTTP and with redis-cli: exactly what is owed', async (t) => {
    await publishRound()
    t.same(await post(['all']), [3], 'all three nodes took it')
    t.same(await post(['user:nobody']), [0], 'nobody is online')
    for (const to of ['user:2', 'group:Complaints', 'all']) {
      await fcall(to)
      await plain(to)
    }
    await fcall('group:Stock', 'stock')
    await plain('user:6', 'stock')
    await publishRound()
    await ledger.settled()
    ledger.assertExact(t)
  })

  await t.test('a node, killed: its clients resume complete on another', async (t) => {
    const [container = ''] = await stack.containers('node')
    const lost = on(container)
    const others = clients.filter((client) => !lost.includes(client))
    const kept = others.map(({ connection }) => connection.number)
    t.ok(lost.length > 0, `${lost.length} clients`)
    await stack.docker('kill', container)
    await publishRound()
    for (const client of lost) {
      const sync = await client.live(2)
      t.equal(sync.json.resume, 'complete', client.name)
    }
    t.equal(spread(), 2)
    await publishRound()
    await ledger.settled()
    ledger.assertExact(t)
    t.same(others.map(({ connection }) => connection.number), kept, 'the others noticed nothing')
  })

  await t.test('a node, stopped: drains, exits 0, and its clients resume complete', async (t) => {
    const [container = ''] = await stack.containers('node')
    const moved = on(container).map((client) => ({ client, before: client.connection.number }))
    t.ok(moved.length > 0, `${moved.length} clients`)
    const stopped = stack.docker('stop', '-t', '30', container)
    await publishRound()
    await stopped
    t.equal(await stack.docker('inspect', '--format', '{{.State.ExitCode}}', container), '0')
    for (const { client, before } of moved) {
      const sync = await client.live(before + 1)
      t.equal(sync.json.resume, 'complete', client.name)
    }
    t.equal(spread(), 1)
    await publishRound()
    await ledger.settled()
    ledger.assertExact(t)
  })

  await t.test('scaling, to four nodes: nginx learns them without losing a stream', async (t) => {
    const before = clients.map(({ connection }) => connection.number)
    await stack.compose('up', '-d', '--no-build', '--no-recreate', '--scale', 'node=4')
    const nodes = await stack.containers('node')
    t.equal(nodes.length, 4)
    for (const container of nodes) await eventually(`${container} to be ready`, async () => { if (await stack.ask(container, '/readyz') !== 200) throw new Error('not ready') })
    await stack.reloadNginx()
    const fresh: Client[] = []
    for (const userId of [...Object.keys(users), ...Object.keys(users)]) fresh.push(await subscribe(userId))
    t.equal(spread(fresh), 4, fresh.map(nodeOf).join(' '))
    await publishRound()
    t.same(await post(['all']), [4], 'all four nodes took it')
    await ledger.settled()
    ledger.assertExact(t)
    t.same(clients.slice(0, before.length).map(({ connection }) => connection.number), before, 'the old streams stayed')
  })

  await t.test('down: nothing is left', async (t) => {
    for (const client of clients) client.close()
    await stack.down()
    t.same(await stack.remains(), [])
  })
})
