// docker-compose.yml with TLS by one setting.
import https from 'node:https'
import t from 'tap'
import { freePort } from '../fixtures/process.ts'
import { createIssuer } from '../fixtures/tokens.ts'
import { eventually, startStack } from './stack.ts'

t.setTimeout(600_000)

t.test('docker-compose.yml, with TIDINGS_TLS_PORT: TLS and HTTP/2 with a certificate that was made, HTTP is sent there', async (t) => {
  const issuer = createIssuer()
  const port = await freePort()
  const stack = await startStack(t, { ...issuer.env, TIDINGS_TLS_PORT: String(port) })
  const answer = await fetch(`${stack.url}/docs/json?x=1`, { redirect: 'manual' })
  t.match({ status: answer.status, location: answer.headers.get('location') }, { status: 308, location: `https://127.0.0.1:${port}/docs/json?x=1` })
  const ask = async (path: string) => await new Promise<{ status: number | undefined, hsts: unknown, issuer: unknown }>((resolve, reject) => {
    https.get({ host: '127.0.0.1', port, path, rejectUnauthorized: false, agent: false }, (response) => {
      const { issuer: by } = (response.socket as import('node:tls').TLSSocket).getPeerCertificate()
      response.resume()
      resolve({ status: response.statusCode, hsts: response.headers['strict-transport-security'], issuer: by.CN })
    }).on('error', reject)
  })
  // nginx has just started, and looks the nodes up in its first moment.
  await eventually('nginx to know the nodes', async () => { if ((await ask('/docs/json')).status !== 200) throw new Error('not yet') })
  t.match(await ask('/docs/json'), { status: 200, hsts: /^max-age=\d+$/, issuer: 'localhost' })
  t.match(await ask('/api/notifications/subscribe'), { status: 401, hsts: /^max-age=\d+$/ })
  t.match(await stack.compose('exec', '-T', 'nginx', 'sh', '-c', 'cat /tmp/tidings.d/server-tls.conf'), /http2/)
  t.match(await stack.compose('--profile', 'observe', 'config', '--services'), /prometheus\ngrafana\ntraces/, 'and compose takes the profile that watches it')
})
