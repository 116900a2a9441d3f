// Many requests on one connection whose answers nobody takes: a bounded number is under way, then the line is cut.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import net from 'node:net'
import t from 'tap'
import { HANDLED, startService } from '../http/service.ts'

t.test('requests, 1,500 in one piece on a line that reads nothing: few are started, the line is cut, others are served', async (t) => {
  const service = await startService(t)
  let handled = 0
  const count = (): void => { handled++ }
  subscribe(HANDLED, count)
  t.teardown(() => unsubscribe(HANDLED, count))
  const stream = service.client(t)
  await stream.live()
  for (const path of ['/docs/json', '/metrics', '/nothing', '/api/notifications/subscribe', '/docs/static/swagger-ui-bundle.js']) {
    handled = 0
    const socket = net.connect({ port: Number(new URL(service.url).port), host: '127.0.0.1' })
    socket.pause()
    socket.on('error', () => {})
    const closed = new Promise((resolve) => { socket.once('close', resolve) })
    socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${service.token()}\r\n\r\n`.repeat(1500))
    // A destroyed line is seen by who reads it.
    setTimeout(() => { socket.resume() }, 100).unref()
    await closed
    t.ok(handled <= 17, `${path}: ${handled} were started`)
  }
  t.equal(stream.state, 'open')
  t.equal((await service.call('GET', '/livez')).status, 200)
})

t.test('requests, one after the other and 16 at a time: any number of them is answered', async (t) => {
  const service = await startService(t)
  const socket = net.connect({ port: Number(new URL(service.url).port), host: '127.0.0.1' })
  t.teardown(() => socket.destroy())
  let text = ''
  socket.setEncoding('latin1').on('data', (piece: string) => { text += piece })
  for (let round = 1; round <= 5; round++) {
    socket.write('GET /livez HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(16))
    while (text.split('HTTP/1.1 200').length - 1 < round * 16) await new Promise((resolve) => { socket.once('data', resolve) })
  }
  t.equal(text.split('HTTP/1.1 200').length - 1, 80)
})

t.test('requests, of a publisher who looks at no answer before the last: all are answered, in order', async (t) => {
  const service = await startService(t)
  const socket = net.connect({ port: Number(new URL(service.url).port), host: '127.0.0.1' })
  t.teardown(() => socket.destroy())
  let text = ''
  socket.setEncoding('latin1').on('data', (piece: string) => { text += piece })
  const answered = async (count: number): Promise<void> => {
    while (text.split('HTTP/1.1 202').length - 1 < count) await new Promise((resolve) => { socket.once('data', resolve) })
  }
  const body = '{"to":"user:42","data":1}'
  const request = `POST /api/notifications HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${service.operator}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  socket.write(request)
  await answered(1)
  socket.write(request.repeat(300))
  await answered(301)
  const ids = [...text.matchAll(/"id":"(\d+)"/g)].map(([, id]) => Number(id))
  t.same(ids, ids.toSorted((a, b) => a - b))
})

t.test('requests, for files of /docs and in one piece: each file is opened when the one before it was taken', async (t) => {
  const service = await startService(t)
  let [handled, finished, atOnce] = [0, 0, 0]
  const count = (): void => { atOnce = Math.max(atOnce, ++handled - finished) }
  subscribe(HANDLED, count)
  t.teardown(() => unsubscribe(HANDLED, count))
  const arrived = new Promise<void>((resolve) => {
    let requests = 0
    service.app.server.prependListener('request', (_request, response) => {
      response.prependListener('finish', () => { finished++ })
      if (++requests === 15) resolve()
    })
  })
  const socket = net.connect({ port: Number(new URL(service.url).port), host: '127.0.0.1' })
  t.teardown(() => socket.destroy())
  socket.write('GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(15))
  await arrived
  let answers = 0
  let rest = ''
  socket.setEncoding('latin1').on('data', (piece: string) => {
    rest += piece
    answers += rest.split('HTTP/1.1 200 OK').length - 1
    rest = rest.slice(-14).replace('HTTP/1.1 200 OK', '')
  })
  while (answers < 15) await new Promise((resolve) => { socket.once('data', resolve) })
  t.equal(handled, 15)
  t.equal(atOnce, 1)
})
