// docker-compose.yml as operators run it: every client gets all it is owed, in order, while nodes come and go.
import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { connect, type Client } from '../fixtures/client.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { freePort } from '../fixtures/process.ts'
import { eventually, startStack } from './stack.ts'

// Building, pulling and starting take their time.
t.setTimeout(900_000)

const users: Record<string, string[]> = { 1: ['Complaints'], 2: ['Complaints'], 3: ['Complaints', 'Stock'], 4: ['Stock'], 5: [], 6: [] }

t.test('docker-compose.yml, three nodes: the ledger holds whatever happens to them', async (t) => {
  const issuer = createIssuer()
  const prometheusPort = await freePort()
  const stack = await startStack(t, { ...issuer.env, HEARTBEAT_SECONDS: '1', DRAIN_SECONDS: '6', PROMETHEUS_PORT: String(prometheusPort) })
  // It scrapes each 15 s, and is asked at the end.
  await stack.compose('--profile', 'observe', 'up', '-d', '--no-build', '--no-recreate', 'prometheus')
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
  /** Its clients. A node tells the outside its name as a hash, so it is asked for it. */
  const on = async (container: string): Promise<Client[]> => {
    const name = await stack.docker('exec', container, 'node', '-e', "console.log((await fetch('http://127.0.0.1:3000/livez')).headers.get('tidings-node'))")
    return clients.filter((client) => nodeOf(client) === name)
  }
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
      t.same(line.split('\0').filter(Boolean).slice(1), ['--', 'node', '--disable-sigusr1', 'src/server.ts'], 'process 1 is an init, and its child node itself')
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
    const lost = await on(container)
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
    const moved = (await on(container)).map((client) => ({ client, before: client.connection.number }))
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

  await t.test('scaling, to four nodes: nginx learns them by itself, without losing a stream', async (t) => {
    const before = clients.map(({ connection }) => connection.number)
    await stack.compose('up', '-d', '--no-build', '--no-recreate', '--scale', 'node=4')
    const nodes = await stack.containers('node')
    t.equal(nodes.length, 4)
    for (const container of nodes) await eventually(`${container} to be ready`, async () => { if (await stack.ask(container, '/readyz') !== 200) throw new Error('not ready') })
    const fresh: Client[] = []
    await eventually('streams on all four nodes', async () => {
      for (const userId of Object.keys(users)) fresh.push(await subscribe(userId))
      if (spread(fresh) < 4) throw new Error(fresh.map(nodeOf).join(' '))
    })
    await publishRound()
    t.same(await post(['all']), [4], 'all four nodes took it')
    await ledger.settled()
    ledger.assertExact(t)
    t.same(clients.slice(0, before.length).map(({ connection }) => connection.number), before, 'the old streams stayed')
  })

  await t.test('scaling, down to two nodes: nobody waits for those that are gone', async (t) => {
    await stack.compose('up', '-d', '--no-build', '--no-recreate', '--scale', 'node=2')
    await publishRound()
    // As soon as nginx has looked at the names again.
    await eventually('twelve answers in a row for which nobody waits', async () => {
      for (let i = 0; i < 12; i++) {
        const response = await fetch(`${stack.url}/docs/json`, { signal: AbortSignal.timeout(1000) })
        await response.arrayBuffer()
        if (response.status !== 200) throw new Error(`${i}: ${response.status}`)
      }
    })
    await ledger.settled()
    ledger.assertExact(t)
  })

  await t.test('roll.sh, while every publish is sent once and no more: new nodes, none refused, everybody resumes complete', async (t) => {
    const before = await stack.containers('node')
    const statuses: number[] = []
    let isOver = false
    const publishing = (async () => {
      while (!isOver) {
        const data = { mark: ledger.mark() }
        // An nginx before 1.27.3 reloads to learn the new addresses, and ends idle connections as a request may be on its way.
        const response = await fetch(`${stack.url}/api/notifications`, {
          method: 'POST', headers: { Authorization: `Bearer ${publisher}`, 'Content-Type': 'application/json', Connection: 'close' }, body: JSON.stringify({ to: 'all', data })
        })
        statuses.push(response.status)
        const body = await response.json() as { notifications: { to: string, id: string }[] }
        if (response.status === 202) ledger.sent({ to: 'all', id: body.notifications[0]!.id, data })
        await setTimeout(50)
      }
    })()
    t.match(await stack.roll({ HEARTBEAT_SECONDS: '2' }), '2 of 2 nodes replaced')
    isOver = true
    await publishing
    t.ok(statuses.length > 100, `${statuses.length} publishes`)
    if (!t.same(statuses.filter((status) => status !== 202), [])) {
      const [nginx = ''] = await stack.containers('nginx')
      t.comment((await stack.docker('logs', '--tail=2000', nginx)).split('\n').filter((line) => /"status":[45]|\[(error|warn)\]/.test(line)).slice(-20).join('\n'))
    }
    const after = await stack.containers('node')
    t.equal(after.length, 2)
    t.same(after.filter((container) => before.includes(container)), [])
    for (const container of after) t.match(await stack.docker('exec', container, 'env'), 'HEARTBEAT_SECONDS=2')
    await ledger.settled()
    ledger.assertExact(t)
    t.same([...new Set(clients.flatMap(({ syncs }) => syncs.slice(1).map(({ json }) => json.resume)))], ['complete'])
  })

  await t.test('the walls: nginx does not reach Redis, which asks for a password, is bounded, and is no more privileged than the rest', async (t) => {
    const [nginx = ''] = await stack.containers('nginx')
    const reach = (container: string) => stack.docker('exec', container, 'sh', '-c', 'getent hosts redis || echo unknown')
    t.equal(await reach(nginx), 'unknown')
    t.match(await stack.docker('exec', '-e', 'REDISCLI_AUTH=', redis, 'redis-cli', 'GET', 'x'), 'NOAUTH')
    t.match(await stack.docker('exec', redis, 'redis-cli', 'CONFIG', 'GET', 'maxmemory*'), /maxmemory\n536870912[\s\S]*noeviction|noeviction[\s\S]*maxmemory\n536870912/)
    t.notMatch(await stack.docker('exec', redis, 'cat', '/proc/1/cmdline'), 'tidings', 'the password is in no list of processes')
    for (const service of ['redis', 'node', 'nginx']) {
      for (const container of await stack.containers(service)) {
        const [{ HostConfig: host }] = JSON.parse(await stack.docker('inspect', container)) as [{ HostConfig: { ReadonlyRootfs: boolean, CapDrop: string[], SecurityOpt: string[], Memory: number, PidsLimit: number } }]
        t.match(host, { ReadonlyRootfs: true, CapDrop: ['ALL'], SecurityOpt: ['no-new-privileges:true'] }, service)
        t.ok(host.Memory > 0 && host.PidsLimit > 0, `${service} has limits`)
      }
    }
  })

  await t.test('ps and logs, in a shell that knows no secret: work', async (t) => {
    for (const command of [['ps'], ['logs', '--no-color', '--tail=5', 'redis']]) t.match(await stack.bareCompose(...command), 'redis')
  })

  await t.test('the image: asks for a secret and a Redis by name, ends at a signal that comes at once, is healthy where it is alive', async (t) => {
    const none = await stack.docker('run', '--rm', stack.project).then(String, (error: Error) => error.message)
    t.match(none, 'exactly one of JWT_SECRET')
    t.match(none, 'REDIS_URL must be set where NODE_ENV is production')
    const start = async (...options: string[]) => (await stack.docker('run', '-d', '-e', `JWT_SECRET=${issuer.env.JWT_SECRET}`, '-e', 'REDIS_URL=memory:', '--read-only', ...options, stack.project)).trim()
    const early = await start('--init')
    t.teardown(() => stack.docker('rm', '-f', early))
    await stack.docker('kill', '-s', 'TERM', early)
    // Said once. 143: Node had not begun to read.
    t.match(await stack.docker('wait', early), /^(0|143)$/)
    t.notMatch(await stack.docker('logs', early), 'listening')
    for (const env of ['PORT=0', 'HOST=::', 'HTTP_PROXY=http://127.0.0.1:1']) {
      const container = await start('-e', env, '-e', 'NODE_USE_ENV_PROXY=1', '--health-interval=1s')
      t.teardown(() => stack.docker('rm', '-f', container))
      await eventually(`${env}: healthy`, async () => {
        const health = await stack.docker('inspect', '--format', '{{.State.Health.Status}}', container)
        if (health !== 'healthy') throw new Error(health)
      })
    }
    t.pass('healthy')
  })

  await t.test('observe, Prometheus as the profile starts it: has found the nodes by their name, those that are gone and those that are new, and evaluates every rule', async (t) => {
    const ask = async (path: string): Promise<any> => {
      const response = await fetch(`http://127.0.0.1:${prometheusPort}/api/v1/${path}`)
      const { status, data, error } = await response.json() as { status: string, data: unknown, error?: string }
      if (status !== 'success') throw new Error(error)
      return data
    }
    const query = async (expr: string): Promise<Array<{ metric: Record<string, string>, value: [number, string] }>> => (await ask(`query?${new URLSearchParams({ query: expr }).toString()}`)).result
    const nodes = await stack.containers('node')
    await eventually('Prometheus to scrape each node that there is, and no other', async () => {
      const { activeTargets: targets } = await ask('targets') as { activeTargets: Array<{ health: string, lastError: string }> }
      if (targets.length !== nodes.length || targets.some(({ health }) => health !== 'up')) throw new Error(JSON.stringify(targets))
    })
    t.ok((await query('max_over_time(tidings_streams[30m]) > 0')).length >= 3, 'streams of three nodes, at the least, over the whole time')
    await eventually('all rules to be evaluated', async () => {
      const { groups } = await ask('rules') as { groups: Array<{ rules: Array<{ name: string, health: string, lastError?: string }> }> }
      const others = groups.flatMap(({ rules }) => rules).filter(({ health }) => health !== 'ok')
      if (groups.length === 0 || others.length > 0) throw new Error(JSON.stringify(others))
    })
    t.ok((await query('sum(job:tidings_streams:sum)')).length > 0, 'recorded')
  })

  await t.test('down: nothing is left', async (t) => {
    for (const client of clients) client.close()
    await stack.down()
    t.same(await stack.remains(), [])
  })
})
