// Answers of one's own inbox that nobody reads: a user has room for so many bytes of them, then the oldest connections are cut.
import { once } from 'node:events'
import net from 'node:net'
import Fastify, { type FastifyRequest } from 'fastify'
import t from 'tap'
import { Unread } from '../../src/http/unread.ts'
import { startService, type Service } from './service.ts'

/** Asks for a list on a connection of its own, and reads no more than the beginning of the answer until `read()`. */
async function ask (service: Service, userId: string, requests = 1): Promise<{ read: () => Promise<string> }> {
  const socket = net.connect(Number(new URL(service.url).port), '127.0.0.1').on('error', () => {})
  const request = `GET /api/notifications?limit=100 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer ${service.token({ sub: userId })}\r\n\r\n`
  socket.write(request.replace('Connection: close\r\n', '').repeat(requests - 1) + request)
  await once(socket, 'readable')
  return {
    read: async () => {
      const pieces: Buffer[] = []
      const closed = once(socket, 'close')
      socket.on('data', (piece: Buffer) => { pieces.push(piece) })
      await closed
      return Buffer.concat(pieces).toString('latin1')
    }
  }
}

const bodyOf = (answer: string): any => JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))
const cuts = ({ lines }: Service): number => lines.filter((line) => line.includes('its answers were not read')).length

t.test('lists of 6.5 MB, on connections that read nothing: the oldest are cut, the newest are whole, and others are served', async (t) => {
  const service = await startService(t)
  for (let i = 0; i < 100; i++) await service.publish('user:ann', `${i} ${'x'.repeat(65_000)}`)
  await service.publish('user:bob', 1)
  const bob = await ask(service, 'bob')
  const asked: Array<Awaited<ReturnType<typeof ask>>> = []
  for (let i = 0; i < 8; i++) asked.push(await ask(service, 'ann'))
  t.equal(cuts(service), 6)
  const answers = await Promise.all(asked.map(({ read }) => read()))
  for (const answer of answers.slice(0, 6)) t.ok(answer.length < 6_000_000, 'cut')
  for (const answer of answers.slice(6)) t.equal(bodyOf(answer).notifications.length, 100)
  t.equal(bodyOf(await bob.read()).notifications.length, 1)

  const reading = async (): Promise<void> => { t.equal(bodyOf(await (await ask(service, 'ann')).read()).notifications.length, 100) }
  for (let i = 0; i < 4; i++) await reading()
  t.equal(cuts(service), 6, 'nothing is held against who reads')
  t.ok((await (await ask(service, 'ann', 4)).read()).length < 26_000_000, 'several on one connection')
  t.equal(cuts(service), 7)
  await reading()
})

t.test('lists, in a script of three bytes a character, have no more room than others', async (t) => {
  const service = await startService(t)
  for (let i = 0; i < 100; i++) await service.publish('user:ann', `${i} ${'通'.repeat(21_600)}`)
  const asked: Array<Awaited<ReturnType<typeof ask>>> = []
  for (let i = 0; i < 4; i++) asked.push(await ask(service, 'ann'))
  t.equal(cuts(service), 2)
  for (const { read } of asked.slice(2)) t.ok((await read()).length > 6_480_000, 'whole')
})

t.test('an answer, to a client that left while it was made, is not held against its user', async (t) => {
  const cut: object[] = []
  const app = Fastify()
  app.log.info = (about: object) => { cut.push(about) }
  t.teardown(() => app.close())
  const unread = new Unread(app)
  const [gone, there] = [new net.Socket(), new net.Socket()]
  gone.destroy()
  await once(gone, 'close')
  for (const socket of [gone, there]) unread.add({ socket } as FastifyRequest, 'ann', 10_000_000)
  t.same(cut, [])
})
