// The image's health check, word for word, beside a real node in every environment that the settings allow.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { makeCertificate } from './fixtures/certificate.ts'
import { startNode } from './fixtures/node.ts'
import { bareEnvironment, freePort, spawnChild } from './fixtures/process.ts'
import { createIssuer } from './fixtures/tokens.ts'

const root = join(import.meta.dirname, '..')
const [, json = '[]'] = /^HEALTHCHECK [^[]*CMD (\[.*\])$/m.exec(readFileSync(join(root, 'Dockerfile'), 'utf8')) ?? []
const [program = '', ...args] = JSON.parse(json) as string[]

async function check (env: Record<string, string>): Promise<number | null> {
  const child = spawnChild(t, process.execPath, args, { cwd: root, env: { ...bareEnvironment, ...env } })
  return (await child.exited).code
}

t.test('health check, of a node that is alive, is healthy whatever address and port the settings say, and whatever proxy', async (t) => {
  t.equal(program, 'node')
  const proxy = http.createServer((_, response) => { response.writeHead(403).end('no') }).listen(0, '127.0.0.1')
  t.teardown(() => { proxy.close() })
  await new Promise((resolve) => { proxy.once('listening', resolve) })
  const url = `http://127.0.0.1:${(proxy.address() as { port: number }).port}`
  const { env: keys } = createIssuer()
  for (const env of [
    { HOST: '0.0.0.0' },
    { HOST: '127.0.0.1' },
    { HOST: ' 127.0.0.1 ' },
    { HOST: '' },
    { HOST: '::' },
    { HOST: '::1' },
    { HOST: 'localhost' },
    { HOST: '127.0.0.2' },
    { HOST: '0.0.0.0', ...makeCertificate(t).env },
    { HOST: '0.0.0.0', OPS_PORT: String(await freePort()), ...makeCertificate(t).env },
    { HOST: '0.0.0.0', PROXY_PROTOCOL: 'on', TRUST_PROXY: 'loopback' },
    { HOST: '0.0.0.0', PROXY_PROTOCOL: 'on', TRUST_PROXY: '10.0.0.0/8' },
    { HOST: '::', PROXY_PROTOCOL: 'on', TRUST_PROXY: 'loopback', ...makeCertificate(t).env },
    { HOST: '0.0.0.0', HTTP_PROXY: url, http_proxy: url, NODE_USE_ENV_PROXY: '1' }
  ]) {
    const port = await freePort()
    const settings = { ...keys, ...env, PORT: ` ${port} ` }
    const node = spawnChild(t, process.execPath, ['src/server.ts'], { cwd: root, env: { ...bareEnvironment, ...settings } })
    await node.waitForLine(/Server listening/)
    t.equal(await check(settings), 0, JSON.stringify(env))
    await node.stop()
    t.equal(await check(settings), 1, `${JSON.stringify(env)}, when it is gone`)
  }
})

// Linux, as in every image: its tables are read.
t.test('health check, of a node with PORT=0, finds the port that it was given', { skip: process.platform !== 'linux' && 'reads /proc' }, async (t) => {
  const settings = { ...createIssuer().env, HOST: '0.0.0.0', PORT: '0', NODE_NAME: `health-${process.pid}` }
  const node = spawnChild(t, process.execPath, ['src/server.ts'], { cwd: root, env: { ...bareEnvironment, ...settings } })
  await node.waitForLine(/Server listening/)
  t.equal(await check(settings), 0)
  await node.stop()
  t.equal(await check(settings), 1)
})

t.test('health check, of a node that stands still, is not healthy, and says so in time', async (t) => {
  const issuer = createIssuer()
  const node = await startNode(t, { env: issuer.env })
  node.signal('SIGSTOP')
  const startedAtMs = performance.now()
  t.equal(await check({ ...issuer.env, PORT: String(node.port) }), 1)
  t.ok(performance.now() - startedAtMs < 5000, 'before Docker gives up (--timeout=5s)')
  node.signal('SIGCONT')
  t.equal(await check({ ...issuer.env, PORT: String(node.port) }), 0)
})

t.test('health check, costs little: it reads no more than it needs', async (t) => {
  const { status, stdout } = spawnSync(process.execPath, ['-e', `
    import { registerHooks } from 'node:module'
    registerHooks({ load (url, context, next) { if (url.startsWith('file:')) console.log(url); return next(url, context) } })
    process.exit = () => {}
    await import('./src/health.ts')`], { cwd: root, env: { ...bareEnvironment, PORT: '1' }, encoding: 'utf8' })
  t.equal(status, 0)
  t.same(stdout.trim().split('\n').map((url) => url.replace(/.*\/src\//, '')).sort(), ['environment.ts', 'health.ts'])
})
