// Where a stream begins: Last-Event-ID and ?lastEventId=, good, foreign, forged; and that a reconnect loses and repeats nothing.
import t from 'tap'
import { startService, type Service } from './service.ts'
import type { ClientOptions } from '../fixtures/client.ts'
import { Ledger } from '../fixtures/ledger.ts'

async function publishIds (service: Service, to: string, count: number): Promise<string[]> {
  const ids = []
  for (let i = 0; i < count; i++) ids.push((await service.publish(to, i)).body.notifications[0].id)
  return ids
}

t.test('resume, after the line broke: what was missed, oldest first, once, then complete', async (t) => {
  const service = await startService(t)
  const ledger = new Ledger(t)
  // Comes back only when it is told to, so that something is really missed.
  const claims = { groups: ['g'] }
  const first = service.client(t, claims, { reconnect: false })
  await first.live()
  ledger.open(first, ['user:42', 'group:g'])
  for (const to of ['user:42', 'group:g', 'all']) await service.send(ledger, to)
  await ledger.settled()
  first.drop({ reset: true })
  await first.closed()
  const missed = []
  for (const to of ['all', 'group:g', 'user:43', 'user:42', 'group:g']) {
    const { body } = await service.publish(to, { mark: ledger.mark() })
    if (to !== 'user:43') missed.push(body.notifications[0].id)
  }
  const second = service.client(t, claims, { lastEventId: first.lastEventId })
  const sync = await second.live()
  t.same(second.events.map(({ id }) => id), [...missed, sync.id], 'history, then sync')
  t.match(sync.json, { resume: 'complete', replayed: 4 })
  t.ok(BigInt(sync.id!) > BigInt(missed.at(-1)!))
})

t.test('resume, from the sync of a stream that never had a notification: complete', async (t) => {
  const service = await startService(t)
  const client = service.client(t)
  const { id } = await client.live()
  const [missed] = await publishIds(service, 'user:43', 1)
  client.drop()
  const sync = await client.live(2)
  t.equal(client.connection.sentLastEventId, id)
  t.match(sync.json, { resume: 'complete', replayed: 0 })
  t.ok(BigInt(sync.id!) >= BigInt(missed!))
})

t.test('resume, at every position of the history: the rest of it', async (t) => {
  const service = await startService(t)
  const { id: start } = await service.client(t, { sub: 'other' }).live()
  const ids = await publishIds(service, 'user:42', 6)
  for (const [count, from] of [start!, ...ids].entries()) {
    const client = service.client(t, {}, { lastEventId: from })
    const sync = await client.live()
    t.same(client.notifications.map(({ id }) => id), ids.slice(count), `after ${count} of them`)
    t.match(sync.json, { resume: 'complete', replayed: 6 - count, unread: 6 })
    client.close()
  }
})

t.test('resume, position that is not ours: incomplete, never an error', async (t) => {
  const service = await startService(t)
  await publishIds(service, 'user:42', 2)
  const micros = Date.now() * 1000
  const positions: Record<string, string> = {
    garbage: 'abc',
    'a UUID': '6ba7b810-9dad-11d1-80b4-00c04fd430c8',
    negative: '-1',
    'negative and long': `-${micros}`,
    zero: '0',
    'with a fraction': `${micros}.5`,
    'with an exponent': '1e15',
    hexadecimal: '0x5af3107a4000',
    'with a sign': `+${micros}`,
    'with leading zeros': `00${micros}`,
    'with a space inside': `${micros} 1`,
    'two of them': `${micros}, ${micros}`,
    'from the future': String(micros + 3_600_000_000),
    'the greatest safe integer': '9007199254740991',
    'one past it': '9007199254740992',
    'of 20 digits': '9'.repeat(20),
    'long before our time': '1',
    'of 10 KB': '1'.repeat(10_240),
    '10 KB of garbage': 'x'.repeat(10_240),
    quotes: '"\'`;--',
    'a Redis range': '(1-0',
    $: '$',
    NaN: 'NaN',
    Infinity: 'Infinity'
  }
  for (const [name, position] of Object.entries(positions)) {
    for (const options of [{ lastEventId: position }, { query: { lastEventId: position } }] satisfies Partial<ClientOptions>[]) {
      const client = service.client(t, {}, { ...options, reconnect: false })
      const sync = await client.live()
      t.equal(sync.json.resume, 'incomplete', `${name} in the ${'query' in options ? 'query' : 'header'}`)
      t.match(sync.id, /^[1-9]\d{15}$/, 'and has a position to resume from')
      client.close()
    }
  }
  // Bytes that no JavaScript string of ASCII has.
  const client = service.client(t, {}, { headers: { 'Last-Event-ID': 'é😀' }, reconnect: false })
  t.equal((await client.live()).json.resume, 'incomplete', 'UTF-8')
})

t.test('resume, after incomplete: live, and the next one is complete', async (t) => {
  const service = await startService(t)
  const client = service.client(t, {}, { lastEventId: 'garbage' })
  t.equal((await client.live()).json.resume, 'incomplete')
  await service.publish('user:42', 'live')
  t.equal((await client.next()).json, 'live')
  client.drop()
  t.equal((await client.live(2)).json.resume, 'complete')
})

t.test('resume, empty position: fresh, as if none was sent', async (t) => {
  const service = await startService(t)
  for (const options of [{ headers: { 'Last-Event-ID': '' } }, { query: { lastEventId: '' } }] satisfies Partial<ClientOptions>[]) {
    t.equal((await service.client(t, {}, options).live()).json.resume, 'fresh')
  }
})

t.test('resume, ?lastEventId=: works as the header does, which goes before it', async (t) => {
  const service = await startService(t)
  const { id: start } = await service.client(t, { sub: 'other' }).live()
  const [first, second] = await publishIds(service, 'user:42', 2)
  const byQuery = service.client(t, {}, { query: { lastEventId: start! } })
  t.match((await byQuery.live()).json, { resume: 'complete', replayed: 2 })
  const both = service.client(t, {}, { query: { lastEventId: start! }, lastEventId: first! })
  await both.live()
  t.same(both.notifications.map(({ id }) => id), [second], 'the header wins')
  const foreign = service.client(t, {}, { query: { lastEventId: start! }, lastEventId: 'garbage' })
  t.equal((await foreign.live()).json.resume, 'incomplete', 'also when it is not ours')
  const ended = service.client(t, {}, { query: { lastEventId: '!closed' }, lastEventId: start! })
  t.match((await ended.live()).json, { resume: 'complete' }, 'also when the query says that it was ended')
  const back = service.client(t, {}, { query: { lastEventId: start! }, lastEventId: '!closed' })
  t.equal((await back.closed()).status, 204, 'a page that named a position in its URL and was ended: stops')
})

t.test('resume, ?lastEventId= twice: no position of ours, and no error', async (t) => {
  const service = await startService(t)
  const client = service.client(t, {}, { path: '/api/notifications/subscribe?lastEventId=1&lastEventId=2', reconnect: false })
  t.equal((await client.live()).json.resume, 'incomplete')
})

t.test('resume, log trimmed past the position: incomplete, with what is left', async (t) => {
  const service = await startService(t, { env: { HISTORY_LENGTH: '10' } })
  const { id: start } = await service.client(t, { sub: 'other' }).live()
  const ids = await publishIds(service, 'user:42', 300)
  const client = service.client(t, {}, { lastEventId: start! })
  const { json } = await client.live()
  t.equal(json.resume, 'incomplete')
  const got = client.notifications.map(({ id }) => id)
  t.ok(got.length >= 10)
  t.same(got, ids.slice(-got.length), 'the newest, in order, no hole')
  t.equal(json.replayed, got.length)
  const late = service.client(t, {}, { lastEventId: ids.at(-2)! })
  t.match((await late.live()).json, { resume: 'complete', replayed: 1 }, 'a position that the log still has')
})

t.test('resume, unread: counted exactly up to 99, and no further than 100', async (t) => {
  const service = await startService(t)
  for (const [publish, unread] of [[0, 0], [99, 99], [1, 100], [1, 100]] as const) {
    await publishIds(service, 'user:42', publish)
    t.equal((await service.client(t).live()).json.unread, unread)
  }
})

t.test('resume, history of many pages while new notifications come: all, in order, once', async (t) => {
  const service = await startService(t)
  const ledger = new Ledger(t)
  const { id: start } = await service.client(t, { sub: 'other' }).live()
  const old = []
  for (let i = 0; i < 60; i++) {
    const data = { mark: ledger.mark(), value: 'x'.repeat(30_000) }
    old.push({ to: 'user:42', id: (await service.publish('user:42', data)).body.notifications[0].id as string, data })
  }
  const resumed = service.client(t, {}, { lastEventId: start! })
  ledger.open(resumed, ['user:42'])
  for (const entry of old) ledger.sent(entry)
  for (let i = 0; i < 30; i++) await service.send(ledger, i % 2 === 0 ? 'user:42' : 'all')
  await ledger.settled()
  ledger.assertExact(t)
  t.equal((await resumed.live()).json.resume, 'complete')
})
