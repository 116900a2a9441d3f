// What stands in the log: one line when a stream opens and one when it ends, and never a token, however it came and whatever went wrong.
import net from 'node:net'
import t from 'tap'
import { startService, type Service } from './service.ts'

const SUBSCRIBE = '/api/notifications/subscribe'

/** Everything that the log says, also inside of what was serialised as bytes, number by number. */
function everything (lines: string[]): string {
  const bytes = lines.flatMap((line) => [...line.matchAll(/\[((?:\d{1,3},){8,}\d{1,3})\]/g)]).map(([, list]) => Buffer.from(list!.split(',').map(Number)).toString('latin1'))
  return [...lines, ...bytes].join('\n')
}

/** Sends bytes as they are and waits until the node has closed the line. */
async function sendRaw (service: Service, text: string): Promise<void> {
  await new Promise<void>((resolve) => {
    const socket = net.connect(Number(new URL(service.url).port), '127.0.0.1', () => { socket.write(text) })
    socket.on('data', () => {})
    socket.on('error', () => {})
    socket.on('close', () => { resolve() })
  })
}

t.test('log, at level trace, after requests of every kind: no token in it, nor any part of one', async (t) => {
  const service = await startService(t, { alter: (broker) => { broker.presence = async () => { throw new Error('broken for the test') } } })
  const token = service.token({ sub: 'the-user', groups: ['g'] })
  const ticket = 'TICKET-THAT-NOBODY-MAY-READ'
  const headers = { authorization: `Bearer ${token}`, cookie: `tidings_token=${token}` }
  for (const via of ['header', 'cookie'] as const) {
    const client = service.client(t, {}, { token, via, reconnect: false })
    await client.live()
    client.drop({ reset: via === 'cookie' })
  }
  const paths = [`${SUBSCRIBE}?ticket=${ticket}`, `${SUBSCRIBE}?ticket=${ticket}&ticket=${ticket}`, `${SUBSCRIBE}/43?token=${token}`, `/nowhere?ticket=${ticket}`, `/api/users/42/groups?access_token=${token}`, '/api/users/42/presence', `/api/%zz?ticket=${ticket}`, '/docs']
  for (const path of paths) {
    await service.call('GET', path, { token, headers })
    await service.call('GET', path, { token: null, headers: { cookie: headers.cookie } })
    await service.call('GET', path, { token: `${token}x` })
  }
  await service.call('GET', '/api/users/42/presence')
  await service.call('POST', '/api/notifications', { token, body: '{', headers })
  await service.call('POST', '/api/notifications', { body: { to: 'x', data: token } })
  for (const rest of ['Broken header\r\n\r\n', `X: ${'x'.repeat(20_000)}\r\n\r\n`, 'Content-Length: x\r\n\r\n', 'Transfer-Encoding: gzip\r\n\r\n']) {
    await sendRaw(service, `GET ${SUBSCRIBE}?ticket=${ticket} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nCookie: tidings_token=${token}\r\n${rest}`)
  }
  await service.logged(({ msg }) => msg?.startsWith('unexpected error') === true)
  const log = everything(service.lines)
  t.ok(service.lines.length > 20)
  for (const secret of [token, ...token.split('.'), service.operator, service.operator.split('.')[2]!, ticket, service.issuer.env.JWT_SECRET!]) {
    // The first part is the same for all tokens of an algorithm; it shows that a token stood there all the same.
    t.notOk(log.includes(secret), `${secret.slice(0, 12)}…`)
  }
  t.notMatch(log, /bearer /i)
})

t.test('log, a stream: a line when it opens and one when it ends, with reason, duration and count', async (t) => {
  const service = await startService(t)
  const client = service.client(t, { sub: 'the-user' }, { reconnect: false })
  await client.live()
  for (let i = 0; i < 3; i++) await service.publish('user:the-user', i)
  for (let i = 0; i < 3; i++) await client.next()
  client.close()
  const end = await service.logged(({ msg }) => msg === 'stream end')
  t.match(end, { level: 30, userId: 'the-user', reason: 'client', seconds: Number, written: 3 })
  const told = service.lines.map((line) => JSON.parse(line)).filter(({ level, msg }) => level >= 30 && /stream/.test(msg))
  t.same(told.map(({ msg }) => msg), ['stream open', 'stream end'])
  t.match(told[0], { userId: 'the-user', ip: '127.0.0.1', resumes: false })
})

t.test('log, an address of a proxy: taken from X-Forwarded-For only where TRUST_PROXY allows it', async (t) => {
  for (const [trusted, ip] of [['', '127.0.0.1'], ['10.0.0.0/8', '127.0.0.1'], ['127.0.0.0/8', '203.0.113.7']] as const) {
    const service = await startService(t, { env: { TRUST_PROXY: trusted } })
    await service.client(t, {}, { headers: { 'X-Forwarded-For': '203.0.113.7' } }).live()
    t.equal((await service.logged(({ msg }) => msg === 'stream open')).ip, ip, `TRUST_PROXY=${trusted}`)
  }
})
