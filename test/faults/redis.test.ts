// Redis goes away and comes back, in every way that it can: streams stay open, readiness tells, and nobody misses anything in silence.
import t, { type Test } from 'tap'
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Line } from '../../chaos/line.ts'
import type { Client } from '../fixtures/client.ts'
import { startCluster, type Answer, type Cluster } from '../fixtures/cluster.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { freePort } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { eventually, type Scope } from '../fixtures/wait.ts'

/** The promise is 5 s; a shared machine is given some more, and the figure is told. */
const PROMISED_MS = 5000
const GRACE_MS = 2500

interface Rig extends Cluster {
  line: Line
  url: string
  isReady: () => Promise<boolean>
  /** Resolves with the milliseconds that it took. */
  becomes: (ready: boolean) => Promise<number>
  metric: (name: string) => Promise<number>
  send: (to: string, key: string, data: unknown) => Promise<Answer>
  /** Three users on the node, live, entered into a ledger. */
  crowd: (t: Scope) => Promise<{ ledger: Ledger, clients: Client[] }>
  /** By FCALL, one to each of the crowd's addresses. */
  some: (ledger: Ledger) => Promise<void>
}

/** One node, and a line of our own between it and its Redis. */
async function start (t: Scope): Promise<Rig> {
  const port = await freePort()
  const cluster = await startCluster(t, {
    count: 1,
    redis: { args: ['--appendonly', 'yes', '--appendfsync', 'always'] },
    env: { REDIS_URL: `redis://127.0.0.1:${port}`, HEARTBEAT_SECONDS: '1', PUBLISH_PER_MINUTE: '0' },
    before: async (redis) => {
      line = new Line(redis.port)
      await line.listen(port)
      t.teardown(() => { line.close() })
    }
  })
  const { nodes: [node], redis, call } = cluster
  const url = node!.url
  const isReady = async (): Promise<boolean> => (await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(3000) })).status === 200
  return {
    ...cluster,
    line: line!,
    url,
    isReady,
    becomes: async (ready) => {
      const from = performance.now()
      await eventually(isReady, (answer) => answer === ready, { what: `is it ${ready ? '' : 'not '}ready` })
      return performance.now() - from
    },
    metric: async (name) => Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)`, 'm').exec(await (await fetch(`${url}/metrics`)).text())?.[1]),
    send: async (to, key, data) => await call('POST', `${url}/api/notifications`, { to, data }, { 'idempotency-key': key }),
    crowd: async (t) => {
      const clients = ['a', 'b', 'c'].map((sub) => cluster.client(t, { sub, groups: ['crowd'] }, { url, name: sub }))
      await Promise.all(clients.map(async (client) => await client.live()))
      const ledger = new Ledger(t)
      for (const client of clients) ledger.open(client, [`user:${client.name}`, 'group:crowd'])
      return { ledger, clients }
    },
    some: async (ledger) => {
      for (const to of ['user:a', 'group:crowd', 'user:b', 'all', 'user:c']) {
        const data = { mark: ledger.mark() }
        const [id] = await redis.cli('FCALL', 'tidings_publish', 1, redis.prefix, to, 'message', JSON.stringify(data)) as [string]
        ledger.sent({ to, id, data })
      }
    }
  }
}
let line!: Line

const rig = await start(t)
const { redis, nodes: [node] } = rig

/** What every fault must leave: the same streams, everything once and in order, the process of before. */
function assertUntouched (t: Test, { ledger, clients }: { ledger: Ledger, clients: Client[] }): void {
  ledger.assertExact(t)
  t.ok(clients.every(({ connections, state }) => connections.length === 1 && state === 'open'), 'the streams are those of before')
  t.notOk(clients.flatMap(({ syncs }) => syncs).some(({ json }) => json.resume === 'incomplete'), 'and nothing was missing that a sync had to tell')
}

async function pings (clients: readonly Client[], since: number): Promise<void> {
  await Promise.all(clients.map(async (client) => await client.until(() => client.pings.filter(({ at }) => at > since).length >= 2 ? true : undefined, 'two more pings')))
}

t.test('line, half-open, is noticed, rebuilt and refilled while streams ping on', async (t) => {
  const crowd = await rig.crowd(t)
  await rig.some(crowd.ledger)
  await crowd.ledger.settled()
  const deafBefore = await rig.metric('tidings_pubsub_deaf_seconds')
  rig.line.loseAll()
  const since = performance.now()
  await rig.some(crowd.ledger)
  const detectedMs = await rig.becomes(false)
  t.ok(detectedMs < PROMISED_MS + GRACE_MS, `/readyz 503 after ${Math.round(detectedMs)} ms`)
  t.equal((await fetch(`${rig.url}/livez`)).status, 200, 'alive all the while')
  await rig.some(crowd.ledger)
  const healedMs = await rig.becomes(true)
  t.ok(healedMs < PROMISED_MS + GRACE_MS, `/readyz 200 after ${Math.round(healedMs)} ms more`)
  await rig.some(crowd.ledger)
  await pings(crowd.clients, since)
  await crowd.ledger.settled()
  assertUntouched(t, crowd)
  const deaf = await rig.metric('tidings_pubsub_deaf_seconds') - deafBefore
  t.ok(deaf > 0 && deaf < 10, `counted: ${deaf} s`)
  rig.line.tidy()
})

t.test('Redis, stopped for 8 s: 503 with Retry-After, streams ping on, then everything once, in id order', async (t) => {
  const crowd = await rig.crowd(t)
  const since = performance.now()
  redis.pause()
  const detectedMs = await rig.becomes(false)
  t.ok(detectedMs < PROMISED_MS + GRACE_MS, `/readyz 503 after ${Math.round(detectedMs)} ms`)
  const data = { mark: crowd.ledger.mark() }
  const refused = await rig.send('group:crowd', 'stopped', data)
  t.match([refused.status, refused.headers.get('retry-after')], [503, /^[1-9]\d*$/])
  await pings(crowd.clients, since)
  await pause(Math.max(0, since + 8000 - performance.now()))
  redis.resume()
  const healedMs = await rig.becomes(true)
  t.ok(healedMs < PROMISED_MS + GRACE_MS, `/readyz 200 ${Math.round(healedMs)} ms after the cure`)
  // Redis may have been sent it before the node knew, and have run it when it went on.
  const isCertain = refused.body.code === 'TIDINGS_UNAVAILABLE'
  t.ok(isCertain || refused.body.code === 'TIDINGS_UNCERTAIN')
  const first = await rig.send('group:crowd', 'stopped', data)
  t.equal(first.status, 202)
  if (isCertain) t.equal(first.headers.get('idempotency-replayed'), null)
  crowd.ledger.sent({ to: 'group:crowd', id: first.body.notifications[0].id, data })
  const second = await rig.send('group:crowd', 'stopped', data)
  t.match([second.status, second.headers.get('idempotency-replayed'), second.body], [202, 'true', first.body])
  await rig.some(crowd.ledger)
  await crowd.ledger.settled()
  assertUntouched(t, crowd)
})

t.test('Redis, killed and started again with its data, costs nobody anything', async (t) => {
  const crowd = await rig.crowd(t)
  await rig.some(crowd.ledger)
  await redis.kill()
  await rig.becomes(false)
  const refused = await rig.send('user:a', 'killed', { mark: 'never' })
  t.match([refused.status, refused.headers.get('retry-after'), refused.body.code], [503, /^[1-9]\d*$/, /^TIDINGS_/])
  const newcomer = rig.client(t, { sub: 'a', groups: ['crowd'] }, { url: rig.url, lastEventId: crowd.clients[0]!.lastEventId })
  const { body } = await newcomer.ended(1)
  t.match([newcomer.connections[0]!.status, body], [200, /^retry: \d+\nevent: ping\ndata: {}\n\n$/], 'who comes meanwhile is told to come back')
  await redis.start()
  // Before the node is there again: other services publish.
  const early = { mark: crowd.ledger.mark() }
  const [id] = await redis.cli('FCALL', 'tidings_publish', 1, redis.prefix, 'all', 'message', JSON.stringify(early)) as [string]
  crowd.ledger.sent({ to: 'all', id, data: early })
  const healedMs = await rig.becomes(true)
  t.ok(healedMs < PROMISED_MS + GRACE_MS, `/readyz 200 after ${Math.round(healedMs)} ms`)
  await rig.some(crowd.ledger)
  await crowd.ledger.settled()
  assertUntouched(t, crowd)
  t.equal((await newcomer.until(() => newcomer.syncs[0], 'its sync')).json.resume, 'complete')
})

for (const type of ['pubsub', 'normal']) {
  t.test(`CLIENT KILL TYPE ${type}, five times under load, costs nobody anything`, async (t) => {
    const crowd = await rig.crowd(t)
    for (let round = 0; round < 5; round++) {
      // Killed in the middle of what is being published.
      const load = Promise.all([rig.some(crowd.ledger), rig.some(crowd.ledger)])
      // The nodes may not yet be back from the last time.
      await eventually(() => redis.cli('CLIENT', 'KILL', 'TYPE', type), (killed) => Number(killed) > 0, { what: 'is a connection there to be killed' })
      await load
      await rig.some(crowd.ledger)
      await rig.becomes(true)
      await rig.some(crowd.ledger)
    }
    await crowd.ledger.settled()
    assertUntouched(t, crowd)
  })
}

t.test('subscriber, dropped by Redis because its output buffer is full, is refilled', async (t) => {
  const crowd = await rig.crowd(t)
  await redis.cli('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 65536 65536 0')
  rig.line.stall()
  await rig.some(crowd.ledger)
  // Into the one channel that only this node hears.
  const channel = `${redis.prefix}:node:${node!.name}`
  let sent = 0
  while (Number(await redis.cli('PUBLISH', channel, 'x'.repeat(60_000))) > 0 && sent < 3000) sent++
  t.ok(sent < 3000, `dropped after ${sent * 60} KB`)
  await rig.some(crowd.ledger)
  rig.line.flow()
  await eventually(async () => await redis.cli('PUBLISH', channel, ''), (receivers) => receivers === 1, { what: 'is it subscribed again' })
  await rig.becomes(true)
  await redis.cli('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 33554432 8388608 60')
  await rig.some(crowd.ledger)
  await crowd.ledger.settled()
  assertUntouched(t, crowd)
})

t.test('publish, whose answer is lost between Redis and the node, is published once by a retry', async (t) => {
  const { ledger, clients } = await rig.crowd(t)
  rig.line.loseAnswers()
  const data = { mark: ledger.mark() }
  const first = await rig.send('user:b', 'lost-answer', data)
  t.match([first.status, first.body.code, first.headers.get('retry-after')], [503, 'TIDINGS_UNCERTAIN', /^[1-9]\d*$/])
  await rig.becomes(false)
  await rig.becomes(true)
  const second = await rig.send('user:b', 'lost-answer', data)
  t.match([second.status, second.headers.get('idempotency-replayed')], [202, 'true'], 'it had been published')
  ledger.sent({ to: 'user:b', id: second.body.notifications[0].id, data })
  await rig.some(ledger)
  await ledger.settled()
  ledger.assertExact(t)
  t.equal(clients[1]!.notifications.filter(({ json }) => json.mark === data.mark).length, 1)
})

t.test('publish, whose answer is lost between the node and the publisher, is published once by a retry', async (t) => {
  const { ledger, clients } = await rig.crowd(t)
  const front = new Line(node!.port)
  await front.listen()
  t.teardown(() => { front.close() })
  const data = { mark: ledger.mark() }
  const body = JSON.stringify({ to: 'user:c', data })
  const socket = net.connect(front.port, '127.0.0.1')
  let answered = false
  socket.on('data', () => { answered = true })
  // A request and its answer, so that the connection is known to stand; then every answer is lost.
  socket.write('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n')
  await once(socket, 'data')
  front.loseAnswers()
  answered = false
  socket.write(`POST /api/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${rig.operator}\r\nIdempotency-Key: lost-on-the-way\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
  await clients[2]!.until(() => clients[2]!.notifications.find(({ json }) => json.mark === data.mark), 'what was published')
  socket.destroy()
  t.notOk(answered)
  const answer = await rig.send('user:c', 'lost-on-the-way', data)
  t.match([answer.status, answer.headers.get('idempotency-replayed')], [202, 'true'])
  ledger.sent({ to: 'user:c', id: answer.body.notifications[0].id, data })
  await rig.some(ledger)
  await ledger.settled()
  ledger.assertExact(t)
})

t.test('Redis, full and told not to evict: publish is answered 503 and stores nothing, streams stay, and all goes on when there is room', async (t) => {
  const crowd = await rig.crowd(t)
  await redis.cli('CONFIG', 'SET', 'maxmemory', 1)
  const data = { mark: crowd.ledger.mark() }
  const entries = await redis.cli('XLEN', `${redis.prefix}:log:group:crowd`)
  const refused = await rig.send('group:crowd', 'full', data)
  t.match([refused.status, refused.body.code, refused.headers.get('retry-after')], [503, 'TIDINGS_UNAVAILABLE', /^[1-9]\d*$/])
  t.equal(await redis.cli('XLEN', `${redis.prefix}:log:group:crowd`), entries)
  await redis.cli('CONFIG', 'SET', 'maxmemory', 0)
  const taken = await rig.send('group:crowd', 'full', data)
  t.match([taken.status, taken.headers.get('idempotency-replayed')], [202, null])
  crowd.ledger.sent({ to: 'group:crowd', id: taken.body.notifications[0].id, data })
  await crowd.ledger.settled()
  assertUntouched(t, crowd)
})

t.test('failover to an empty server: live streams are told incomplete, stay open, and go on', async (t) => {
  const { ledger, clients } = await rig.crowd(t)
  await rig.some(ledger)
  await ledger.settled()
  const other = await startRedis(t, { own: true })
  rig.line.retarget(other.port)
  // Only the commands are cut off: the subscriber stays at a server that nobody publishes to any more, and hears no canary.
  await redis.cli('CLIENT', 'KILL', 'TYPE', 'normal')
  await Promise.all(clients.map(async (client) => {
    const { json } = await client.until(() => client.syncs[1], 'a sync that tells of the loss')
    t.equal(json.resume, 'incomplete')
  }))
  await rig.becomes(true)
  const data = { mark: ledger.mark() }
  const { body } = await rig.send('group:crowd', 'after-the-failover', data)
  ledger.sent({ to: 'group:crowd', id: body.notifications[0].id, data })
  await ledger.settled()
  ledger.assertExact(t)
  t.ok(clients.every(({ connections }) => connections.length === 1), 'the streams are those of before')
  rig.line.retarget(redis.port)
})

t.test('node, after all this, is the process that it was', async (t) => {
  t.equal(node!.logs.filter(({ msg }) => /Server listening/.test(msg)).length, 1)
  t.equal(node!.logs.filter(({ level }) => level >= 50).length, 0, 'and logged no error')
})
