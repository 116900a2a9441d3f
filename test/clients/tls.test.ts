// The publishing programs of examples/clients, where Redis speaks TLS with a certificate of a private authority.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { makeAuthority } from '../fixtures/certificate.ts'
import { startNode } from '../fixtures/node.ts'
import { makeFolder } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer } from '../fixtures/tokens.ts'
import { publishers } from './programs.ts'
import { each, run } from './run.ts'

const speaksNoTls = ['Rust', 'C#']
/** redis-cli takes a certificate of any host. */
const looksAtNoName = ['Shell']

t.test('publishers, with rediss://: they publish as docs/clients.md says, and never to a host that the certificate does not name', async (t) => {
  const tls = makeAuthority(t)
  const redis = await startRedis(t, { tls, args: ['--bind', '127.0.0.1', '127.0.0.2'] })
  const issuer = createIssuer()
  const { url } = await startNode(t, { env: { ...issuer.env, REDIS_URL: redis.url, NODE_EXTRA_CA_CERTS: tls.caFile } })
  const store = join(makeFolder(t), 'authorities')
  execFileSync('keytool', ['-importcert', '-noprompt', '-file', tls.caFile, '-alias', 'test', '-keystore', store, '-storepass', 'changeit'], { stdio: 'pipe' })
  const trusted = {
    SSL_CERT_FILE: tls.caFile,
    NODE_EXTRA_CA_CERTS: tls.caFile,
    JAVA_TOOL_OPTIONS: `-Djavax.net.ssl.trustStore=${store} -Djavax.net.ssl.trustStorePassword=changeit`
  }
  const other = redis.url.replace('127.0.0.1', '127.0.0.2')
  const cases = [['its host', redis.url, trusted], ['another host', other, trusted], ['an unknown authority', redis.url, {}]] as const
  const all = Object.entries(publishers).flatMap(([name, line]) => cases.map((one) => ({ name, line, one })))
  await each(all, async ({ name, line, one: [what, REDIS_URL, env] }) => {
    const { code, out, err } = await run(line, { ...issuer.env, ...env, TIDINGS_BASE: url, TIDINGS_TO: 'user:42', REDIS_URL })
    const good = !speaksNoTls.includes(name) && (what === 'its host' || (what === 'another host' && looksAtNoName.includes(name)))
    t.ok(good ? code === 0 : code !== 0 && code !== null && out === '', `${name}, ${what}: ${code} ${out} ${err.slice(0, 500)}`)
    if (speaksNoTls.includes(name)) t.match(err, /TLS/, name)
  })
})
