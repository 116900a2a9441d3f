// A node that is its own front, as a process: a port for operations, several nodes on one port, and what one address may ask.
import http from 'node:http'
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { lineHeader, startBalancer } from '../fixtures/balancer.ts'
import { dial } from '../fixtures/dial.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { startNode, systemEnvironment } from '../fixtures/node.ts'
import { freePort, spawnChild } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { assertError, startService } from './service.ts'

const issuer = createIssuer()

interface Answer { status: number | undefined, headers: http.IncomingHttpHeaders, text: string }

/** On a connection of its own; again where it was reset before it was accepted, as every client does when a port loses one of its listeners. */
async function ask (url: string, { method = 'GET', headers = {}, body }: { method?: string, headers?: Record<string, string>, body?: unknown } = {}): Promise<Answer> {
  return await new Promise<Answer>((resolve, reject) => {
    http.request(url, { method, headers: { 'content-type': 'application/json', ...headers }, agent: false }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (piece: string) => { text += piece }).on('end', () => { resolve({ status: answer.statusCode, headers: answer.headers, text }) })
    }).on('error', reject).end(body === undefined ? undefined : JSON.stringify(body))
  }).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ECONNRESET') throw error
    return await ask(url, { method, headers, body })
  })
}

t.test('OPS_PORT: what probes and Prometheus ask is there alone, and nothing else is; also while the node drains', async (t) => {
  const opsPort = await freePort()
  const node = await startNode(t, { env: { ...issuer.env, OPS_PORT: String(opsPort), DRAIN_SECONDS: '3' } })
  const ops = `http://127.0.0.1:${opsPort}`
  t.equal((await fetch(`${node.url}/nothing`)).headers.get('server'), null, 'and which server it is, is nobody\'s business')
  for (const path of ['/livez', '/readyz', '/metrics', '/metrics/']) {
    t.equal((await fetch(`${node.url}${path}`)).status, 404, `${path} from outside`)
  }
  for (const path of ['/livez', '/readyz', '/metrics']) t.equal((await fetch(`${ops}${path}`)).status, 200, path)
  for (const path of ['/', '/docs/json', '/client.js', '/api/notifications/subscribe', '/api/notifications/position']) {
    t.equal((await fetch(`${ops}${path}`, { headers: { authorization: `Bearer ${issuer.token()}` } })).status, 404, `${path} from inside`)
  }
  // Their ends are spread over the drain.
  for (let i = 0; i < 10; i++) await connect(t, { url: node.url, token: issuer.token({ sub: `${i}` }), reconnect: false }).live()
  const stopped = node.stop()
  await node.waitForLine(/"msg":"closing"/)
  t.match(await (await fetch(`${ops}/readyz`)).json(), { status: 'draining' })
  t.match(await stopped, { code: 0 })
})

t.test('head of a request, that does not end: 20 seconds, then the line is closed', async (t) => {
  const service = await startService(t, {
    prepare: ({ server }) => {
      t.equal(server.headersTimeout, 20_000)
      server.headersTimeout = 100
      Object.assign(server, { connectionsCheckingInterval: 50 })
    }
  })
  for (const text of ['', 'GET /livez HTTP/1.1\r\nHost: a\r\nX: ']) {
    const line = dial(t, service.url)
    line.socket.write(text)
    await line.over()
    t.equal(line.text, '', 'without a status, which would end an EventSource for ever')
  }
})

t.test('OPS_PORT: what is refused outside has the headers of every answer, and is no credit for more requests at once', async (t) => {
  const node = await startNode(t, { env: { ...issuer.env, OPS_PORT: String(await freePort()) } })
  const refused = await fetch(`${node.url}/metrics`)
  t.match([refused.status, refused.headers.get('tidings-node'), refused.headers.get('x-content-type-options')], [404, String, 'nosniff'])
  const line = dial(t, node.url)
  let asked = 0
  for (const [path, count] of [['/nothing', 1], ['/metrics', 10], ['/metrics', 10], ['/metrics', 10]] as const) {
    line.socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(count))
    asked += count
    await line.hasTimes(asked, 'HTTP/1.1 404')
  }
  line.socket.write('GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(40))
  await line.over()
  t.ok(line.text.split('HTTP/1.1 404').length - 1 < 71)
})

t.test('OPS_PORT: what is no request for a route is refused in the shape of all errors, too', async (t) => {
  const opsPort = await freePort()
  await startNode(t, { env: { ...issuer.env, OPS_PORT: String(opsPort) } })
  for (const [what, request, status, code] of [
    ['bytes that are not HTTP', 'nonsense\r\n\r\n', 400, 'TIDINGS_BAD_REQUEST'],
    ['headers too large', `GET /livez HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'TIDINGS_HEADERS_TOO_LARGE'],
    ['no Host', 'GET /livez HTTP/1.1\r\n\r\n', 400, 'TIDINGS_BAD_REQUEST'],
    ['an unknown method', 'FETCH /livez HTTP/1.1\r\nHost: a\r\n\r\n', 405, 'TIDINGS_METHOD_NOT_ALLOWED'],
    ['an unknown Expect', 'GET /livez HTTP/1.1\r\nHost: a\r\nExpect: nothing\r\nConnection: close\r\n\r\n', 200, '']
  ] as const) {
    const line = dial(t, `http://127.0.0.1:${opsPort}`)
    line.socket.write(request)
    await line.over()
    const [head = '', body = ''] = line.text.split('\r\n\r\n')
    t.match([head, JSON.parse(body || '{}').code ?? ''], [new RegExp(`^HTTP/1.1 ${status} [^]*nosniff`), code], what)
  }
})

t.test('OPS_PORT, taken by somebody else: the node does not start, and says which', async (t) => {
  const taken = http.createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => { taken.once('listening', resolve) })
  t.teardown(() => { taken.close() })
  const { port } = taken.address() as { port: number }
  const child = spawnChild(t, process.execPath, ['src/server.ts'], { name: 'node', env: { ...systemEnvironment(), ...issuer.env, PORT: '0', OPS_PORT: String(port) } })
  await child.waitForLine(new RegExp(`cannot listen on 127.0.0.1:${port}; is the port taken`))
  t.match(await child.exited, { code: 1 })
})

t.test('REUSE_PORT: nodes of one host on one port; one that drains gets nobody new, one that is killed loses nobody', async (t) => {
  const redis = await startRedis(t)
  const port = await freePort()
  const opsPorts = [await freePort(), await freePort()]
  const [first, second] = await Promise.all(opsPorts.map(async (opsPort) =>
    await startNode(t, { port, env: { ...issuer.env, ...redis.env, REUSE_PORT: 'on', OPS_PORT: String(opsPort), DRAIN_SECONDS: '1', RETRY_MS: '20' } })))
  const url = first!.url
  const ledger = new Ledger(t)
  const clients = await Promise.all(Array.from({ length: 40 }, async (_, i) => {
    const client = connect(t, { url, token: issuer.token({ sub: `${i}`, groups: ['g'] }), retryCapMs: 50 })
    await client.live()
    ledger.open(client, ['group:g'])
    return client
  }))
  const operator = issuer.token({ sub: 'operator', scope: PUBLISH })
  const publish = async (): Promise<void> => {
    const data = { mark: ledger.mark() }
    const { text } = await ask(`${url}/api/notifications`, { method: 'POST', headers: { authorization: `Bearer ${operator}`, 'idempotency-key': data.mark }, body: { to: 'group:g', data } })
    ledger.sent({ to: 'group:g', id: JSON.parse(text).notifications[0].id, data })
  }
  const streams = async (opsPort: number): Promise<number> => {
    const line = (await ask(`http://127.0.0.1:${opsPort}/metrics`)).text.split('\n').find((line) => line.startsWith('tidings_streams{'))
    return Number(line?.split(' ').at(-1))
  }
  const counts = await Promise.all(opsPorts.map(streams))
  t.ok(counts.every((count) => count > 0), `both have some: ${counts.join(' and ')}`)
  await publish()

  const stopped = first!.stop()
  await first!.waitForLine(/"msg":"closing"/)
  // The kernel asks nobody whether it is ready.
  for (let i = 0; i < 20; i++) t.equal((await ask(`${url}/docs/json`)).headers['tidings-node'], second!.name)
  t.match(await stopped, { code: 0 })
  await publish()
  await ledger.settled()
  t.equal(await streams(opsPorts[1]!), 40, 'all are on the other')

  const third = await startNode(t, { port, env: { ...issuer.env, ...redis.env, REUSE_PORT: 'on', OPS_PORT: String(opsPorts[0]), RETRY_MS: '20' } })
  const attempts = clients.map((client) => client.connections.length)
  await second!.kill()
  await Promise.all(clients.map(async (client, i) => await client.ended(attempts[i]!)))
  await publish()
  await ledger.settled()
  t.ok(clients.every(({ syncs }) => syncs.at(-1)!.json.resume === 'complete'))
  t.equal(await streams(opsPorts[0]!), 40)
  ledger.assertExact(t)
  t.ok(third.pid)
})

t.test('requests, past REQUESTS_PER_MINUTE_PER_ADDRESS of one public address: 429 that a page may read; a stream is told to come back; others are served', async (t) => {
  // A burst of 5 s is 2 requests, one of 16.7 s is 6 streams.
  const service = await startService(t, { env: { TRUST_PROXY: 'loopback', PROXY_PROTOCOL: 'on', REQUESTS_PER_MINUTE_PER_ADDRESS: '24', CORS_ORIGINS: 'https://app.example' } })
  const balancer = await startBalancer(t, { to: service.url, header: lineHeader('203.0.113.7') })
  const look = async (path: string) => {
    const answer = await fetch(`${balancer.url}${path}`, { headers: { authorization: `Bearer ${service.token()}`, connection: 'close', origin: 'https://app.example' } })
    const text = path.includes('subscribe') ? (await answer.body!.getReader().read().then(({ value }) => Buffer.from(value!).toString())) : await answer.text()
    return { status: answer.status, headers: answer.headers, text, body: text.startsWith('{') ? JSON.parse(text) : undefined }
  }
  for (let i = 0; i < 2; i++) t.equal((await look('/api/notifications/position')).status, 200)
  const refused = await look('/api/notifications/position')
  assertError(t, refused, 'TIDINGS_TOO_MANY_REQUESTS')
  t.equal(refused.headers.get('access-control-allow-origin'), 'https://app.example')
  for (let i = 0; i < 6; i++) t.match((await look('/api/notifications/subscribe')).text, 'event: sync')
  const late = await look('/api/notifications/subscribe')
  t.match(late, { status: 200, text: /^retry: \d+\nevent: ping\ndata: \{\}\n\n$/ })
  t.match(await look('/api/notifications/%73ubscribe'), { status: 200, text: /^retry: \d+\nevent: ping/ }, 'however its path is spelt')
  t.equal(late.headers.get('access-control-allow-origin'), 'https://app.example')
  for (const near of ['203.0.113.8', '10.0.0.1']) {
    balancer.header = lineHeader(near)
    t.equal((await look('/api/notifications/position')).status, 200, near)
  }
  for (let i = 0; i < 5; i++) t.equal((await look('/api/notifications/position')).status, 200, 'a private address may stand for everybody')
})
