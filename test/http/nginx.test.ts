// nginx.conf on a real nginx, before real nodes: what stands in front of it, what it answers by itself, and what it keeps out.
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import net from 'node:net'
import t, { type Test } from 'tap'
import { connect } from '../fixtures/client.ts'
import { startNginx, startOtherNginx, type Nginx } from '../fixtures/nginx.ts'
import { startNode } from '../fixtures/node.ts'
import { spawnChild } from '../fixtures/process.ts'
import { createIssuer, MANAGE, PUBLISH } from '../fixtures/tokens.ts'
import { eventually, PATIENCE_MS } from '../fixtures/wait.ts'

const SUBSCRIBE = '/api/notifications/subscribe'
const issuer = createIssuer()
const node = await startNode(t, { env: { ...issuer.env, TRUST_PROXY: 'loopback', HEARTBEAT_SECONDS: '1', CONNECTS_PER_MINUTE: '0', CORS_ORIGINS: 'https://pages.example' } })
const nginx = await startNginx(t, { nodes: [node.port] })
const token = issuer.token({ sub: 'ann' })
const operator = issuer.token({ sub: 'shop', scope: `${PUBLISH} ${MANAGE}` })
const LATER = /^retry: \d+\nevent: ping\ndata: \{\}\n\n$/

/** Bytes as they are; everything that comes back until it fits, the other end closes, or for 20 s. */
async function exchange (port: number, text: string | Buffer, fits = /never/): Promise<string> {
  const pieces: Buffer[] = []
  const socket = net.connect(port, '127.0.0.1', () => { socket.write(text) })
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, PATIENCE_MS)
    socket.on('data', (piece) => {
      pieces.push(piece)
      if (!fits.test(Buffer.concat(pieces).toString())) return
      clearTimeout(timer)
      resolve()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      clearTimeout(timer)
      resolve()
    })
  })
  socket.destroy()
  return Buffer.concat(pieces).toString()
}

/** The port of a link that carries the client's bytes in pieces of a network's size, each for itself. */
async function sliced (t: Test, { to, bytes }: { to: number, bytes: number }): Promise<number> {
  const server = net.createServer((client) => {
    const target = net.connect(to, '127.0.0.1').setNoDelay(true)
    const carry = (data: Buffer): void => {
      target.write(data.subarray(0, bytes))
      if (data.length <= bytes || target.destroyed) client.resume()
      else setTimeout(() => { carry(data.subarray(bytes)) }, 2)
    }
    client.on('data', (data: Buffer) => {
      client.pause()
      carry(data)
    })
    target.on('data', (data) => { client.write(data) }).on('end', () => { client.end() })
    target.on('error', () => { client.resetAndDestroy() }).on('close', () => { client.destroy() })
    client.on('error', () => {}).on('close', () => { target.destroy() })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  return (server.address() as net.AddressInfo).port
}

/** A port whose accept queue is full, so that it drops who comes, as a machine that is gone does. */
async function startHole (t: Test): Promise<number> {
  const script = 'const s = require("net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => { console.log("at", s.address().port) })'
  const child = spawnChild(t, process.execPath, ['-e', script], { name: 'hole' })
  const port = Number((await child.waitForLine(/^at \d+$/)).slice(3))
  child.signal('SIGSTOP')
  const sockets = Array.from({ length: 8 }, () => net.connect(port, '127.0.0.1').on('error', () => {}))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    child.signal('SIGCONT')
  })
  await Promise.race(sockets.map(async (socket) => await once(socket, 'connect')))
  return port
}

async function publish (to: string, data: unknown): Promise<void> {
  const answer = await fetch(`${node.url}/api/notifications`, {
    method: 'POST', headers: { authorization: `Bearer ${operator}`, 'content-type': 'application/json' }, body: JSON.stringify({ to, data })
  })
  if (answer.status !== 202) throw new Error(await answer.text())
}

/** Loopback is a shared address, of which no limit is kept; here it is one like any other. */
const strangers = (conf: string): string => conf.replaceAll('127.0.0.0/8 1; ', '')

for (const more of ['', 'proxy_http_version 1.1;', 'proxy_http_version 1.1; gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any;']) {
  t.test(`nginx.conf, behind an ordinary nginx with "${more}": a stream begins, and brings what is published, at once`, async (t) => {
    const url = await startOtherNginx(t, `location / { proxy_pass ${nginx.url}; ${more} }`)
    const client = connect(t, { url, token, reconnect: false })
    await client.until(() => client.syncs[0], 'its sync')
    await publish('user:ann', 'hello')
    await client.until(() => client.events.find(({ json }) => json === 'hello'), 'the notification')
    t.equal(client.connection.headers['x-accel-buffering'], undefined, 'which that nginx keeps to itself')
  })
}

t.test('nginx.conf, asked by HTTP/1.0 without a Host, serves streams and the rest', async (t) => {
  const stream = await exchange(nginx.port, `GET ${SUBSCRIBE} HTTP/1.0\r\nAuthorization: Bearer ${token}\r\n\r\n`, /event: sync/)
  t.match(stream, /^HTTP\/1\.[01] 200 OK\r\n/)
  t.match(stream, 'event: sync')
  t.match(stream, /^X-Accel-Buffering: no\r$/mi, 'said to the next proxy, too')
  t.match(await exchange(nginx.port, 'GET /docs/json HTTP/1.0\r\n\r\n'), /^HTTP\/1\.[01] 200 OK\r\n/)
})

t.test('nginx.conf, behind a balancer that ends TLS: the scheme that it says is kept, so a page\'s own origin is known', async (t) => {
  const ask = async (headers: Record<string, string>) => await exchange(nginx.port, 'POST /api/notifications/tickets HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n' +
    `Cookie: tidings_token=${token}\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}Content-Length: 0\r\n\r\n`)
  t.match(await ask({ Origin: 'https://app.example', 'X-Forwarded-Proto': 'https' }), /^HTTP\/1\.1 201 /)
  t.match(await ask({ Origin: 'https://app.example' }), /^HTTP\/1\.1 403 /, 'no TLS was said')
  t.match(await ask({ Origin: 'https://app.example', 'X-Forwarded-Proto': 'wss' }), /^HTTP\/1\.1 403 /, 'nothing but https is believed')
  t.match(await ask({ Origin: 'http://app.example' }), /^HTTP\/1\.1 201 /)
  t.match(await ask({ Origin: 'https://elsewhere.example', 'X-Forwarded-Proto': 'https' }), /^HTTP\/1\.1 403 /)
})

t.test('nginx.conf, told the same by a stranger, does not believe it; by a balancer that is named, it does', async (t) => {
  const ask = async ({ port }: Nginx) => await exchange(port, 'POST /api/notifications/tickets HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.7\r\n' +
    `Cookie: tidings_token=${token}\r\nOrigin: https://app.example\r\nX-Forwarded-Proto: https\r\nContent-Length: 0\r\n\r\n`)
  t.match(await ask(await startNginx(t, { nodes: [node.port], edit: strangers })), /^HTTP\/1\.1 403 /)
  const named = { 'http-balancers.conf': 'set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; real_ip_recursive on;' }
  t.match(await ask(await startNginx(t, { nodes: [node.port], edit: strangers, snippets: named })), /^HTTP\/1\.1 201 /)
})

t.test('stream, with headers that are too large for nginx or for the node: told to come again, since cookies come and go', async (t) => {
  for (const bytes of [17_000, 70_000]) {
    const cookies = Array.from({ length: bytes / 1000 }, (_, i) => `Cookie: c${i}=${'x'.repeat(990)}\r\n`).join('')
    const stream = await exchange(nginx.port, `GET ${SUBSCRIBE} HTTP/1.1\r\nHost: x\r\nOrigin: https://pages.example\r\nConnection: close\r\n${cookies}\r\n`)
    t.match(stream, /^HTTP\/1\.1 200 OK\r\n/, `${bytes} bytes`)
    t.match(stream, /^Content-Type: text\/event-stream; charset=utf-8\r$/mi)
    t.match(stream, /^Access-Control-Allow-Origin: https:\/\/pages\.example\r$/mi)
    t.match(stream, /retry: \d+\nevent: ping\ndata: \{\}\n\n/)
    const other = await exchange(nginx.port, `GET /docs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${cookies}\r\n`)
    t.match(other, /^HTTP\/1\.1 431 [\s\S]*"code":"TIDINGS_HEADERS_TOO_LARGE"/, 'any other route says what it is')
  }
})

t.test('stream, with a URL or one header that is too large: told to come again; any other route says what it is', async (t) => {
  for (const bytes of [17_000, 40_000, 300_000]) {
    for (const [path, header] of [[`?x=${'x'.repeat(bytes)}`, ''], ['', `Cookie: a=${'x'.repeat(bytes)}\r\n`]]) {
      const what = `${bytes} bytes of ${header === '' ? 'URL' : 'cookie'}`
      const ask = async (route: string) => await exchange(nginx.port, `GET ${route}${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${header}\r\n`)
      t.match(await ask(SUBSCRIBE), /^HTTP\/1\.1 200 OK\r\n[\s\S]*retry: \d+\nevent: ping\ndata: \{\}\n\n/, what)
      t.match(await ask('/docs'), /^HTTP\/1\.1 431 [\s\S]*"code":"TIDINGS_HEADERS_TOO_LARGE"/, what)
    }
  }
})

t.test('stream, of a user whose id is the path of an answer of nginx: is served', async (t) => {
  for (const sub of ['-/later', '-/headers-too-large']) {
    const client = connect(t, { url: nginx.url, token: issuer.token({ sub }), path: `${SUBSCRIBE}/${encodeURIComponent(sub)}`, reconnect: false })
    t.equal((await client.live()).json.resume, 'fresh', sub)
  }
})

t.test('stream, with every node gone: a block that every client understands, and an end', async (t) => {
  const alone = await startNginx(t, { nodes: [1] })
  const answer = await fetch(`${alone.url}${SUBSCRIBE}`, { headers: { origin: 'https://app.example' } })
  t.equal(answer.status, 200)
  t.match(Object.fromEntries(answer.headers), { 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no', 'access-control-allow-origin': 'https://app.example' })
  t.match(await answer.text(), LATER)
})

t.test('bodies, of who has no token: answered before they have come, and kept nowhere', async (t) => {
  const piece = Buffer.alloc(200_000, 'a')
  const head = (line: string, length: number) => `${line} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`
  for (const [line, status] of [['POST /nothing', 413], ['POST /api/notifications/tickets', 413], [`GET ${SUBSCRIBE}`, 413], ['POST /api/notifications', 401], ['PUT /api/users/42/groups', 401]] as const) {
    const answer = await exchange(nginx.port, Buffer.concat([Buffer.from(head(line, 1_000_000)), piece]), /"message":".*"\}/)
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*\\r\\n\\r\\n(?:[0-9a-f]+\\r\\n)?\\{"statusCode":${status},"code":"TIDINGS_`), line)
  }
  // As many addresses and as much data as the node takes together, and white space to make a megabyte of it.
  const large = 'x'.repeat(7_000)
  const answer = await fetch(`${nginx.url}/api/notifications`, {
    method: 'POST', headers: { authorization: `Bearer ${operator}`, 'content-type': 'application/json' }, body: JSON.stringify({ to: Array.from({ length: 1000 }, (_, i) => `user:${'u'.repeat(100)}${i}`), data: large }) + ' '.repeat(900_000)
  })
  t.equal(answer.status, 202, 'a publish as large as one can be')
  const groups = await fetch(`${nginx.url}/api/users/${encodeURIComponent('a/b')}/groups`, {
    method: 'PUT', headers: { authorization: `Bearer ${operator}`, 'content-type': 'application/json' }, body: JSON.stringify({ groups: Array.from({ length: 1000 }, (_, i) => `${'g'.repeat(120)}${i}`) })
  })
  t.ok(groups.ok, 'as many groups as one can be in')
})

t.test('bodies, that are refused while they come: nobody makes nginx pass over the nodes', async (t) => {
  const body = Buffer.alloc(1_900_000, 'x')
  const requests = { 400: 'Host: a"b\r\n', 413: `Host: x\r\nAuthorization: Bearer ${operator}\r\n` }
  for (const [status, headers] of Object.entries(requests)) {
    const head = `POST /api/notifications HTTP/1.1\r\n${headers}Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`
    const answers = await Promise.all(Array.from({ length: 10 }, async () => await exchange(nginx.port, Buffer.concat([Buffer.from(head), body]), /"message":".*"\}/)))
    for (const answer of answers) t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `))
  }
  t.same(nginx.lines.filter((line) => /temporarily disabled|no live upstreams|reset by peer/.test(line)), [])
})

t.test('headers, too large and in pieces, as a network carries them: said so, and nobody makes nginx pass over the nodes', async (t) => {
  // On loopback they would reach the node in one piece.
  const links = await Promise.all([1, 2].map(async () => await sliced(t, { to: node.port, bytes: 1448 })))
  const front = await startNginx(t, { nodes: links, edit: (conf) => conf.replaceAll('if ($is_too_large) { return 494; }', '') })
  const large = (line: string, bytes: number) => `${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Large: ${'x'.repeat(bytes)}\r\nContent-Length: 0\r\n\r\n`
  for (const line of ['GET /docs/json', 'POST /api/notifications', 'PUT /api/users/42/groups']) {
    await exchange(front.port, large(line, 20_000), /"message":".*"\}/)
    t.equal((await fetch(`${front.url}/docs/json`)).status, 200, `after ${line}, whatever its answer`)
  }
  t.same(front.lines.filter((line) => /temporarily disabled/.test(line)), [])

  const whole = await startNginx(t, { nodes: links })
  for (const line of ['GET /docs/json', 'POST /api/notifications']) t.match(await exchange(whole.port, large(line, 20_000)), /^HTTP\/1\.1 431 [\s\S]*"code":"TIDINGS_HEADERS_TOO_LARGE"/)
  t.match(await exchange(whole.port, large(`GET ${SUBSCRIBE}`, 20_000)), /^HTTP\/1\.1 200 OK\r\n[\s\S]*retry: \d+\nevent: ping\ndata: \{\}\n\n/)
  t.match(await exchange(whole.port, large('GET /docs/json', 15_000)), /^HTTP\/1\.1 200 /, 'and what a node takes is passed on')
})

t.test('node, whose machine is gone: the others answer, and who came to it waits little more than a second', async (t) => {
  // A full accept queue drops who comes to it, as a machine that is gone does.
  const hole = await startHole(t)
  const front = await startNginx(t, { nodes: [node.port, hole] })
  const took = []
  for (let i = 0; i < 4; i++) {
    const startedAt = performance.now()
    t.equal((await fetch(`${front.url}/api/notifications/tickets`, { method: 'POST' })).status, 401)
    took.push(performance.now() - startedAt)
  }
  t.ok(took.some((ms) => ms > 1000), `it was asked: ${took.map(Math.round).join(', ')} ms`)
  t.ok(took.every((ms) => ms < 1900))
})

t.test('bodies and answers, held by clients that stand still: no file of nginx has a byte of them', { skip: process.platform !== 'linux' && 'reads /proc' }, async (t) => {
  const sockets = ['POST /api/notifications', 'POST /nothing', 'GET /docs/static/swagger-ui-bundle.js'].flatMap((line) => Array.from({ length: 10 }, () => {
    const socket = net.connect(nginx.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.pause()
    t.teardown(() => socket.destroy())
    socket.write(`${line} HTTP/1.1\r\nHost: x\r\nContent-Length: ${line.startsWith('POST') ? 15_000 : 0}\r\n\r\n${line.startsWith('POST') ? 'a'.repeat(14_000) : ''}`)
    return socket
  }))
  t.equal(sockets.length, 30)
  const files = () => readFileSync(`/proc/${nginx.pid}/task/${nginx.pid}/children`, 'utf8').trim().split(' ').flatMap((worker) => readdirSync(`/proc/${worker}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${worker}/fd/${fd}`)
    } catch {
      return ''
    }
  }))
  const idle = files().filter((file) => file.startsWith('socket:')).length
  await eventually(async () => files().filter((file) => file.startsWith('socket:')).length, (now) => now >= idle, { what: 'the connections to have come' })
  await new Promise((resolve) => { setTimeout(resolve, 500) })
  t.same(files().filter((file) => /client_body|nginx_proxy/.test(file)), [])
})

t.test('limits, of one public address: a stream too many is told to come again, any other request 429; shared addresses have none', async (t) => {
  const lower = (conf: string): string => conf.replace('limit_conn streams 5000;', 'limit_conn streams 3;').replace('zone=request_rate burst=1500 nodelay', 'zone=request_rate burst=3 nodelay')
    .replace('zone=request_rate:10m rate=300r/s', 'zone=request_rate:10m rate=1r/m')
  for (const [edit, isLimited] of [[(conf: string) => strangers(lower(conf)), true], [lower, false]] as const) {
    const { url } = await startNginx(t, { nodes: [node.port], edit })
    const clients = Array.from({ length: 3 }, (_, i) => connect(t, { url, token: issuer.token({ sub: `limit-${i}` }) }))
    for (const client of clients) await client.live()
    const fourth = await fetch(`${url}${SUBSCRIBE}`, { headers: { authorization: `Bearer ${token}` } })
    t.equal(fourth.status, 200)
    if (isLimited) t.match(await fourth.text(), LATER)
    else await fourth.body?.cancel()
    const statuses = []
    for (let i = 0; i < 6; i++) {
      const answer = await fetch(`${url}/docs/json`)
      statuses.push(answer.status)
      const body = await answer.json() as { code?: string }
      if (answer.status !== 200) t.match({ body, retry: answer.headers.get('retry-after') }, { body: { statusCode: 429, code: 'TIDINGS_TOO_MANY_REQUESTS' }, retry: '2' })
    }
    t.same(statuses, isLimited ? [200, 200, 200, 200, 429, 429] : [200, 200, 200, 200, 200, 200])
  }
})

t.test('limits, of IPv6: a network of 64 bits counts as one address, the next one as another', async (t) => {
  const { url } = await startNginx(t, {
    nodes: [node.port],
    edit: (conf) => conf.replace('limit_conn streams 5000;', 'limit_conn streams 1;'),
    snippets: { 'http-balancers.conf': 'set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; real_ip_recursive on;' }
  })
  const open = async (t: Test, address: string): Promise<string> => {
    const client = connect(t, { url, token: issuer.token({ sub: address }), headers: { 'x-forwarded-for': address }, reconnect: false })
    await client.until(() => client.events.find(({ event }) => event === 'sync' || event === 'ping'), 'an answer')
    return client.events[0]!.event
  }
  t.equal(await open(t, '2001:db8:0:1::1'), 'sync')
  t.equal(await open(t, '2001:db8:0:1:ffff::2'), 'ping', 'the same network')
  t.equal(await open(t, '2001:db8:0:2::1'), 'sync')
  t.equal(await open(t, '198.51.100.7'), 'sync')
  t.equal(await open(t, '198.51.100.7'), 'ping')
  t.equal(await open(t, '198.51.100.8'), 'sync')
  t.equal(await open(t, '::ffff:198.51.100.8'), 'ping', 'the same, as IPv6 writes it')
  t.equal(await open(t, '::ffff:198.51.100.9'), 'sync', 'and they are not one network')
  t.equal(await open(t, '64:ff9b::198.51.100.9'), 'ping', 'the same, translated (RFC 6052)')
  t.equal(await open(t, '64:ff9b::198.51.100.10'), 'sync')
  t.equal(await open(t, 'fd00::1'), 'sync')
  t.equal(await open(t, 'fd00::1'), 'sync', 'a private address is not limited')
})

t.test('nginx.conf, without TLS, says nothing of Strict-Transport-Security', async (t) => {
  for (const path of ['/docs/json', '/nothing', '/livez', SUBSCRIBE]) t.equal((await fetch(`${nginx.url}${path}`)).headers.get('strict-transport-security'), null, path)
})
