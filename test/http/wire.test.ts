// Below HTTP's usual manners: HTTP/1.0, pipelining, HEAD, requests that are cut off or reset at every step, and that nothing stays behind.
import t from 'tap'
import { dial } from '../fixtures/dial.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { assertError, startService } from './service.ts'

const SUBSCRIBE = '/api/notifications/subscribe'

const get = (path: string, token: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: tidings\r\nAuthorization: Bearer ${token}\r\n${more}\r\n`

t.test('HTTP/1.0, stream: no chunked coding, bare frames, and the line is closed at the end', async (t) => {
  const service = await startService(t)
  const ledger = new Ledger(t)
  for (const headers of [{}, { Connection: 'keep-alive' }, { Connection: 'close' }] satisfies Record<string, string>[]) {
    const old = service.client(t, {}, { httpVersion: '1.0', headers, reconnect: false })
    await old.live()
    t.equal(old.connection.headers['transfer-encoding'], undefined)
    t.notMatch(old.connection.headers.connection, 'keep-alive', 'nobody is told to wait for more after a body without a length')
    const young = service.client(t)
    await young.live()
    for (const client of [old, young]) ledger.open(client, ['user:42'])
    await service.send(ledger, 'user:42', '\u2028 ü 😀')
    await ledger.settled()
    t.equal(old.events.map(({ raw }) => raw).slice(-1)[0], young.events.map(({ raw }) => raw).slice(-1)[0], 'the same text for both')
    t.equal(old.connection.body.match(/^[0-9a-f]+\r$/m), null, 'no chunk header in the body')
    young.close()
    old.close()
    await service.logged(({ msg }) => msg === 'stream end')
    for (const client of [old, young]) ledger.leave([client], 'user:42')
  }
  ledger.assertExact(t)
  const last = service.client(t, { sub: 'last' }, { httpVersion: '1.0', reconnect: false })
  await last.live()
  await service.app.hub.drain(0)
  t.match(await last.closed(), { ending: 'end', retries: [Number, Number] })
})

t.test('pipelining, short requests on one connection: answered in order', async (t) => {
  const service = await startService(t)
  const line = dial(t, service.url)
  const groups = get('/api/users/42/groups', service.operator)
  line.socket.write(get('/livez', 'x') + groups + get('/nowhere', 'x') + get('/readyz', 'x', 'Connection: close\r\n'))
  await line.over()
  t.same(line.text.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 404', 'HTTP/1.1 200'])
  t.match(line.text, /"status":"ok"[^]*"groups":\[\][^]*TIDINGS_NOT_FOUND[^]*"status":"ready"/)
})

t.test('pipelining, a publish behind a stream: taken, and the stream stays well-formed', async (t) => {
  const service = await startService(t)
  const line = dial(t, service.url)
  const body = JSON.stringify({ to: 'user:42', data: 'from the same line' })
  const post = `POST /api/notifications HTTP/1.1\r\nHost: tidings\r\nAuthorization: Bearer ${service.operator}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  line.socket.write(get(SUBSCRIBE, service.token()))
  await line.has('event: sync')
  line.socket.write(post)
  await line.has('"from the same line"')
  await service.publish('user:42', 'the last')
  await line.has('"the last"')
  t.equal(line.text.match(/HTTP\/1\.1/g)?.length, 1, 'one answer as long as the stream lasts')
  await service.app.hub.drain(0)
  await line.has('HTTP/1.1 202')
  const [head, stream = '', answer] = line.text.split(/\r\n\r\n(?=[0-9a-f]+\r\nretry)|0\r\n\r\n(?=HTTP)/)
  t.match(head, /^HTTP\/1\.1 200/)
  t.match(stream, /retry: \d+\nevent: ping\ndata: {}\n\n\r\n$/)
  t.match(answer, /^HTTP\/1\.1 202/)
})

t.test('pipelining, two subscribes on one line: nothing is mixed, and nothing stays behind', async (t) => {
  const service = await startService(t)
  const line = dial(t, service.url, { localAddress: '127.0.0.5' })
  line.socket.write(get(SUBSCRIBE, service.token({ sub: '1' })) + get(SUBSCRIBE, service.token({ sub: '2' })))
  await line.has('event: sync')
  await service.publish('user:2', 'for the second')
  await service.publish('user:1', 'for the first')
  await line.has('for the first')
  t.notMatch(line.text, 'for the second')
  line.socket.resetAndDestroy()
  await service.gone('127.0.0.5', 1)
  t.same([service.app.hub.streams, service.app.hub.users], [0, 0])
})

t.test('pipelining, a subscribe behind another request: a stream, or a hint to come back; never a line that hangs', async (t) => {
  const service = await startService(t)
  for (const path of ['/livez', '/api/users/42/groups', '/nowhere']) {
    const line = dial(t, service.url, { localAddress: '127.0.0.6' })
    line.socket.write(get(path, service.operator) + get(SUBSCRIBE, service.token()))
    await line.hasOrEnds('retry: ')
    t.equal(line.text.match(/HTTP\/1\.1 \d+/g)?.[1], 'HTTP/1.1 200', `behind ${path}`)
    line.socket.destroy()
  }
  await service.gone('127.0.0.6', 3)
  t.equal(service.app.hub.streams, 0)
})

t.test('pipelining, close() with a subscribe behind a stream: resolves', async (t) => {
  const service = await startService(t)
  const line = dial(t, service.url)
  line.socket.write(get(SUBSCRIBE, service.token()) + get(SUBSCRIBE, service.token({ sub: '43' })))
  await line.has('event: sync')
  await service.app.hub.drain(0)
  await service.app.close()
  await line.over()
  t.match(line.text, /retry: \d+\nevent: ping\ndata: {}\n\n\r\n0\r\n\r\n/)
})

t.test('HEAD: a head and no body, on the stream no stream', async (t) => {
  const service = await startService(t)
  for (const path of ['/livez', '/readyz', '/metrics', '/docs']) {
    const { status, text } = await service.call('HEAD', path, { token: null })
    t.same([status, text], [200, ''], path)
  }
  const line = dial(t, service.url)
  line.socket.write(get(SUBSCRIBE, service.token(), 'Connection: close\r\n').replace('GET', 'HEAD'))
  await line.over()
  t.match(line.text, /^HTTP\/1\.1 \d{3} [^]*\r\n\r\n$/, 'answered, without a body')
  t.equal(service.app.hub.streams, 0)
  t.equal(await service.metric('tidings_streams_opened_total'), 0)
})

t.test('reset, at every step of a connect: tables clean, no error in the log, others served', async (t) => {
  const service = await startService(t)
  const ledger = new Ledger(t)
  const witness = service.client(t, { groups: ['g'] })
  await witness.live()
  ledger.open(witness, ['user:42', 'group:g'])
  const request = get(SUBSCRIBE, service.token({ groups: ['g', 'only-theirs'] }), 'Last-Event-ID: 1\r\n')
  const steps: Array<[name: string, sent: string, until?: RegExp]> = [
    ['nothing sent', ''],
    ['in the request line', request.slice(0, 10)],
    ['in the token', request.slice(0, 120)],
    ['before the empty line', request.slice(0, -2)],
    ['as soon as it is sent', request],
    ['at the head', request, /^HTTP\/1\.1 200/],
    ['at the hint', request, /retry: \d+/],
    ['at the sync', request, /event: sync/]
  ]
  for (const [step, sent, until] of steps) {
    for (const way of ['resetAndDestroy', 'destroy', 'end'] as const) {
      const line = dial(t, service.url, { localAddress: '127.0.0.7' })
      await new Promise((resolve) => { line.socket.once('connect', resolve) })
      if (sent !== '') await new Promise((resolve) => { line.socket.write(sent, resolve) })
      if (until !== undefined) await line.has(until)
      line.socket[way]()
      await service.send(ledger, 'group:g', `${step}: ${way}`)
    }
  }
  await service.gone('127.0.0.7', steps.length * 3)
  await service.send(ledger, 'group:g')
  await ledger.settled()
  ledger.assertExact(t)
  t.same([service.app.hub.streams, service.app.hub.users], [1, 1])
  t.equal(await service.metric('tidings_streams_opened_total') - await service.metric('tidings_streams_ended_total', 'reason="client"'), 1)
  t.same(service.lines.filter((line) => /"level":[456]0/.test(line)), [], 'nothing worth a warning')
})

t.test('reset, while the broker is asked: whatever it answers then, tables clean', async (t) => {
  for (const step of ['subscribe', 'resume'] as const) {
    for (const outcome of ['answer', 'fail'] as const) {
      const asked = Promise.withResolvers<void>()
      const answered = Promise.withResolvers<void>()
      const service = await startService(t, {
        alter: (broker) => {
          const real = broker[step].bind(broker) as (...args: any[]) => Promise<any>
          broker[step] = async (...args: any[]) => {
            asked.resolve()
            await answered.promise
            if (outcome === 'fail') throw new Error('broken for the test')
            return await real(...args)
          }
        }
      })
      const line = dial(t, service.url, { localAddress: '127.0.0.8' })
      line.socket.write(get(SUBSCRIBE, service.token({ groups: ['g'] })))
      await asked.promise
      line.socket.resetAndDestroy()
      await service.gone('127.0.0.8', 1)
      answered.resolve()
      t.same([service.app.hub.streams, service.app.hub.users], [0, 0], `${step}, then ${outcome}`)
      await service.publish(['user:42', 'group:g', 'all'], 'nobody is there')
      t.equal(await service.metric('tidings_delivered_total'), 0)
    }
  }
})

t.test('body, cut off half-way: nothing is published, and the next request is served', async (t) => {
  const service = await startService(t)
  const body = JSON.stringify({ to: 'user:42', data: 'whole' })
  const head = (length: number, more = '') => `POST /api/notifications HTTP/1.1\r\nHost: tidings\r\nAuthorization: Bearer ${service.operator}\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${length}\r\n${more}\r\n`
  const chunked = head(0).replace('Content-Length: 0', 'Transfer-Encoding: chunked')
  const cuts = [head(body.length), head(body.length) + body.slice(0, 20), head(body.length + 1) + body, chunked, `${chunked}14\r\n${body.slice(0, 20)}\r\n`, `${chunked}${body.length.toString(16)}\r\n${body}`]
  for (const sent of cuts) {
    for (const way of ['resetAndDestroy', 'destroy', 'end'] as const) {
      const line = dial(t, service.url, { localAddress: '127.0.0.9' })
      await new Promise((resolve) => { line.socket.once('connect', resolve) })
      await new Promise((resolve) => { line.socket.write(sent, resolve) })
      line.socket[way]()
      await line.over()
      t.notMatch(line.text, 'HTTP/1.1 202')
    }
  }
  await service.gone('127.0.0.9', cuts.length * 3)
  t.equal(await service.metric('tidings_published_total'), 0)
  t.equal((await service.publish('user:42', 'whole')).status, 202)
})

t.test('not HTTP, or not as it should be: an error in the shape of all errors', async (t) => {
  const service = await startService(t)
  const secret = service.token()
  const bad: Record<string, [sent: string, code: Parameters<typeof assertError>[2]]> = {
    'HTTP/1.1 without Host (RFC 9112, 3.2)': [`GET /livez HTTP/1.1\r\nAuthorization: Bearer ${secret}\r\n\r\n`, 'TIDINGS_BAD_REQUEST'],
    'HTTP/1.1 without Host, a stream': [`GET ${SUBSCRIBE} HTTP/1.1\r\nAuthorization: Bearer ${secret}\r\n\r\n`, 'TIDINGS_BAD_REQUEST'],
    'not HTTP': ['hello\r\n\r\n', 'TIDINGS_BAD_REQUEST'],
    'two Host headers': [`GET /livez HTTP/1.1\r\nHost: a\r\nhost: b\r\nAuthorization: Bearer ${secret}\r\n\r\n`, 'TIDINGS_BAD_REQUEST'],
    'a Host that is none': [`GET ${SUBSCRIBE} HTTP/1.1\r\nHost: a b/c@\r\nAuthorization: Bearer ${secret}\r\n\r\n`, 'TIDINGS_BAD_REQUEST'],
    'a header without a name': [`GET /livez HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${secret}\r\n: x\r\n\r\n`, 'TIDINGS_BAD_REQUEST'],
    'a URL that is not encoded well': [get('/api/users/%zz/groups', secret, 'Connection: close\r\n'), 'TIDINGS_BAD_REQUEST'],
    'headers past 16 KB': [get('/livez', secret, `X-Long: ${'x'.repeat(17_000)}\r\n`), 'TIDINGS_HEADERS_TOO_LARGE'],
    'two lengths': ['POST /api/notifications HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}', 'TIDINGS_BAD_REQUEST'],
    'a length and chunks (RFC 9112, 6.1)': ['POST /api/notifications HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 'TIDINGS_BAD_REQUEST']
  }
  for (const [name, [sent, code]] of Object.entries(bad)) {
    const line = dial(t, service.url)
    line.socket.write(sent)
    await line.over()
    const [head = '', text = ''] = line.text.split('\r\n\r\n')
    const headers = new Headers(head.split('\r\n').slice(1).map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]))
    let body: unknown
    try { body = JSON.parse(text) } catch {}
    assertError(t, { status: Number(head.split(' ')[1]), headers, text, body }, code, name)
  }
  t.equal((await service.call('GET', '/livez')).status, 200)
})

t.test('not HTTP, behind a request that is not answered yet: that one is answered, and then the line breaks; in a stream at once', async (t) => {
  const service = await startService(t)
  const published = '{"to":"user:42","data":1}'
  const publish = `POST /api/notifications HTTP/1.1\r\nHost: tidings\r\nAuthorization: Bearer ${service.operator}\r\nContent-Type: application/json\r\nContent-Length: ${published.length}\r\n\r\n${published}`
  for (const behind of ['not http\r\n\r\n', get('/livez', 'x', `X-Long: ${'x'.repeat(17_000)}\r\n`)]) {
    const line = dial(t, service.url)
    line.socket.write(publish + behind)
    await line.over()
    t.match(line.text, /^HTTP\/1\.1 202 [^]*"receivers":\d,"id":"\d+"}]}$/, 'a publish that was made')
    const stream = dial(t, service.url)
    stream.socket.write(get(SUBSCRIBE, service.token()))
    await stream.has('event: sync')
    stream.socket.write(behind)
    await stream.over()
    t.notMatch(stream.text, 'TIDINGS_', 'a stream')
  }
  t.same([await service.metric('tidings_published_total'), await service.metric('tidings_refused_total', 'code="TIDINGS_BAD_REQUEST"')], [2, 2])
})

t.test('a body that is longer than its Content-Length, as one that counts characters: what is wrong with it is said', async (t) => {
  const service = await startService(t)
  const [body, line] = ['{"to":"user:42","data":"é"}', dial(t, service.url)]
  line.socket.write(`POST /api/notifications HTTP/1.1\r\nHost: tidings\r\nAuthorization: Bearer ${service.operator}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  await line.over()
  t.match(line.text, /^HTTP\/1\.1 400 [^]*"code":"TIDINGS_BAD_JSON"/)
})

t.test('a request that names the whole URL (RFC 9112, 3.2.2): refused as by its path alone', async (t) => {
  const service = await startService(t)
  for (const [method, path] of [['PATCH', '/api/notifications'], ['GET', '/nowhere?ticket=SECRET']] as const) {
    const answers = await Promise.all(['', 'http://tidings', 'https://tidings:443'].map(async (origin) => {
      const line = dial(t, service.url)
      line.socket.write(`${method} ${origin}${path} HTTP/1.1\r\nHost: tidings\r\nConnection: close\r\n\r\n`)
      await line.over()
      return line.text.replace(/^date: .*\r\n/im, '')
    }))
    t.match(answers[0], method === 'PATCH' ? /^HTTP\/1\.1 405 [^]*\r\nallow: GET, HEAD, POST\r\n/ : /^HTTP\/1\.1 404 [^]*nothing at GET \/nowhere\./)
    t.same(new Set(answers).size, 1, path)
  }
})

t.test('headers past 16 KB, of a stream: told to come again, since cookies come and go; where its path is not known any more, the line breaks', async (t) => {
  const service = await startService(t, { env: { CORS_ORIGINS: 'https://app.example', RETRY_MS: '1000' } })
  const cookies = Array.from({ length: 17 }, (_, i) => `Cookie: c${i}=${'x'.repeat(990)}\r\n`).join('')
  for (const path of [SUBSCRIBE, `${SUBSCRIBE}/42`, `${SUBSCRIBE}?ticket=secret`, `http://tidings${SUBSCRIBE}`]) {
    const line = dial(t, service.url)
    line.socket.write(get(path, service.token(), `Origin: https://app.example\r\n${cookies}`))
    await line.over()
    t.match(line.text, /^HTTP\/1\.1 200 OK\r\n[^]*cache-control: no-store, no-transform\r\n[^]*\r\n\r\nretry: \d{3,4}\nevent: ping\ndata: \{\}\n\n$/, path)
    t.match(line.text, /\r\naccess-control-allow-origin: https:\/\/app\.example\r\n[^]*\r\n\r\n/, 'and its page may read it')
  }
  t.equal(await service.metric('tidings_refused_total', 'code="TIDINGS_HEADERS_TOO_LARGE"'), 4)

  const line = dial(t, service.url)
  const whole = get(SUBSCRIBE, service.token(), cookies)
  const arrived = Promise.withResolvers<void>()
  service.app.server.once('connection', (socket) => {
    const look = () => socket.bytesRead >= 1000 ? arrived.resolve() : setImmediate(look)
    look()
  })
  line.socket.write(whole.slice(0, 1000))
  await arrived.promise
  line.socket.write(whole.slice(1000))
  await line.over()
  t.equal(line.text, '')
})
