// How long a stream lasts: pings, age, the token's expiry, a drain, a broker that is away; what may come back is told when, never 429/502/503.
import { once } from 'node:events'
import net from 'node:net'
import t from 'tap'
import { Unavailable } from '../../src/broker/broker.ts'
import { MemoryBus } from '../../src/broker/memory/bus.ts'
import { watchCpuQueue } from '../fixtures/cpu-queue.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { startService } from './service.ts'

const SUBSCRIBE = '/api/notifications/subscribe'
const now = () => Math.floor(Date.now() / 1000)

t.test('ping, HEARTBEAT_SECONDS=2: every two seconds on each stream, without an id', async (t) => {
  const service = await startService(t, { env: { HEARTBEAT_SECONDS: '2' } })
  const queueMs = watchCpuQueue()
  const clients = [service.client(t), service.client(t, { sub: '43' })]
  for (const client of clients) {
    const sync = await client.live()
    for (let i = 0; i < 3; i++) await client.next(({ event }) => event === 'ping')
    const times = client.pings.map(({ at }) => at)
    for (let i = 1; i < 3; i++) {
      const gapMs = times[i]! - times[i - 1]!
      t.ok(gapMs + queueMs() > 1500 && gapMs - queueMs() < 2900, `${Math.round(gapMs)} ms between two`)
    }
    for (const { raw, lastEventId } of client.pings) t.same([raw, lastEventId], ['event: ping\ndata: {}', sync.id])
  }
})

t.test('age, MAX_STREAM_SECONDS=1: ended in good order with a hint, back at once, nothing lost', async (t) => {
  const service = await startService(t, { env: { MAX_STREAM_SECONDS: '1', RETRY_MS: '1000' } })
  const ledger = new Ledger(t)
  const queueMs = watchCpuQueue()
  const client = service.client(t)
  await client.live()
  ledger.open(client, ['user:42'])
  for (let number = 1; number <= 2; number++) {
    await service.send(ledger, 'user:42')
    const { ending, retries, startedAt, endedAt } = await client.ended(number)
    t.equal(ending, 'end', 'the answer is whole')
    t.equal(retries.length, 2, 'the hint of the beginning and one for this end')
    t.ok(retries[1]! >= 500 && retries[1]! <= 1500, `jittered: ${retries[1]} ms`)
    t.ok(endedAt! - startedAt - queueMs() < 3500, 'in time')
    await service.send(ledger, 'user:42')
    t.equal((await client.live(number + 1)).json.resume, 'complete')
  }
  await ledger.settled()
  ledger.assertExact(t)
  t.equal(await service.metric('tidings_streams_ended_total', 'reason="age"'), 2)
})

t.test('token, expires while the stream is open: ended within two seconds with a hint; the next attempt is refused for good', async (t) => {
  const service = await startService(t)
  const queueMs = watchCpuQueue()
  const exp = now() + 3
  const client = service.client(t, { exp })
  await client.live()
  const { ending, retries } = await client.ended(1)
  const lateMs = Date.now() - exp * 1000
  t.ok(lateMs >= 0 && lateMs - queueMs() < 2000, `${lateMs} ms after it expired`)
  t.same([ending, retries.length], ['end', 2])
  const last = await client.closed()
  t.equal(last.status, 401)
  t.match(JSON.parse(last.body), { code: 'TIDINGS_TOKEN_EXPIRED' })
  t.equal(await service.metric('tidings_streams_ended_total', 'reason="expired"'), 1)
})

t.test('age, client that takes nothing any more: its stream goes all the same', async (t) => {
  const service = await startService(t, { env: { MAX_STREAM_SECONDS: '1', STREAM_BUFFER_BYTES: '1000000000' } })
  const client = service.client(t, {}, { reconnect: false })
  await client.live()
  client.pause()
  // More than the kernel takes: the rest, and the end, wait in this process.
  for (let i = 0; i < 300; i++) await service.publish('user:42', 'x'.repeat(60_000))
  await service.logged(({ msg }) => msg === 'stream end', 'the stream has ended')
  t.equal(service.app.hub.streams, 0)
})

t.test('drain: ends every stream with a hint, takes no new one but tells it when to come, is not ready; then close() resolves', async (t) => {
  const bus = new MemoryBus({ historyLength: 100, groupHistoryLength: 100, historySeconds: 100, maxDataBytes: 65_536 })
  const service = await startService(t, { env: { RETRY_MS: '1000' }, bus })
  const ledger = new Ledger(t)
  const other = await startService(t, { bus, issuer: service.issuer })
  const clients = Array.from({ length: 20 }, (_, i) => service.client(t, { sub: String(i) }, { url: (attempt) => attempt === 1 ? service.url : other.url }))
  for (const client of clients) {
    await client.live()
    ledger.open(client, [])
  }
  await service.send(ledger, 'all')
  const begun = net.connect(Number(new URL(service.url).port), '127.0.0.1')
  t.teardown(() => begun.destroy())
  const arrived = new Promise((resolve) => { service.app.server.once('request', resolve) })
  begun.write(`PUT /api/notifications/seen HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${service.token()}\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"upTo`)
  await arrived
  const startedAt = performance.now()
  const queueMs = watchCpuQueue()
  const drained = service.app.hub.drain(1000)
  begun.write('":"0"}\n')
  const [answer] = await once(begun, 'data') as [Buffer]
  t.match(answer.toString(), /^HTTP\/1\.1 \d+ [\s\S]*\r\nconnection: close\r\n/i, 'also to a request that came before')
  await service.send(ledger, 'all')

  const ready = await service.call('GET', '/readyz')
  t.same([ready.status, ready.body.status], [503, 'draining'])
  t.equal((await service.call('GET', '/livez')).status, 200, 'it is alive')
  const late = await service.call('GET', SUBSCRIBE, { token: service.token() })
  t.same([late.status, late.headers.get('content-type'), late.headers.get('cache-control'), late.headers.get('x-accel-buffering')],
    [200, 'text/event-stream; charset=utf-8', 'no-store, no-transform', 'no'])
  t.match(late.text, /^retry: \d+\nevent: ping\ndata: {}\n\n$/)

  await drained
  const tookMs = performance.now() - startedAt
  t.ok(tookMs > 700 && tookMs - queueMs() < 3000, `${Math.round(tookMs)} ms`)
  t.equal(service.app.hub.streams, 0)
  await service.app.close()
  const retries = new Set<number>()
  const endings: number[] = []
  for (const client of clients) {
    const { ending, retries: [, retryMs], endedAt } = await client.ended(1)
    t.equal(ending, 'end')
    retries.add(retryMs!)
    endings.push(endedAt!)
    t.equal((await client.live(2)).json.resume, 'complete')
  }
  t.ok(retries.size > 10, 'each its own hint')
  t.ok(Math.max(...endings) - Math.min(...endings) > 500, 'spread over the time')
  await other.send(ledger, 'all')
  await ledger.settled()
  ledger.assertExact(t)
})

t.test('close, without a drain, while streams are open and opening: resolves, and they end in good order', async (t) => {
  const service = await startService(t)
  const clients = Array.from({ length: 10 }, (_, i) => service.client(t, { sub: String(i) }, { reconnect: false }))
  for (const client of clients) await client.live()
  const opening = Array.from({ length: 10 }, (_, i) => service.client(t, { sub: String(i) }, { reconnect: false }))
  await service.app.close()
  for (const client of clients) t.equal((await client.closed()).ending, 'end')
  for (const client of opening) t.ok([200, undefined].includes((await client.closed()).status), 'served and ended, or not answered at all')
})

t.test('broker away, before a stream opens: 200, a hint and an end, at every attempt; in as soon as it is back', async (t) => {
  let up = false
  const service = await startService(t, {
    env: { RETRY_MS: '1000' },
    alter: (broker) => {
      const { state } = broker
      broker.state = () => ({ ...state.call(broker), up, detail: 'away for the test' })
    }
  })
  const client = service.client(t)
  for (const number of [1, 2, 3]) {
    const { status, headers, body, ending } = await client.ended(number)
    t.match({ status, headers, body, ending }, {
      status: 200, headers: { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store, no-transform' }, body: /^retry: \d+\nevent: ping\ndata: {}\n\n$/, ending: 'end'
    })
  }
  const ready = await service.call('GET', '/readyz')
  t.same([ready.status, ready.body.status, ready.body.detail], [503, 'not ready', 'away for the test'])
  t.equal(await service.metric('tidings_broker_up'), 0)
  up = true
  t.equal((await client.live(1)).json.resume, 'fresh')
  t.equal(await service.metric('tidings_broker_up'), 1)
})

t.test('broker away, while a stream opens: ended with a hint wherever it was, tables clean, in at the next attempt', async (t) => {
  for (const step of ['subscribe', 'resume'] as const) {
    let failing = step === 'subscribe' ? 2 * 3 : 2 // a call for each channel
    const service = await startService(t, {
      alter: (broker) => {
        const real = broker[step].bind(broker) as (...args: any[]) => Promise<any>
        broker[step] = async (...args: any[]) => {
          if (failing-- > 0) throw new Unavailable('away for the test')
          return await real(...args)
        }
      }
    })
    const client = service.client(t, { groups: ['g'] })
    for (const number of [1, 2]) {
      const { status, retries, ending } = await client.ended(number)
      t.same([status, retries.length, ending], [200, 1, 'end'], `${step} fails`)
    }
    await client.live(3)
    await service.publish('group:g', 'here')
    t.equal((await client.next()).json, 'here')
    t.same([service.app.hub.streams, await service.metric('tidings_streams_ended_total', 'reason="unavailable"')], [1, 2])
  }
})

t.test('groups, more than a user may have because of the claim: not an endless reconnect', async (t) => {
  const service = await startService(t)
  const groups = Array.from({ length: 1000 }, (_, i) => `g${i}`)
  t.equal((await service.call('PUT', '/api/users/42/groups', { body: { groups } })).status, 200)
  const client = service.client(t, { groups: ['one-more'] })
  await client.until(() => client.syncs.length > 0 || client.state === 'closed' || client.connections.length > 3 ? true : undefined, 'an outcome')
  t.ok(client.connections.length === 1, `a stream, or a refusal for good\n${client.describe()}`)
})
