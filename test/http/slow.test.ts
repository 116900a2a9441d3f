// A client that does not read, with TLS and without: bounded memory here, cut past STREAM_BUFFER_BYTES, counted, nothing lost, nobody else slowed down.
import t from 'tap'
import { Ledger } from '../fixtures/ledger.ts'
import { startService, type Service } from './service.ts'

// The kernel's buffers on both sides take some MB before anything waits here.
const env = { STREAM_BUFFER_BYTES: '65536', MAX_DATA_BYTES: '60000', HISTORY_LENGTH: '10000' }
const filling = 'x'.repeat(50_000)

async function publishUntilCut (service: Service, ledger: Ledger, to: string): Promise<void> {
  let cut = false
  void service.logged(({ msg, reason }) => msg === 'stream end' && reason === 'slow').then(() => { cut = true }, () => {})
  for (let i = 0; !cut && i < 1000; i++) await service.send(ledger, to, filling)
  if (!cut) throw new Error('50 MB were taken for a client that reads nothing')
}

for (const isTls of [false, true]) {
  const over = isTls ? 'TLS' : 'TCP'

  t.test(`slow client over ${over}, never reads: cut and counted; another stream of the same user gets everything`, async (t) => {
    const service = await startService(t, { isTls, env })
    const ledger = new Ledger(t)
    const silent = service.client(t, {}, { read: false, reconnect: false })
    await service.logged(({ msg }) => msg === 'stream open')
    const reader = service.client(t)
    await reader.live()
    ledger.open(reader, ['user:42'])
    await publishUntilCut(service, ledger, 'user:42')
    await ledger.settled()
    ledger.assertExact(t)
    t.equal(service.app.hub.streams, 1, 'its place is free')
    t.equal(await service.metric('tidings_streams_ended_total', 'reason="slow"'), 1)
    silent.close()
  })

  t.test(`slow client over ${over}, wakes up after it was cut: resumes complete and has everything, once, in order`, async (t) => {
    const service = await startService(t, { isTls, env })
    const ledger = new Ledger(t)
    const client = service.client(t, { groups: ['g'] })
    await client.live()
    ledger.open(client, ['user:42', 'group:g'])
    client.pause()
    await publishUntilCut(service, ledger, 'group:g')
    for (const to of ['user:42', 'group:g', 'all']) await service.send(ledger, to)
    client.resume()
    t.equal((await client.ended(1)).ending, 'cut', 'in the middle of what was under way')
    t.equal((await client.live(2)).json.resume, 'complete')
    await ledger.settled()
    ledger.assertExact(t)
  })

  t.test(`slow client over ${over}, reads slowly but does read: is not cut`, async (t) => {
    const service = await startService(t, { isTls, env })
    const ledger = new Ledger(t)
    const client = service.client(t)
    await client.live()
    ledger.open(client, ['user:42'])
    for (let round = 0; round < 20; round++) {
      client.pause()
      await service.send(ledger, 'user:42', filling)
      client.resume()
      await ledger.settled()
    }
    ledger.assertExact(t)
    t.equal(client.connections.length, 1)
  })

  t.test(`slow client over ${over}, while it is sent its history: the node holds one page and not the whole, and ends it by its age`, async (t) => {
    const service = await startService(t, { isTls, env: { ...env, MAX_STREAM_SECONDS: '3' } })
    const { id: start } = await service.client(t, { sub: 'other' }).live()
    for (let i = 0; i < 400; i++) await service.publish('user:42', filling)
    const client = service.client(t, {}, { lastEventId: start!, read: false, reconnect: false })
    await service.logged(({ msg, userId }) => msg === 'stream end' && userId === '42')
    t.equal(service.app.hub.streamsOf('42'), 0)
    t.ok(await service.metric('tidings_replayed_total') < 400, 'not all of it was written for one who does not read')
    client.close()
  })
}

t.test('page, with history up to the limit, or with so many groups that sync is over it: is live at once, and not cut as slow at each attempt', async (t) => {
  const service = await startService(t, { env: { STREAM_BUFFER_BYTES: '70000', MAX_DATA_BYTES: '60000' } })
  const { id: start } = await service.client(t, { sub: 'other' }).live()
  const groups = Array.from({ length: 1000 }, (_, i) => `a group with a name that is as long as those of large companies are ${i}`)
  t.equal((await service.call('PUT', '/api/users/43/groups', { body: { groups } })).status, 200)
  for (const length of [40_000, 29_840]) await service.publish('user:42', 'x'.repeat(length))
  for (const sub of ['42', '43']) {
    const client = service.client(t, { sub }, { lastEventId: start! })
    await client.live()
    t.equal(client.connections.length, 1)
  }
  t.equal(await service.metric('tidings_streams_ended_total', 'reason="slow"'), 0)
})
