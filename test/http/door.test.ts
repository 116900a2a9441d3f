// A node behind a balancer of layer 4, or with nothing in front: whose address it sees, what it believes, how many it lets in.
import { once } from 'node:events'
import type { Server } from 'node:http'
import net from 'node:net'
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { binaryHeader, lineHeader, SIGNATURE, startBalancer } from '../fixtures/balancer.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { startService, type Service } from './service.ts'

const env = { TRUST_PROXY: 'loopback', PROXY_PROTOCOL: 'on' }
const SUBSCRIBE = '/api/notifications/subscribe'

/** Sends pieces, and resolves with what came back when the connection has ended. */
async function talk (service: Service, pieces: Array<Buffer | string>, { localAddress = '127.0.0.1' } = {}): Promise<string> {
  const socket = net.connect({ port: Number(new URL(service.url).port), host: '127.0.0.1', localAddress })
  let text = ''
  socket.setNoDelay(true).on('data', (piece) => { text += piece.toString() }).on('error', () => {})
  await once(socket, 'connect')
  for (const piece of pieces) {
    await new Promise((resolve) => { setImmediate(resolve) })
    socket.write(piece)
  }
  await once(socket, 'close')
  return text
}

const request = 'GET /livez HTTP/1.1\r\nHost: tidings\r\nConnection: close\r\n\r\n'

for (const isTls of [false, true]) {
  for (const [version, header] of [['1', lineHeader('203.0.113.7')], ['2', binaryHeader('203.0.113.7')]] as const) {
    t.test(`stream, behind a balancer with PROXY version ${version}${isTls ? ' and TLS in the node' : ''}, is the client's: in the log, and live`, async (t) => {
      const service = await startService(t, { isTls, env })
      const balancer = await startBalancer(t, { to: service.url, header })
      const client = connect(t, { url: balancer.url, token: service.token() })
      await client.live()
      t.match(await service.logged(({ msg }) => msg === 'stream open'), { ip: '203.0.113.7' })
      const answer = await fetch(`${balancer.url}/api/notifications`, {
        method: 'POST', headers: { authorization: `Bearer ${service.operator}`, 'content-type': 'application/json' }, body: JSON.stringify({ to: 'user:42', data: 1 })
      })
      t.equal(answer.status, 202)
      t.equal((await client.next(({ event }) => event === 'message')).json, 1)
    })
  }
}

t.test('PROXY header, byte by byte or in one piece with the request, is read the same', async (t) => {
  const service = await startService(t, { env })
  for (const header of [Buffer.from(lineHeader('203.0.113.7')), binaryHeader('203.0.113.7')]) {
    t.match(await talk(service, [...header].map((byte) => Buffer.from([byte])).concat(Buffer.from(request))), /^HTTP\/1.1 200 /)
    t.match(await talk(service, [Buffer.concat([header, Buffer.from(request)])]), /^HTTP\/1.1 200 /)
    t.match(await talk(service, [header.subarray(0, 14), Buffer.concat([header.subarray(14), Buffer.from(request.slice(0, 7))]), request.slice(7)]), /^HTTP\/1.1 200 /)
  }
  t.match(await talk(service, ['PROXY UNKNOWN\r\n', request]), /^HTTP\/1.1 200 /, 'a health check of the balancer')
})

t.test('PROXY header, missing or broken, from an address that must send one, ends the connection and is told once', async (t) => {
  const service = await startService(t, { env })
  for (const pieces of [[request], ['PROXY TCP4 203.0.113.7\r\n', request], [`PROXY ${'x'.repeat(200)}`], [Buffer.from('\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff', 'latin1')]]) {
    t.equal(await talk(service, pieces), '', 'not a word')
  }
  t.match(await service.logged(({ msg }) => msg?.startsWith('no PROXY header')), { level: 40, balancer: '127.0.0.1', reason: 'bad', count: 1 })
  t.equal(service.lines.filter((line) => line.includes('no PROXY header')).length, 1)
})

t.test('PROXY header, half of it and no more, is waited for five seconds', async (t) => {
  const service = await startService(t, { env })
  const startedAt = performance.now()
  t.equal(await talk(service, ['PROXY TCP4 203']), '')
  const tookMs = performance.now() - startedAt
  t.ok(tookMs > 4900, `${Math.round(tookMs)} ms`)
  t.match(await service.logged(({ msg }) => msg?.startsWith('no PROXY header')), { reason: 'late' })
})

t.test('handshake of TLS, that does not end, counts for its address until it is closed: after 20 seconds, whatever it sends', async (t) => {
  let server!: Server
  const service = await startService(t, {
    isTls: true,
    env: { ...env, CONNECTIONS_PER_ADDRESS: '1' },
    prepare: (app) => {
      server = app.server
      t.equal(server.headersTimeout, 20_000)
    }
  })
  const open = async (from: string, bytes = Buffer.alloc(0)): Promise<{ socket: net.Socket, closed: Promise<unknown> }> => {
    const socket = net.connect(Number(new URL(service.url).port), '127.0.0.1').on('error', () => {}).resume()
    const closed = once(socket, 'close')
    const came = once(server, 'connection') as Promise<[net.Socket]>
    socket.write(Buffer.concat([Buffer.from(lineHeader(from)), bytes]))
    // Its header is read, and it is let in or not.
    await once((await came)[0], 'pause')
    return { socket, closed }
  }
  const silent = await open('203.0.113.7')
  await (await open('203.0.113.7')).closed
  t.notOk(silent.socket.closed, 'a second one is refused, while the first is waited for')

  server.headersTimeout = 300
  const hello = Buffer.from('16030100f8010000f40303', 'hex')
  for (const [bytes, drips] of [[undefined, false], [hello.subarray(0, 1), false], [hello, false], [hello, true]] as const) {
    const startedAt = performance.now()
    const { socket, closed } = await open('203.0.113.8', bytes)
    const dripping = drips ? setInterval(() => { socket.write('x') }, 50) : undefined
    await closed
    clearInterval(dripping)
    // Refused, it would be closed at once: so the one before it has made room.
    t.ok(performance.now() - startedAt > 290)
  }
  const balancer = await startBalancer(t, { to: service.url, header: lineHeader('203.0.113.8') })
  const client = connect(t, { url: balancer.url, token: service.token(), retryCapMs: 50 })
  await client.live()
  const count = client.connections.length
  await (await open('203.0.113.9')).closed
  t.equal(client.connections.length, count, 'who has ended it is not closed')
  silent.socket.destroy()
})

t.test('PROXY header, from somebody who is no balancer, is no header but bad HTTP; without one the address counts as it is', async (t) => {
  const service = await startService(t, { env: { TRUST_PROXY: '127.0.0.9', PROXY_PROTOCOL: 'on' } })
  t.match(await talk(service, [lineHeader('203.0.113.7') + request]), /^HTTP\/1.1 400 /)
  t.match(await talk(service, [request]), /^HTTP\/1.1 200 /)
  t.match(await talk(service, [lineHeader('203.0.113.7') + request], { localAddress: '127.0.0.9' }), /^HTTP\/1.1 200 /)
  const off = await startService(t, { env: { TRUST_PROXY: 'loopback' } })
  t.match(await talk(off, [lineHeader('203.0.113.7') + request]), /^HTTP\/1.1 400 /, 'by default nobody sends one')
})

t.test('X-Forwarded-For, from a client for whom a balancer speaks, is not believed', async (t) => {
  const service = await startService(t, { env: { ...env, CONNECTS_PER_MINUTE_PER_ADDRESS: '1' } })
  const balancer = await startBalancer(t, { to: service.url, header: lineHeader('203.0.113.7') })
  for (let i = 0; i < 2; i++) {
    await fetch(`${balancer.url}${SUBSCRIBE}`, { headers: { authorization: `Bearer ${service.token()}`, 'x-forwarded-for': `198.51.100.${i}` } }).then(({ body }) => body?.cancel())
  }
  t.equal(service.lines.filter((line) => line.includes('"ip":"203.0.113.7"') && line.includes('stream open')).length, 1, 'and so counts as one address')
  t.equal(await metric(balancer.url, 'tidings_refused_total', 'TIDINGS_TOO_MANY_REQUESTS'), 1)
})

for (const isTls of [false, true]) {
  t.test(`X-Forwarded-*, on a connection whose client the balancer did not name${isTls ? ', with TLS in the node' : ''}, are not believed: it counts as the balancer's own`, async (t) => {
    const service = await startService(t, { isTls, env: { ...env, CONNECTS_PER_MINUTE_PER_ADDRESS: '1' } })
    const local = Buffer.concat([SIGNATURE, Buffer.from([0x20, 0, 0, 0])])
    const unspecified = Buffer.concat([SIGNATURE, Buffer.from([0x21, 0, 0, 0])])
    const headers = ['PROXY UNKNOWN\r\n', 'PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n', local, unspecified, binaryHeader('203.0.113.7', { command: 0x20 })]
    for (const [i, header] of headers.entries()) {
      const balancer = await startBalancer(t, { to: service.url, header })
      const answer = await fetch(`${balancer.url}${SUBSCRIBE}`, { headers: { authorization: `Bearer ${service.token({ sub: `${i}` })}`, 'x-forwarded-for': `198.51.100.${i}` } })
      await answer.body?.cancel()
      const { port } = new URL(balancer.url)
      const page = await fetch(`${balancer.url}/api/notifications`, {
        headers: { cookie: `tidings_token=${service.token()}`, origin: 'https://page.example', 'x-forwarded-host': 'page.example', 'x-forwarded-proto': 'https', host: `127.0.0.1:${port}` }
      })
      t.equal(page.status, 403, 'host and scheme are its own, too')
    }
    t.same(service.lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'stream open').map(({ ip }) => ip), ['127.0.0.1'])
    t.notMatch(service.lines.join('\n'), '198.51.100.')
  })
}

t.test('request, whose TLS ended at a balancer that says so, is https: the page of its own origin may use its cookie', async (t) => {
  const service = await startService(t, { env })
  const tlsField = Buffer.from([0x20, 0, 5, 1, 0, 0, 0, 0])
  const balancer = await startBalancer(t, { to: service.url })
  const status = async (header: Buffer): Promise<number> => {
    balancer.header = header
    const { port } = new URL(balancer.url)
    const { status } = await fetch(`${balancer.url}/api/notifications`, { headers: { cookie: `tidings_token=${service.token()}`, origin: `https://127.0.0.1:${port}`, connection: 'close' } })
    return status
  }
  t.equal(await status(binaryHeader('203.0.113.7', { fields: tlsField })), 200)
  t.equal(await status(binaryHeader('203.0.113.7')), 403, 'by http it would be another')
})

t.test('connections, past CONNECTIONS_PER_ADDRESS of one public address, are closed; a line that ends makes room; others come in', async (t) => {
  const service = await startService(t, { env: { ...env, CONNECTIONS_PER_ADDRESS: '2' } })
  const balancer = await startBalancer(t, { to: service.url, header: lineHeader('203.0.113.7') })
  const options = { url: balancer.url, retryCapMs: 50 }
  const first = connect(t, { ...options, token: service.token({ sub: '1' }) })
  await first.live()
  const second = connect(t, { ...options, token: service.token({ sub: '2' }) })
  await second.live()
  const third = connect(t, { ...options, token: service.token({ sub: '3' }) })
  await third.ended(1)
  t.match(third.connections[0], { status: undefined }, 'no status, which would end an EventSource for ever')
  const other = await startBalancer(t, { to: service.url, header: lineHeader('203.0.113.8') })
  await connect(t, { url: other.url, token: service.token({ sub: '4' }) }).live()
  first.close()
  await third.live(third.connections.length)
  t.pass('it came in by itself')
  const near = await startBalancer(t, { to: service.url, header: lineHeader('10.0.0.7') })
  for (let i = 0; i < 3; i++) await connect(t, { url: near.url, token: service.token({ sub: `near-${i}` }) }).live()
  const networks = await startBalancer(t, { to: service.url, header: lineHeader('2001:db8::1') })
  for (let i = 1; i <= 2; i++) {
    networks.header = lineHeader(`2001:db8::${i}`)
    await connect(t, { url: networks.url, token: service.token({ sub: `six-${i}` }) }).live()
  }
  networks.header = lineHeader('2001:db8::3')
  t.match(await connect(t, { url: networks.url, token: service.token({ sub: 'six-3' }), reconnect: false }).ended(1), { status: undefined }, 'a /64 is one')
})

t.test('resume, through a balancer that cuts every line, is complete: nothing lost, nothing double', async (t) => {
  const service = await startService(t, { isTls: true, env })
  const ledger = new Ledger(t)
  const balancer = await startBalancer(t, { to: service.url, header: binaryHeader('203.0.113.7') })
  const client = connect(t, { url: balancer.url, token: service.token(), retryCapMs: 20 })
  await client.live()
  ledger.open(client, ['user:42'])
  const publish = async (): Promise<void> => {
    const data = { mark: ledger.mark() }
    const answer = await fetch(`${balancer.url}/api/notifications`, {
      method: 'POST', headers: { authorization: `Bearer ${service.operator}`, 'content-type': 'application/json', connection: 'close' }, body: JSON.stringify({ to: 'user:42', data })
    })
    ledger.sent({ to: 'user:42', id: ((await answer.json()) as any).notifications[0].id, data })
  }
  for (let round = 1; round <= 3; round++) {
    await publish()
    balancer.cut()
    await client.ended(round)
    await publish()
    t.equal((await client.live(round + 1)).json.resume, 'complete')
  }
  await ledger.settled()
  ledger.assertExact(t)
})

async function metric (url: string, name: string, label: string): Promise<number> {
  const line = (await (await fetch(`${url}/metrics`)).text()).split('\n').find((line) => line.startsWith(`${name}{`) && line.includes(label))
  return Number(line?.split(' ').at(-1))
}
