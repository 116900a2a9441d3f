// Request bodies: none is read before it is known who sends it, none for longer than a minute, and none where a route has none.
import { once } from 'node:events'
import net from 'node:net'
import t from 'tap'
import { MANAGE, PUBLISH } from '../fixtures/tokens.ts'
import { Signal, type Scope } from '../fixtures/wait.ts'
import { assertError, startService, type Service } from './service.ts'

const SUBSCRIBE = '/api/notifications/subscribe'

/** Sends bytes on a socket; what has come back by the time that it fits, or that the node has closed. */
async function say (t: Scope, service: Service, bytes: string, until: RegExp): Promise<{ text: string, isClosed: () => boolean, closed: () => Promise<unknown> }> {
  const changed = new Signal()
  let text = ''
  let isClosed = false
  const socket = net.connect(Number(new URL(service.url).port), '127.0.0.1', () => { socket.write(bytes) })
  socket.setEncoding('latin1').on('data', (piece: string) => {
    text += piece
    changed.notify()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    isClosed = true
    changed.notify()
  })
  t.teardown(() => socket.destroy())
  const closed = async () => await changed.until(() => isClosed || undefined, { what: 'the end of the connection', describe: () => text })
  await changed.until(() => until.test(text) || isClosed || undefined, { what: String(until), describe: () => text })
  return { text, isClosed: () => isClosed, closed }
}

const request = (method: string, path: string, token: string | null, more: string) =>
  `${method} ${path} HTTP/1.1\r\nHost: tidings\r\n${token === null ? '' : `Authorization: Bearer ${token}\r\n`}Content-Type: application/json\r\n${more}\r\n`

t.test('body, announced and never sent, by who may not or for nothing: refused at once, on every route', async (t) => {
  const service = await startService(t)
  await service.app.ready()
  const routes = Object.entries(service.app.swagger().paths ?? {}).flatMap(([path, methods]) => Object.keys(methods as object)
    .filter((method) => ['post', 'put', 'delete'].includes(method)).map((method) => [method.toUpperCase(), path.replaceAll(/\{\w+\}/g, '42')] as const))
  t.ok(routes.length > 5)
  for (const [method, path] of routes) {
    for (const length of ['Content-Length: 1000000\r\n', 'Transfer-Encoding: chunked\r\n']) {
      t.match((await say(t, service, request(method, path, null, length), /\r\n\r\n/)).text, /^HTTP\/1\.1 401 /, `${method} ${path}, without a token`)
    }
    if (path === '/api/notifications/tickets' || /^\/api\/notifications\/(seen|read|\d+.*)$/.test(path)) continue
    t.match((await say(t, service, request(method, path, service.token(), 'Content-Length: 1000000\r\n'), /\r\n\r\n/)).text, /^HTTP\/1\.1 403 /, `${method} ${path}, without the scope`)
  }
  for (const path of ['/nothing', '/api/users/x', '/']) {
    t.match((await say(t, service, request('POST', path, service.operator, 'Content-Length: 1000000\r\n'), /\r\n\r\n/)).text, /^HTTP\/1\.1 404 /, path)
  }
})

t.test('body, that is still on its way when its request is refused for good: the rest is taken, and no reset destroys the answer', async (t) => {
  const service = await startService(t)
  const rest = Buffer.alloc(8_000_000, 'x')
  const bodies = {
    'no token, and the client closes': [request('POST', '/api/notifications', null, `Connection: close\r\nContent-Length: ${rest.length}\r\n`), 401],
    'two hosts': [request('POST', '/api/notifications', null, `Host: b\r\nContent-Length: ${rest.length}\r\n`), 400],
    'too large': [request('POST', '/api/notifications', service.operator, `Content-Length: ${rest.length}\r\n`), 413],
    'headers too large': [`GET /client.js HTTP/1.1\r\nHost: tidings\r\nA: ${'a'.repeat(20_000)}`, 431]
  } as const
  for (const [name, [head, status]] of Object.entries(bodies)) {
    const errors: string[] = []
    const socket = net.connect({ port: Number(new URL(service.url).port), host: '127.0.0.1', allowHalfOpen: true }).setEncoding('latin1')
    t.teardown(() => socket.destroy())
    socket.on('error', ({ message }) => { errors.push(message) })
    let text = ''
    socket.on('data', (piece: string) => { text += piece })
    socket.write(head)
    await once(socket, 'end')
    t.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), name)
    // The node has closed its side. A reset would be an error here.
    socket.end(rest)
    await once(socket, 'close')
    t.same(errors, [], name)
    t.equal(socket.bytesWritten, head.length + rest.length, name)
  }
})

t.test('body, that does not end: the connection is closed after requestTimeout; a stream is not', async (t) => {
  const service = await startService(t, {
    prepare: ({ server }) => {
      t.equal(server.requestTimeout, 60_000)
      server.requestTimeout = 300
      server.headersTimeout = 200
      Object.assign(server, { connectionsCheckingInterval: 100 })
    }
  })
  const stream = service.client(t)
  await stream.live()
  const begin = performance.now()
  for (const [path, token] of [['/api/notifications', service.operator], ['/api/users/42/groups', service.operator]] as const) {
    const line = await say(t, service, request(path.endsWith('groups') ? 'PUT' : 'POST', path, token, 'Content-Length: 1000\r\n') + '{"', /never/)
    t.equal(line.isClosed(), true, path)
  }
  await (await say(t, service, 'GET /livez HTTP/1.1\r\nHost: a\r\nX: ', /never/)).closed()
  t.ok(performance.now() - begin > 200)
  await service.publish('user:42', 'still here')
  t.equal((await stream.next()).json, 'still here')
  t.equal(stream.connections.length, 1, 'on the same connection')
})

t.test('body, on a route that has none: whatever is sent or said of one decides nothing', async (t) => {
  const service = await startService(t)
  const operator = service.token({ sub: 'op', scope: `${PUBLISH} ${MANAGE}` })
  const routes: Array<[method: string, path: string, status: number]> = [
    ['PUT', '/api/users/42/groups/g', 200], ['DELETE', '/api/users/42/groups/g', 200], ['GET', '/api/users/42/groups', 200],
    ['GET', '/api/users/42/presence', 200], ['POST', '/api/notifications/tickets', 201], ['DELETE', '/api/users/42/streams', 204], ['GET', '/livez', 200]
  ]
  const types = ['application/json', 'application/json; charset=utf-8', 'text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', 'application/xml', 'x', '; charset=utf-8', 'text/', '*/*']
  for (const [method, path, status] of routes) {
    for (const type of types) {
      for (const body of method === 'GET' ? [undefined] : [undefined, '', '{', '{"a":1}', '<xml/>', 'x'.repeat(100_000)]) {
        const answer = await service.call(method, path, { token: operator, headers: { 'content-type': type }, ...(body !== undefined && { body }) })
        t.equal(answer.status, status, `${method} ${path}, ${type}, ${body === undefined ? 'no body' : `${body.length} bytes`}`)
      }
    }
  }
})

t.test('Content-Type without a body, on a stream, is served', async (t) => {
  const service = await startService(t)
  for (const type of ['application/json', 'text/plain', 'x', '']) {
    const client = service.client(t, {}, { headers: { 'Content-Type': type, 'Content-Length': '0' }, reconnect: false })
    t.ok(await client.live(), type)
    client.close()
  }
})

t.test('logout, with Content-Type and no body, ends the streams', async (t) => {
  const service = await startService(t)
  const client = service.client(t, { sub: 'ann' })
  await client.live()
  t.equal((await service.call('DELETE', '/api/users/ann/streams', { headers: { 'content-type': 'application/json' } })).status, 204)
  t.equal((await client.closed()).status, 204)
})

t.test('query, of a stream, that is odd: decides nothing that could pass', async (t) => {
  const service = await startService(t)
  for (const query of ['lastEventId=1&lastEventId=2', 'lastEventId=', 'lastEventId[]=1', 'x=%zz', 'a=1&a=2', 'lastEventId=%00', '__proto__=1', '?', '&&==']) {
    const client = service.client(t, { sub: 'odd' }, { path: `${SUBSCRIBE}?${query}`, reconnect: false })
    t.equal((await client.opened()).status, 200, query)
    client.close()
  }
  assertError(t, await service.call('GET', `${SUBSCRIBE}?ticket=&ticket=x`, { token: null }), 'TIDINGS_BAD_TICKET', 'two tickets, none of them good')
})

t.test('Expect, of something that nobody knows, decides nothing, on a stream as elsewhere', async (t) => {
  const service = await startService(t)
  const { head } = await service.raw({ path: '/livez', headers: { Expect: 'the unexpected', Connection: 'close' } })
  t.match(head, { status: 200, headers: { 'x-content-type-options': 'nosniff' } })
  const client = service.client(t, {}, { headers: { Expect: 'the unexpected' } })
  t.ok(await client.live())
})

t.test('body, that is compressed or no UTF-8, on every route that has one: refused, not changed', async (t) => {
  const service = await startService(t)
  const operator = service.token({ sub: 'op', scope: `${PUBLISH} ${MANAGE}` })
  const bytes = (before: string, after: string) => Buffer.concat([Buffer.from(before), Buffer.from([0xFF, 0xC3]), Buffer.from(after)])
  const bodies: Array<[method: string, path: string, body: Buffer]> = [
    ['POST', '/api/notifications', bytes('{"to":"user:42","data":"', '"}')], ['POST', '/api/notifications', bytes('{"to":"user:', '","data":1}')],
    ['PUT', '/api/users/42/groups', bytes('{"groups":["', '"]}')], ['POST', '/api/notifications/retract', bytes('{"to":"user:42","key":"', '"}')]
  ]
  for (const [method, path, body] of bodies) {
    const type = { 'content-type': 'application/json' }
    assertError(t, await service.call(method, path, { token: operator, body, headers: type }), 'TIDINGS_BAD_JSON', `${method} ${path}`)
    const packed = { ...type, 'content-encoding': 'gzip' }
    assertError(t, await service.call(method, path, { token: operator, body, headers: packed }), 'TIDINGS_UNSUPPORTED_MEDIA_TYPE', `${method} ${path}, compressed`)
  }
  t.equal((await service.publish('user:42', 'h\u00e9 \u{1F600}')).status, 202)
})
