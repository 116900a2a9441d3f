// The PROXY protocol's headers, whole, in pieces, made up and broken.
import t from 'tap'
import { readProxyHeader } from '../../src/http/proxy-protocol.ts'
import { binaryHeader, lineHeader, SIGNATURE } from '../fixtures/balancer.ts'
import { show } from './service.ts'

const rest = 'GET / HTTP/1.1\r\n'
const read = (bytes: Buffer | string) => readProxyHeader(Buffer.from(bytes as string, 'latin1'))
const ssl = Buffer.from([0xea, 0, 2, 1, 2, 0x20, 0, 5, 0x05, 0, 0, 0, 0])

t.test('header, of either version, says the client and where its own bytes begin', async (t) => {
  for (const [header, source] of [
    [lineHeader('203.0.113.7'), { address: '203.0.113.7', port: 12345, family: 'IPv4' }],
    [lineHeader('2001:db8::7'), { address: '2001:db8::7', port: 12345, family: 'IPv6' }],
    [binaryHeader('203.0.113.7'), { address: '203.0.113.7', port: 12345, family: 'IPv4' }],
    [binaryHeader('2001:db8:0:0:0:0:0:7'), { address: '2001:db8:0:0:0:0:0:7', port: 12345, family: 'IPv6' }],
    ['PROXY UNKNOWN\r\n', undefined],
    ['PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n', undefined],
    [binaryHeader('203.0.113.7', { command: 0x20 }), undefined]
  ] as const) {
    const bytes = Buffer.from(header as string, 'latin1')
    t.same(readProxyHeader(Buffer.concat([bytes, Buffer.from(rest)])), { length: bytes.length, source, isEncrypted: false }, show(header.toString('latin1')))
  }
})

t.test('header of version 2, with the field on TLS, says whether the client had it', async (t) => {
  t.match(read(binaryHeader('203.0.113.7', { fields: ssl })), { isEncrypted: true })
  const plain = Buffer.from(ssl)
  plain[8] = 0
  t.match(read(binaryHeader('203.0.113.7', { fields: plain })), { isEncrypted: false })
  for (let cut = 0; cut < ssl.length; cut++) t.not(read(binaryHeader('203.0.113.7', { fields: ssl.subarray(0, cut) })), 'bad', `cut after ${cut} bytes`)
})

t.test('header, in pieces, is waited for to its last byte, and asks for no more', async (t) => {
  for (const header of [lineHeader('203.0.113.7'), lineHeader('2001:db8::7'), binaryHeader('203.0.113.7', { fields: ssl }), binaryHeader('2001:db8:0:0:0:0:0:7')]) {
    const bytes = Buffer.from(header as string, 'latin1')
    for (let length = 0; length < bytes.length; length++) if (readProxyHeader(bytes.subarray(0, length)) !== 'more') t.fail(`${length} of ${bytes.length} bytes`)
    t.match(readProxyHeader(bytes), { length: bytes.length })
  }
})

t.test('header, made up or broken, is bad as soon as that can be seen', async (t) => {
  const longest = binaryHeader('203.0.113.7')
  longest.writeUInt16BE(2049, 14)
  const short = binaryHeader('203.0.113.7')
  short.writeUInt16BE(11, 14)
  for (const bytes of [
    rest, 'P\r\n', 'PROXX', '\r\n\r\n\0\r\nQUIX', '\x16\x03\x01',
    'PROXY TCP4 203.0.113.7 127.0.0.1 12345\r\n', 'PROXY TCP4 203.0.113.7 127.0.0.1 12345 443 1\r\n', 'PROXY TCP4 2001:db8::7 ::1 1 2\r\n', 'PROXY TCP6 203.0.113.7 127.0.0.1 1 2\r\n',
    'PROXY TCP4 203.0.113.256 127.0.0.1 1 2\r\n', 'PROXY TCP4 203.0.113.7 127.0.0.1 01 2\r\n', 'PROXY TCP4 203.0.113.7 127.0.0.1 65536 2\r\n', 'PROXY TCP4 203.0.113.7 127.0.0.1 -1 2\r\n',
    'PROXY TCP4  203.0.113.7 127.0.0.1 1 2\r\n', 'PROXY UDP4 203.0.113.7 127.0.0.1 1 2\r\n', 'PROXY \r\n', 'PROXY tcp4 203.0.113.7 127.0.0.1 1 2\r\n',
    `PROXY ${'x'.repeat(101)}`,
    longest, short, binaryHeader('203.0.113.7', { command: 0x11 }), binaryHeader('203.0.113.7', { command: 0x22 }),
    Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x12, 0, 12]), Buffer.alloc(12)]), Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x99, 0, 0])])
  ]) t.equal(read(bytes), 'bad', show(bytes.toString('latin1')))
})

t.test('header, of any bytes at all, is never an exception and never longer than what it read', async (t) => {
  let seed = 7
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below
  const starts = [Buffer.alloc(0), SIGNATURE, Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x11, 0, 30])]), Buffer.from('PROXY TCP4 '), binaryHeader('203.0.113.7', { fields: ssl })]
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.concat([starts[random(starts.length)]!, Buffer.from(Array.from({ length: random(60) }, () => random(256)))])
    const found = readProxyHeader(bytes)
    if (typeof found !== 'string' && found.length > bytes.length) t.fail(bytes.toString('hex'))
  }
  t.pass('20,000 of them')
})
