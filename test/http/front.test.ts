// ops/nginx/start.sh: nginx.conf with TLS and with balancers in front, on a real nginx.
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startFront } from '../fixtures/nginx.ts'
import { startNode } from '../fixtures/node.ts'
import { freePort, makeFolder } from '../fixtures/process.ts'
import { createIssuer } from '../fixtures/tokens.ts'

const issuer = createIssuer()
const node = await startNode(t, { env: { ...issuer.env, TRUST_PROXY: 'loopback' } })
const token = issuer.token({ sub: 'ann' })

interface Answer { status: number | undefined, headers: http.IncomingHttpHeaders, subject: unknown }

async function ask (url: string, { method = 'GET', headers = {} }: { method?: string, headers?: Record<string, string> } = {}): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const client = url.startsWith('https') ? https : http
    client.request(url, { method, headers, rejectUnauthorized: false, agent: false }, (response) => {
      const subject = response.socket instanceof tls.TLSSocket ? response.socket.getPeerCertificate().subject.CN : undefined
      response.destroy()
      resolve({ status: response.statusCode, headers: response.headers, subject })
    }).on('error', reject).end()
  })
}

t.test('TLS, without a certificate: one is made for localhost; HTTP is sent there with its method and body; HSTS is on every answer', async (t) => {
  const front = await startFront(t, { nodes: [node.port] })
  t.match(front.lines.join('\n'), 'a self-signed one for localhost was made')
  t.match(await ask(`${front.tlsUrl}/docs/json`), { status: 200, subject: 'localhost' })
  for (const path of ['/docs/json', '/nothing', '/livez', '/api/notifications/subscribe']) {
    t.equal((await ask(`${front.tlsUrl}${path}`)).headers['strict-transport-security'], 'max-age=31536000', path)
  }
  const { port } = new URL(front.tlsUrl)
  for (const method of ['GET', 'POST']) {
    t.match(await ask(`${front.url}/api/notifications?x=1`, { method, headers: { host: 'app.example:8080' } }),
      { status: 308, headers: { location: `https://app.example:${port}/api/notifications?x=1` } }, method)
  }
  const names = await new Promise<string | undefined>((resolve, reject) => {
    const socket = tls.connect({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2', 'http/1.1'] }, () => {
      t.equal(socket.alpnProtocol, 'h2')
      resolve(socket.getPeerCertificate().subjectaltname)
      socket.destroy()
    })
    socket.on('error', reject)
  })
  t.match(names, /DNS:localhost, IP Address:127\.0\.0\.1/)
  await t.rejects(new Promise((resolve, reject) => { tls.connect({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }, () => { resolve('TLS 1.1') }).on('error', reject) }))
})

t.test('TLS, with a self-signed certificate near its end: a new one is made while nginx runs', async (t) => {
  const front = await startFront(t, { nodes: [node.port], env: { NGINX_CERTIFICATE_DAYS: '1' } })
  await front.waitForLine(/The self-signed certificate was near its end: a new one was made/)
  const { validTo } = new X509Certificate(readFileSync(join(front.folder, 'tls.crt')))
  t.ok(Date.parse(validTo) > Date.now() + 300 * 86_400_000, validTo)
  t.match(await ask(`${front.tlsUrl}/docs/json`), { status: 200, subject: 'localhost' })
})

t.test('nodes, with addresses of IPv6 alone: nginx looks these up, and else those of IPv4', (t) => {
  for (const [addresses, off] of [[{ ahostsv4: '', ahostsv6: 'fd00::7' }, 'ipv4'], [{ ahostsv4: '10.0.0.7', ahostsv6: '::ffff:10.0.0.7' }, 'ipv6'], [{ ahostsv4: '10.0.0.7', ahostsv6: 'fd00::7' }, 'ipv6']] as const) {
    const folder = makeFolder(t)
    // An nginx that looks names up by itself, and a resolver that knows one node.
    const programs = { nginx: 'case $1 in -v) echo "nginx version: nginx/1.27.3" >&2 ;; esac', getent: `case $1 in ahostsv4) echo '${addresses.ahostsv4}' ;; *) echo '${addresses.ahostsv6}' ;; esac` }
    for (const [name, text] of Object.entries(programs)) writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
    const conf = fileURLToPath(new URL('../../nginx.conf', import.meta.url))
    execFileSync('sh', [fileURLToPath(new URL('../../ops/nginx/start.sh', import.meta.url))], { env: { PATH: `${folder}:${process.env['PATH']}`, NGINX_CONF: conf, NGINX_WORK: folder } })
    t.match(readFileSync(join(folder, 'tidings.d/http-resolver.conf'), 'utf8'), ` valid=2s ${off}=off;`)
  }
  t.end()
})

t.test('clients, of IPv4 and, where the machine has it, of IPv6: served, with TLS and without, also where nginx.conf itself listens on IPv6', async (t) => {
  const hosts = ['127.0.0.1', ...networkInterfaces()['lo']!.filter(({ address }) => address === '::1').map(() => '[::1]')]
  const other = await freePort()
  const listensOn = (port: number | '$2') => (conf: string) => hosts.length === 1 ? conf : conf.replace(/^( *)listen (\d+)(.*)$/m, `$&\n$1listen [::]:${port}$3`)
  const none = { TIDINGS_TLS_PORT: '' }
  for (const [edit, env] of [[undefined, {}], [undefined, none], [listensOn('$2'), {}], [listensOn('$2'), none], [listensOn(other), none]] as const) {
    const front = await startFront(t, { nodes: [node.port], host: '', env, ...edit && { edit } })
    for (const host of hosts) {
      const at = ('TIDINGS_TLS_PORT' in env ? front.url : front.tlsUrl).replace('127.0.0.1', host)
      t.equal((await ask(`${at}/docs/json`)).status, 200, at)
    }
  }
})

t.test('TLS, of a cookie over HTTPS: the page\'s own origin is known', async (t) => {
  const front = await startFront(t, { nodes: [node.port] })
  const headers = (origin: string) => ({ host: 'app.example', cookie: `tidings_token=${token}`, origin })
  t.equal((await ask(`${front.tlsUrl}/api/notifications/tickets`, { method: 'POST', headers: headers('https://app.example') })).status, 201)
  t.equal((await ask(`${front.tlsUrl}/api/notifications/tickets`, { method: 'POST', headers: headers('http://app.example') })).status, 403)
})

t.test('TLS, where a balancer has ended it already: served as it comes, not sent elsewhere', async (t) => {
  const front = await startFront(t, { nodes: [node.port] })
  t.equal((await ask(`${front.url}/docs/json`, { headers: { 'x-forwarded-proto': 'https' } })).status, 200)
})

t.test('TLS, with a certificate that is given, uses it; with half of one, does not start and says why', async (t) => {
  const folder = makeFolder(t)
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=app.example', '-days', '2',
    '-keyout', join(folder, 'tls.key'), '-out', join(folder, 'tls.crt')], { stdio: 'ignore' })
  chmodSync(join(folder, 'tls.key'), 0o644)
  const front = await startFront(t, { nodes: [node.port], env: { TIDINGS_CERTIFICATES: folder } })
  t.match(await ask(`${front.tlsUrl}/docs/json`), { status: 200, subject: 'app.example' })
  rmSync(join(folder, 'tls.key'))
  await t.rejects(startFront(t, { nodes: [node.port], env: { TIDINGS_CERTIFICATES: folder } }), /tls\.key cannot be read: both tls\.crt and tls\.key must be there/)
  await t.rejects(startFront(t, { nodes: [node.port], env: { TIDINGS_TLS_PORT: 'yes' } }), /TIDINGS_TLS_PORT must be the number of a port, not "yes"/)
  await t.rejects(startFront(t, { nodes: [node.port], env: { TIDINGS_TLS_PORT: '0' } }), /TIDINGS_TLS_PORT must be the number of a port, not "0"/)
  // As docker-compose.yml hands it on: a folder that was named and is empty is no reason for a certificate of our own.
  await t.rejects(startFront(t, { nodes: [node.port], env: { TIDINGS_CERTIFICATES: makeFolder(t), CERTIFICATES_FROM: './certificates' } }),
    /TIDINGS_CERTIFICATES is \.\/certificates, but no tls\.crt and no tls\.key is there/)
  await t.rejects(startFront(t, { nodes: [node.port], env: { TIDINGS_BALANCERS: '10.0.0.5; deny all' } }), /TIDINGS_BALANCERS must be addresses or CIDR ranges, comma-separated, not "10\.0\.0\.5; deny all"/)
})

t.test('HTTP/2, with a cookie or a URL that no node takes: a stream is told to come again, another route says what it is, and the connection stays', async (t) => {
  const front = await startFront(t, { nodes: [node.port] })
  const session = http2.connect(front.tlsUrl, { rejectUnauthorized: false })
  t.teardown(() => { session.destroy() })
  const get = async (path: string, cookie = ''): Promise<string> => await new Promise((resolve, reject) => {
    let text = ''
    const request = session.request({ ':path': path, ...(cookie !== '' && { cookie }) })
    request.setEncoding('utf8').on('response', (headers) => { text = `${headers[':status']} ` }).on('data', (piece: string) => { text += piece })
    request.on('end', () => { resolve(text) }).on('error', reject).end()
  })
  const stream = '/api/notifications/subscribe'
  for (const bytes of [17_000, 40_000]) {
    const large = 'x'.repeat(bytes)
    for (const answer of [await get(stream, `a=${large}`), await get(`${stream}?x=${large}`)]) t.match(answer, /^200 retry: \d+\nevent: ping\ndata: \{\}\n\n$/)
    for (const answer of [await get('/docs/json', `a=${large}`), await get(`/docs/json?x=${large}`)]) t.match(answer, /^431 .*"code":"TIDINGS_HEADERS_TOO_LARGE"/)
  }
  t.match(await get('/docs/json'), /^200 /, 'on the same connection')
  t.match(session.remoteSettings, { maxConcurrentStreams: 128 }, 'docs/deployment.md has this number')
})

t.test('TLS, not asked for: none, and no redirect', async (t) => {
  const front = await startFront(t, { nodes: [node.port], env: { TIDINGS_TLS_PORT: '' } })
  t.equal((await ask(`${front.url}/docs/json`)).status, 200)
  await t.rejects(ask(`${front.tlsUrl}/docs/json`))
})

t.test('balancers, named: what they say of the client\'s address counts, and what others say does not', async (t) => {
  const limited = await startNode(t, { env: { ...issuer.env, TRUST_PROXY: 'loopback', CONNECTS_PER_MINUTE_PER_ADDRESS: '1' } })
  const connects = async (balancers: string): Promise<(string | undefined)[]> => {
    const front = await startFront(t, { nodes: [limited.port], env: { TIDINGS_TLS_PORT: '', TIDINGS_BALANCERS: balancers } })
    const answers = []
    for (const address of ['198.51.100.1', '198.51.100.2', '198.51.100.1']) {
      const answer = await fetch(`${front.url}/api/notifications/subscribe`, { headers: { authorization: `Bearer ${token}`, 'x-forwarded-for': address } })
      const reader = answer.body!.getReader()
      let text = ''
      while (!/event: (sync|ping)\n/.test(text)) text += Buffer.from((await reader.read()).value ?? []).toString()
      await reader.cancel()
      answers.push(/event: (sync|ping)\n/.exec(text)?.[1])
    }
    return answers
  }
  t.same(await connects('10.0.0.0/8, 127.0.0.1'), ['sync', 'sync', 'ping'], 'each address has a stream, the third is one too many')
  t.same(await connects('10.0.0.0/8'), ['sync', 'ping', 'ping'], 'all are the one that they come from')
})
