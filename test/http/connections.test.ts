// Answers that are under way when a node ends: it waits for those that somebody still takes, and for no others.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import tls from 'node:tls'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { watchConnections } from '../../src/http/connections.ts'
import { makeCertificate } from '../fixtures/certificate.ts'
import { eventually, Signal, type Scope } from '../fixtures/wait.ts'
import { startService } from './service.ts'

const LARGE = 'x'.repeat(20_000_000) // more than both kernels' buffers take

/** A server with three routes, and a client that asks for one of them several times and reads nothing by itself. */
async function ask (t: Scope, path: '/large' | '/late' | '/small' | '/short', times: number, { isDraining = false, takeMs, isTls = false }: { isDraining?: boolean, takeMs?: number, isTls?: boolean } = {}) {
  const { certFile, keyFile } = isTls ? makeCertificate(t) : {}
  const pair = certFile === undefined || keyFile === undefined ? null : { cert: readFileSync(certFile), key: readFileSync(keyFile) }
  const app = Fastify({ forceCloseConnections: true, https: pair }) as unknown as FastifyInstance
  t.teardown(async () => { await app.close() })
  const answersTaken = watchConnections(app, { isDraining }, takeMs)
  const changed = new Signal()
  const seen = { asked: 0, answered: 0, gone: false }
  const tell = (change: Partial<typeof seen>): void => {
    Object.assign(seen, change)
    changed.notify()
  }
  const until = async (what: keyof typeof seen, value: number | boolean) => await changed.until(() => seen[what] === value || undefined, { what: `${what} ${value}` })
  app.addHook('onSend', async () => { tell({ answered: seen.answered + 1 }) })
  const server = new Promise<net.Socket>((resolve) => { app.server.once(isTls ? 'secureConnection' : 'connection', resolve) })
  app.server.on('connection', (socket) => { socket.on('close', () => { tell({ gone: true }) }) })
  app.get('/large', async () => LARGE)
  app.get('/small', async () => 'small')
  app.get('/short', async () => 'x'.repeat(1000))
  app.get('/late', async () => {
    tell({ asked: seen.asked + 1 })
    await until('gone', true)
    return 'nobody is there'
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const client = (isTls ? tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }) : net.connect(port, '127.0.0.1')).on('error', () => {})
  t.teardown(() => client.destroy())
  client.write(`GET ${path} HTTP/1.1\r\nHost: tidings\r\n\r\n`.repeat(times))
  return { client, server, until, answersTaken }
}

t.test('a client that takes them late gets all of them before the node ends', async (t) => {
  const { client, until, answersTaken } = await ask(t, '/large', 3)
  await until('answered', 3)
  let bytes = 0
  const taken = answersTaken().then(() => 'taken')
  t.equal(await Promise.race([taken, new Promise((resolve) => { setImmediate(resolve, 'owed') })]), 'owed')
  client.on('data', (data) => { bytes += data.length })
  await taken
  client.end()
  await once(client, 'close')
  t.ok(bytes > 3 * LARGE.length, 'headers and bodies')
})

t.test('a client that had taken all and asks again: its new answer is waited for', async (t) => {
  const { client, until, answersTaken } = await ask(t, '/small', 1)
  await once(client, 'data')
  client.pause().write('GET /large HTTP/1.1\r\nHost: tidings\r\n\r\n')
  await until('answered', 2)
  const taken = answersTaken().then(() => 'taken')
  t.equal(await Promise.race([taken, new Promise((resolve) => { setImmediate(resolve, 'owed') })]), 'owed')
  client.resume()
  t.equal(await taken, 'taken')
})

t.test('a client that leaves in the middle of its answers is not waited for', async (t) => {
  const { client, until, answersTaken } = await ask(t, '/large', 3)
  await until('answered', 3)
  client.destroy()
  await until('gone', true)
  await t.resolves(answersTaken())
})

t.test('nor is one that leaves while the node waits for it', async (t) => {
  const { client, until, answersTaken } = await ask(t, '/large', 1)
  await until('answered', 1)
  const taken = answersTaken()
  client.destroy()
  await t.resolves(taken)
})

t.test('nor one that left before its answer', async (t) => {
  const { client, until, answersTaken } = await ask(t, '/late', 2)
  await until('asked', 2)
  client.destroy()
  await until('answered', 2)
  await t.resolves(answersTaken())
})

t.test('a node that drains answers all requests that came together, and ends the connection after the next one alone', async (t) => {
  const { client, until } = await ask(t, '/small', 3, { isDraining: true })
  const closed = once(client, 'close')
  let said = ''
  const changed = new Signal()
  client.on('data', (data) => {
    said += data.toString()
    changed.notify()
  })
  await until('answered', 3)
  await changed.until(() => said.split('small').length === 4 || undefined, { what: 'three answers', describe: () => said })
  if (!/connection: close/i.test(said)) client.write('GET /small HTTP/1.1\r\nHost: tidings\r\n\r\n')
  await closed
  t.equal(said.split('HTTP/1.1 ').map((answer) => /connection: close/i.test(answer)).indexOf(true), said.split('HTTP/1.1 ').length - 1, 'the last one says so')
})

for (const isTls of [false, true]) {
  const how = isTls ? 'with TLS' : 'without TLS'

  t.test(`${how}, a client that takes nothing of its answers is cut`, async (t) => {
    const { until, answersTaken } = await ask(t, '/large', 3, { takeMs: 100, isTls })
    await until('answered', 3)
    await until('gone', true)
    await t.resolves(answersTaken())
  })

  t.test(`${how}, nor does one stay that takes nothing of many small answers`, async (t) => {
    const { client, server: first, until, answersTaken } = await ask(t, '/short', 1, { takeMs: 100, isTls })
    const server = await first
    for (let asked = 1; server.writableLength === 0; asked++) {
      await until('answered', asked)
      await turn()
      if (server.writableLength === 0) client.write('GET /short HTTP/1.1\r\nHost: tidings\r\n\r\n')
    }
    await until('gone', true)
    await t.resolves(answersTaken())
  })

  t.test(`${how}, one that takes them slowly gets all of them`, async (t) => {
    const { client, until } = await ask(t, '/large', 1, { takeMs: 500, isTls })
    let bytes = 0
    const all = new Promise<void>((resolve) => {
      client.on('data', (data) => {
        bytes += data.length
        client.pause()
        setTimeout(() => { client.resume() }, isTls ? 1 : 5)
        if (bytes > LARGE.length) resolve()
      })
    })
    const cut = until('gone', true).then(() => { throw new Error(`it was cut after ${bytes} bytes`) })
    cut.catch(() => {})
    await t.resolves(Promise.race([all, cut]))
  })
}

t.test('a stream has no timeout, neither of an answer before it nor of one behind it', async (t) => {
  const service = await startService(t)
  const server = new Promise<net.Socket>((resolve) => { service.app.server.once('connection', resolve) })
  const client = net.connect(Number(new URL(service.url).port), '127.0.0.1')
  t.teardown(() => client.destroy())
  client.write('GET /client.js HTTP/1.1\r\nHost: a\r\n\r\n')
  client.write(`GET /api/notifications/subscribe HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${service.token()}\r\n\r\n`)
  const synced = new Promise<void>((resolve) => {
    let said = ''
    client.on('data', (piece) => { if ((said += String(piece)).includes('event: sync')) resolve() })
  })
  await synced
  t.notOk((await server).timeout)
  const answer = new Promise<http.ServerResponse>((resolve) => { service.app.server.once('request', (_request, response) => { resolve(response) }) })
  client.write('GET /livez HTTP/1.1\r\nHost: a\r\n\r\n')
  await eventually(async () => (await answer).writableEnded, (is) => is, { what: 'is the request behind it answered' })
  t.notOk((await server).timeout, 'nor with a request behind it')
})
