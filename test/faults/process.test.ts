// How a node is really run: its log's disk full, signals while it starts and from a terminal, behind npm, and with settings that are wrong.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { startNode } from '../fixtures/node.ts'
import { bareEnvironment, freePort, spawnChild, type Child } from '../fixtures/process.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { eventually, type Scope } from '../fixtures/wait.ts'

const root = dirname(dirname(import.meta.dirname))
const issuer = createIssuer()

/** A node through a shell line, in which `$NODE` is the program; its standard output may go anywhere. */
async function startByShell (t: Scope, line: string, env: Record<string, string> = {}): Promise<{ child: Child, url: string }> {
  const port = await freePort()
  const child = spawnChild(t, 'sh', ['-c', line], { cwd: root, env: { ...bareEnvironment, NODE: process.execPath, ...issuer.env, PORT: String(port), DRAIN_SECONDS: '1', ...env } })
  const url = `http://127.0.0.1:${port}`
  await eventually(async () => (await fetch(`${url}/livez`)).status, (status) => status === 200, { what: `is the node at ${url} alive`, describe: () => child.lines.join('\n') })
  return { child, url }
}

async function metric (url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Number(new RegExp(`^${name}\\{[^}]*\\} (\\S+)`, 'm').exec(text)?.[1])
}

for (const [what, line] of [
  ['on a full disk', 'exec "$NODE" src/server.ts > /dev/full'],
  ['into a pipe whose reader has gone', '{ "$NODE" src/server.ts & echo $! >&2; wait; } | true']
] as const) {
  t.test(`log, ${what}: the node serves, says so in its metrics, and ends at SIGTERM`, async (t) => {
    const { child, url } = await startByShell(t, line, { LOG_LEVEL: 'debug' })
    const client = connect(t, { url, token: issuer.token({ sub: 'ann' }) })
    await client.live()
    const answer = await fetch(`${url}/api/notifications`, {
      method: 'POST', headers: { authorization: `Bearer ${issuer.token({ sub: 'shop', scope: PUBLISH })}`, 'content-type': 'application/json' }, body: '{"to":"user:ann","data":"hello"}'
    })
    t.equal(answer.status, 202)
    t.equal((await client.next()).json, 'hello')
    await eventually(async () => await metric(url, 'tidings_log_write_errors_total'), (failed) => failed > 0, { what: 'a failed write in the metrics' })
    const pid = Number(child.lines.find((text) => /^\d+$/.test(text)) ?? child.pid)
    process.kill(pid, 'SIGTERM')
    t.equal((await child.exited).code, 0)
    t.equal((await client.ended(1)).ending, 'end', 'its streams were drained')
  })
}

t.test('SIGTERM, before a node has read what it is made of, ends it with 0, and it never listens', async (t) => {
  const tell = `import { registerHooks } from 'node:module'
    registerHooks({ load (url, context, next) { if (url.endsWith('/start.ts')) console.log('reads start.ts'); return next(url, context) } })`
  const child = spawnChild(t, process.execPath, ['--import', `data:text/javascript,${encodeURIComponent(tell)}`, 'src/server.ts'], {
    cwd: root, env: { ...bareEnvironment, ...issuer.env, PORT: '0' }
  })
  await child.waitForLine(/reads start/)
  child.signal('SIGTERM')
  t.same(await child.exited, { code: 0, signal: null })
  t.notOk(child.lines.some((line) => line.includes('listening')), 'it never listened')
})

t.test('SIGHUP, at any time, is not the end', async (t) => {
  const node = await startNode(t, { env: issuer.env })
  const client = connect(t, { url: node.url, token: issuer.token({ sub: 'ann' }) })
  await client.live()
  node.signal('SIGHUP')
  await node.waitForLine(/SIGHUP: settings are read when a node starts/)
  t.equal((await fetch(`${node.url}/livez`)).status, 200)
  t.equal(client.state, 'open')
  t.same(await node.stop(), { code: 0, signal: null })
})

t.test('SIGUSR1 opens no debugger, as npm start and the image run a node', async (t) => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { start: string } }
  const image = /^CMD (\[.*\])$/m.exec(readFileSync(join(root, 'Dockerfile'), 'utf8'))![1]!
  t.equal(scripts.start, `exec ${(JSON.parse(image) as string[]).join(' ')}`)
  const { child, url } = await startByShell(t, scripts.start.replace('node ', '"$NODE" '))
  child.signal('SIGUSR1')
  t.equal((await fetch(`${url}/livez`)).status, 200)
  child.signal('SIGTERM')
  t.equal((await child.exited).code, 0)
  t.same(child.lines.filter((line) => /debugger/i.test(line)), [])
})

t.test('SIGTERM, to npm start: the node drains, npm ends with 0, and nobody is left behind', async (t) => {
  const { child, url } = await startByShell(t, 'exec npm start')
  const client = connect(t, { url, token: issuer.token({ sub: 'ann' }), reconnect: false })
  await client.live()
  child.signal('SIGTERM')
  t.equal((await client.ended(1)).ending, 'end')
  t.equal((await child.exited).code, 0)
  t.ok(child.lines.some((line) => line.includes('"msg":"closed"')))
  await t.rejects(fetch(`${url}/livez`), 'nobody listens there any more')
})

t.test('Ctrl-C, which reaches the node twice behind npm start, from the terminal and from npm: it drains', async (t) => {
  const { child, url } = await startByShell(t, 'exec npm start')
  const clients = Array.from({ length: 6 }, (_, i) => connect(t, { url, token: issuer.token({ sub: `${i}` }), reconnect: false }))
  for (const client of clients) await client.live()
  process.kill(-child.pid, 'SIGINT')
  for (const client of clients) t.match(await client.ended(1), { ending: 'end', retries: [Number, Number] })
  t.equal((await child.exited).code, 0)
  t.ok(child.lines.some((line) => line.includes('"msg":"closed"')))
})

for (const [what, env, said] of [
  ['a password with a bare %', { REDIS_URL: 'redis://:100%@127.0.0.1:6379' }, [/^ {2}- REDIS_URL has a % in its user or password/]],
  ['no Redis in production', { NODE_ENV: 'production' }, [/^ {2}- REDIS_URL must be set where NODE_ENV is production/]],
  ['many faults at once', { REDIS_URL: 'redis://h/x', PORT: '1e3', REDIS_PREFIX: 'a:b', TRUST_PROXY: '0.0.0.0/0', JWT_SECRET: 'short' },
    [/- REDIS_URL /, /- PORT /, /- REDIS_PREFIX /, /- TRUST_PROXY: /, /- JWT_SECRET /]],
  ['a required one misspelt', { JWT_SECRET: '', JWT_SECERT: 'x'.repeat(32) }, [/exactly one of JWT_SECRET,/, /- JWT_SECERT is not a setting .* did you mean JWT_SECRET\?/]]
] as const) {
  t.test(`settings, with ${what}: the node says what is wrong and ends with 1, without a stack trace`, async (t) => {
    const child = spawnChild(t, process.execPath, ['src/server.ts'], { cwd: root, env: { ...bareEnvironment, ...issuer.env, PORT: '0', ...env } })
    t.same(await child.exited, { code: 1, signal: null })
    for (const sentence of said) t.ok(child.lines.some((line) => sentence.test(line)), String(sentence))
    t.notOk(child.lines.some((line) => /^\s+at |Error:/.test(line)), child.lines.join('\n'))
  })
}

t.test('settings, misspelt: the node starts and warns, with the name that was meant; the embedded broker can be asked for', async (t) => {
  const node = await startNode(t, { env: { ...issuer.env, REDIS_URL: 'memory:', NODE_ENV: 'production', HEARTBEATSECONDS: '5', REDIS_URI: 'redis://redis' } })
  // Whatever else stands in the environment of those who run the tests.
  const warned = node.logs.filter(({ level, setting }) => level === 40 && ['HEARTBEATSECONDS', 'REDIS_URI'].includes(setting))
  t.same(warned.map(({ setting, nearest }) => [setting, nearest]).sort(), [['HEARTBEATSECONDS', 'HEARTBEAT_SECONDS'], ['REDIS_URI', 'REDIS_URL']])
  t.match(warned[0]!.msg, /is not a setting and has no effect; did you mean /)
  t.ok(node.lines.some((line) => line.includes('REDIS_URL is memory:, so the broker is embedded')))
})

t.test('arguments, which a node does not take: it starts and says so, and does not repeat them', async (t) => {
  const args = ['src/server.ts', '--port', '4000', '--jwt-secret=secret in an argument']
  const child = spawnChild(t, process.execPath, args, { cwd: root, env: { ...bareEnvironment, ...issuer.env, PORT: '0' } })
  await eventually(async () => child.lines.some((line) => line.includes('"msg":"Server listening')), (isListening) => isListening, { what: 'does the node listen' })
  t.ok(child.lines.some((line) => line.includes('"level":40') && line.includes('a node takes no arguments')))
  t.notOk(child.lines.some((line) => line.includes('secret in an argument')))
})
