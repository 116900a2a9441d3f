// A client's address is one, whatever its spelling: in the log, for limits, and where it is asked whether a proxy is trusted.
import net, { type Socket } from 'node:net'
import t from 'tap'
import { addressOf, networkOf, trustedProxies } from '../../src/http/client-address.ts'
import { startService } from './service.ts'

t.test('addressOf, any spelling of one address, gives one', async (t) => {
  const same: Record<string, string[]> = {
    '203.0.113.7': ['203.0.113.7', '203.0.113.7:51234', ' 203.0.113.7 ', '::ffff:203.0.113.7', '::FFFF:cb00:7107', '[::ffff:203.0.113.7]:80', '0:0:0:0:0:ffff:203.0.113.7'],
    '2001:db8:0:0:0:0:0:1': ['2001:db8::1', '2001:DB8:0:0::1', '[2001:db8::1]', '[2001:db8::1]:443', '2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1%eth0', '2001:db8::0.0.0.1'],
    '0:0:0:0:0:0:0:1': ['::1', '[::1]:3000'],
    '0:0:0:0:0:0:0:0': ['::']
  }
  for (const [one, spellings] of Object.entries(same)) for (const spelling of spellings) t.equal(addressOf(spelling), one, spelling)
  for (const none of ['', 'unknown', 'unix:', '_hidden', '1.2.3', '1.2.3.4.5', '999.1.1.1', '1.2.3.4:x', '[::1', 'localhost:80', '12345::']) t.equal(addressOf(none), none, `"${none}" is none`)
})

t.test('networkOf, IPv6 by its /64', async (t) => {
  t.equal(networkOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64')
  t.equal(networkOf('[2001:db8:1:2::ffff]:5'), '2001:db8:1:2::/64')
  t.not(networkOf('2001:db8:1:3::1'), networkOf('2001:db8:1:2::1'))
  t.equal(networkOf('203.0.113.7:1'), '203.0.113.7')
  t.equal(networkOf('64:ff9b::203.0.113.7'), '203.0.113.7', 'translated from IPv4 (RFC 6052), where all clients are in one /64')
  t.equal(networkOf('[64:ff9b::cb00:7108]:443'), '203.0.113.8')
  t.equal(networkOf('64:ff9b:0:0:0:1:cb00:7108'), '64:ff9b:0:0::/64')
  t.equal(networkOf(undefined), '', 'of a connection that has closed Node knows none')
})

t.test('trustedProxies, addresses, ranges and names, in any spelling', async (t) => {
  t.equal(trustedProxies([]), false)
  const trust = trustedProxies(['10.0.0.7', '192.0.2.0/24', '2001:db8::/32', 'loopback'])
  if (trust === false) throw new Error('a list was given')
  for (const good of ['10.0.0.7', '10.0.0.7:443', '::ffff:10.0.0.7', '192.0.2.255', '[2001:db8::5]:1', '127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) t.equal(trust(good), true, good)
  for (const bad of ['10.0.0.8', '10.0.0.70', '192.0.3.0', '2001:db9::1', '', 'unknown', '128.0.0.1', '::2']) t.equal(trust(bad), false, bad)
})

t.test('CONNECTS_PER_MINUTE_PER_ADDRESS, behind a trusted proxy that writes ports, counts one address as one', async (t) => {
  const service = await startService(t, { env: { TRUST_PROXY: 'loopback,10.0.0.0/8', CONNECTS_PER_MINUTE_PER_ADDRESS: '3' } })
  const spellings: Record<string, string[]> = {
    IPv4: ['203.0.113.7:1001', '203.0.113.7:1002', '::ffff:203.0.113.7', '203.0.113.7'],
    IPv6: ['[2001:db8:1:2::1]:1001', '2001:db8:1:2::1', '2001:db8:1:2:ffff::9', '[2001:db8:1:2::3]'],
    'through a second proxy, with its port': ['198.51.100.1, 10.0.0.2:4711', '198.51.100.1:9, 10.0.0.3:1', '198.51.100.1', '198.51.100.1, [::ffff:10.0.0.2]:5']
  }
  for (const [name, list] of Object.entries(spellings)) {
    const seen = []
    for (const [i, address] of list.entries()) {
      const client = service.client(t, { sub: `${name} ${i}` }, { headers: { 'X-Forwarded-For': address }, reconnect: false })
      const { headers } = await client.opened()
      seen.push(headers['content-length'] === undefined ? 'stream' : 'later')
    }
    t.same(seen, ['stream', 'stream', 'stream', 'later'], name)
  }
  const opened = service.lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'stream open').map(({ ip }) => ip)
  t.same(opened.slice(0, 3), ['203.0.113.7', '203.0.113.7', '203.0.113.7'], 'and so does the log')
})

t.test('a client that has gone before its address was asked for: no error in the log, nothing stays behind', async (t) => {
  for (const env of [{}, { TRUST_PROXY: 'loopback', CONNECTS_PER_MINUTE_PER_ADDRESS: '5' }] satisfies Record<string, string>[]) {
    const asked = Promise.withResolvers<void>()
    const found = Promise.withResolvers<void>()
    const service = await startService(t, {
      env,
      alter: (broker) => {
        const get = broker.get.bind(broker)
        broker.get = async (home, key) => {
          asked.resolve()
          await found.promise
          return await get(home, key)
        }
      }
    })
    const { body: { ticket } } = await service.call('POST', '/api/notifications/tickets', { token: service.token() })
    // The test's own count of connections has asked, and the socket would remember.
    service.app.server.on('connection', (socket: Socket) => { Object.assign(socket, { _peername: undefined }) })
    const socket = net.connect({ host: '127.0.0.1', port: Number(new URL(service.url).port), localAddress: '127.0.0.8' })
    socket.write(`GET /api/notifications/subscribe?ticket=${ticket} HTTP/1.1\r\nHost: a\r\n\r\n`)
    await asked.promise
    socket.resetAndDestroy()
    await service.gone('127.0.0.8', 1)
    found.resolve()
    // What is left to be done for it takes no longer than this request.
    t.equal(await service.metric('tidings_refused_total', 'code="TIDINGS_INTERNAL"'), 0)
    t.same(service.lines.filter((line) => JSON.parse(line).level >= 50), [])
    t.equal(service.app.hub.streams, 0)
  }
})
