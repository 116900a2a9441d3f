// A node that ends TLS itself, as a process: what it refuses to start with, what it speaks, and how its certificate is renewed.
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import tls from 'node:tls'
import t from 'tap'
import { Certificate, certificateFault } from '../../src/certificate.ts'
import { makeCertificate } from '../fixtures/certificate.ts'
import { connect } from '../fixtures/client.ts'
import { startNode, systemEnvironment, type TestNode } from '../fixtures/node.ts'
import { freePort, makeFolder, spawnChild } from '../fixtures/process.ts'
import { createIssuer } from '../fixtures/tokens.ts'

const issuer = createIssuer()
const pair = makeCertificate(t)
const env = { ...issuer.env, ...pair.env }

/** The handshake's outcome, or the code of the error that it ended with. */
async function shake (node: TestNode, options: tls.ConnectionOptions = {}): Promise<{ protocol: string | null, name: unknown, alpn: string | false | null } | string> {
  return await new Promise((resolve) => {
    const socket = tls.connect({ port: node.port, host: '127.0.0.1', rejectUnauthorized: false, ...options }, () => {
      resolve({ protocol: socket.getProtocol(), name: socket.getPeerCertificate().subject.CN, alpn: socket.alpnProtocol })
      socket.destroy()
    })
    socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => { resolve(code) })
  })
}

t.test('certificate, whose files are not as they should be, is refused with a sentence that says what to do', async (t) => {
  const other = makeCertificate(t)
  const folder = t.testdir({ text: 'no PEM' })
  const fault = (certFile: string, keyFile: string): string => certificateFault({ certFile, keyFile }) ?? ''
  t.equal(fault(pair.certFile, pair.keyFile), '')
  t.match(fault(`${folder}/none`, pair.keyFile), /^TLS_CERT_FILE: ".*none" cannot be read \(ENOENT\)$/)
  t.match(fault(pair.certFile, folder), /^TLS_KEY_FILE: ".*" cannot be read \(EISDIR\)$/)
  t.match(fault(`${folder}/text`, pair.keyFile), /^TLS_CERT_FILE: ".*text" holds no certificate; it must be PEM/)
  t.match(fault(pair.certFile, `${folder}/text`), /^TLS_KEY_FILE: ".*text" holds no private key .* no passphrase$/)
  t.match(fault(pair.certFile, other.keyFile), /^TLS_KEY_FILE: the key in ".*" does not fit the first certificate in ".*"$/)
})

t.test('node, with a key that does not fit or half of the pair, does not start and says why', async (t) => {
  const other = makeCertificate(t)
  for (const [more, why] of [
    [{ TLS_CERT_FILE: pair.certFile, TLS_KEY_FILE: other.keyFile }, /does not fit the first certificate/],
    [{ TLS_CERT_FILE: pair.certFile }, /TLS_CERT_FILE and TLS_KEY_FILE must both be set/]
  ] as const) {
    const child = spawnChild(t, process.execPath, ['src/server.ts'], { name: 'node', env: { ...systemEnvironment(), ...issuer.env, ...more } })
    await child.waitForLine(why)
    t.match(await child.exited, { code: 1 })
  }
})

t.test('node with TLS: 1.2 and 1.3, HTTP/1.1, HSTS on every answer; plain HTTP gets none', async (t) => {
  const node = await startNode(t, { env })
  t.match(node.url, /^https:/)
  t.same(await shake(node, { maxVersion: 'TLSv1.2' }), { protocol: 'TLSv1.2', name: 'localhost', alpn: false })
  t.same(await shake(node, { ALPNProtocols: ['h2', 'http/1.1'] }), { protocol: 'TLSv1.3', name: 'localhost', alpn: 'http/1.1' })
  t.match(await shake(node, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }), /PROTOCOL_VERSION|ECONNRESET/)
  for (const path of ['/livez', '/nothing', '/api/notifications/subscribe', '/%E0%A4%A']) {
    t.equal((await fetch(`${node.url}${path}`)).headers.get('strict-transport-security'), 'max-age=31536000', path)
  }
  const client = connect(t, { url: node.url, token: issuer.token({ sub: '42' }) })
  await client.live()
  t.equal(client.connection.headers['strict-transport-security'], 'max-age=31536000')
  await t.rejects(fetch(node.url.replace('https', 'http')))
  const plain = await startNode(t, { env: issuer.env })
  t.equal((await fetch(`${plain.url}/livez`)).headers.get('strict-transport-security'), null)
})

t.test('node with TLS, when its certificate is renewed, uses the new one; a broken one leaves the old; streams stay', async (t) => {
  const folder = makeFolder(t)
  const { certFile, keyFile, env } = makeCertificate(t, { folder, name: 'first' })
  const node = await startNode(t, { env: { ...issuer.env, ...env } })
  const client = connect(t, { url: node.url, token: issuer.token({ sub: '42' }) })
  await client.live()
  t.match(await shake(node), { name: 'first' })

  const second = makeCertificate(t, { name: 'second' })
  copyFileSync(second.certFile, certFile)
  // The key has not come yet: no word of it at the first look, for a renewal may be under way.
  node.signal('SIGHUP')
  node.signal('SIGHUP')
  await node.waitForLine(/the new certificate cannot be used; the old one stays/)
  t.match(node.logs.find(({ msg }) => msg?.includes('cannot be used')), { level: 40, reason: /does not fit/ })
  t.match(await shake(node), { name: 'first' })

  copyFileSync(second.keyFile, keyFile)
  node.signal('SIGHUP')
  await node.waitForLine(/a new certificate is used from now on/)
  t.match(await shake(node), { name: 'second' })
  t.match(node.logs.find(({ msg }) => msg?.includes('is used from now on')), { validTo: new Date(new X509Certificate(readFileSync(certFile)).validTo).toISOString() })

  writeFileSync(certFile, '')
  for (let i = 0; i < 2; i++) node.signal('SIGHUP')
  await node.waitForLine(/holds no certificate/)
  t.match(await shake(node), { name: 'second' })
  t.equal(client.connections.length, 1, 'the stream knows nothing of it')
  t.notOk(node.lines.some((line) => line.includes('PRIVATE KEY')))
})

t.test('node with TLS, told nothing, looks at its files by itself', async (t) => {
  const folder = makeFolder(t)
  const { env } = makeCertificate(t, { folder, name: 'first' })
  const node = await startNode(t, { env: { ...issuer.env, ...env } })
  makeCertificate(t, { folder, name: 'second' })
  await node.waitForLine(/a new certificate is used from now on/)
  t.match(await shake(node), { name: 'second' })
})

t.test('node with TLS, whose certificate is about to end, says so at start', async (t) => {
  const node = await startNode(t, { env: { ...issuer.env, ...makeCertificate(t, { days: 3 }).env } })
  await node.waitForLine(/the certificate ends within a week/)
})

t.test('certificate, of a node that runs for months: its end is told when it comes near; one that browsers would refuse does not take its place', async (t) => {
  const DAY_MS = 86_400_000
  const startedAt = new Date().getTime()
  const folder = makeFolder(t)
  const renew = (days: number): void => { makeCertificate(t, { folder, days, name: `${days} days` }) }
  renew(30)
  const certificate = new Certificate({ certFile: `${folder}/tls.crt`, keyFile: `${folder}/tls.key` })
  const names: string[] = []
  const lines: string[] = []
  const write = (data: { reason?: string }, text: string): void => { lines.push(`${text} ${data.reason ?? ''}`) }
  let days = 0
  const follows = new AbortController()
  t.teardown(() => { follows.abort() })
  certificate.follow({ setSecureContext: ({ cert }) => { names.push(new X509Certificate(cert as Buffer).subject) } }, { info: write, warn: write }, {
    signal: follows.signal, wallMs: () => startedAt + days * DAY_MS + 60_000
  })
  const looked = (atDay: number): string[] => {
    days = atDay
    for (let i = 0; i < 3; i++) certificate.look()
    return lines.splice(0)
  }
  t.same(looked(22), [])
  t.match(looked(24), [/^the certificate ends within a week/], 'once')
  renew(20)
  t.match(looked(25), [/^the new certificate cannot be used; the old one stays .* has ended at /])
  t.match(looked(31), [/^a new certificate is used/, /^the certificate has ended/], 'there is no better one any more')
  renew(60)
  t.match(looked(32), [/^a new certificate is used/])
  const begin = (): number => new Date(new X509Certificate(readFileSync(`${folder}/tls.crt`)).validFrom).getTime()
  const before = begin()
  do renew(90); while (begin() === before)
  t.match(looked((before - startedAt - 60_000) / DAY_MS), [/^the new certificate cannot be used; .* is not valid before /])
  t.match(looked(33), [/^a new certificate is used/], 'now it is valid')
  t.match(looked(91), [/^the certificate has ended/])
  t.same(names, ['CN=20 days', 'CN=60 days', 'CN=90 days'])
})

t.test('certificate, looked at while its two files are being replaced, is not called unusable', async (t) => {
  const folder = makeFolder(t)
  makeCertificate(t, { folder })
  const next = makeFolder(t)
  makeCertificate(t, { folder: next })
  const certificate = new Certificate({ certFile: `${folder}/tls.crt`, keyFile: `${folder}/tls.key` })
  const lines: string[] = []
  const write = (_data: object, text: string): void => { lines.push(text) }
  const follows = new AbortController()
  t.teardown(() => { follows.abort() })
  certificate.follow({ setSecureContext () {} }, { info: write, warn: write }, { signal: follows.signal })
  lines.length = 0
  for (const file of ['tls.crt', 'tls.key']) {
    copyFileSync(`${next}/${file}`, `${folder}/${file}`)
    certificate.look()
  }
  t.same(lines, ['a new certificate is used from now on'])
})

t.test('node with TLS, killed under a stream: the stream resumes complete on the next in its place', async (t) => {
  const port = await freePort()
  const node = await startNode(t, { env, port })
  const client = connect(t, { url: node.url, token: issuer.token({ sub: '42' }), retryCapMs: 50 })
  await client.live()
  await node.kill()
  await startNode(t, { env, port })
  await client.live(client.connections.length)
  t.pass('it came back by itself')
})

t.test('node with TLS, at SIGTERM: each stream gets its hint and its end, and nobody who is half way in keeps the node', async (t) => {
  const node = await startNode(t, { env: { ...env, DRAIN_SECONDS: '1' } })
  const client = connect(t, { url: node.url, token: issuer.token({ sub: '42' }), reconnect: false })
  await client.live()
  const silent = net.connect(node.port, '127.0.0.1')
  silent.on('error', () => {})
  await once(silent, 'connect')
  const startedAt = performance.now()
  const stopped = node.stop()
  const { ending, retries } = await client.ended(1)
  t.same([ending, retries.length], ['end', 2], 'in good order')
  t.match(await stopped, { code: 0 })
  t.ok(performance.now() - startedAt < 15_000, 'and did not wait for a handshake that never comes')
  t.ok(node.lines.some((line) => line.includes('"msg":"closed"')))
})
