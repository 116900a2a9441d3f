// npm run why: what it prints for whoever asks, and how it refuses.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import t from 'tap'
import { startService } from './http/service.ts'

const service = await startService(t)
const { body } = await service.publish('user:42', 1)
const id = body.notifications[0].id

async function run (args: string[], token = service.operator): Promise<{ code: number, out: string, err: string }> {
  const env = { ...process.env, TIDINGS_TOKEN: token }
  return await promisify(execFile)(process.execPath, ['scripts/why.ts', ...args], { env }).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
    (error: { code: number, stdout: string, stderr: string }) => ({ code: error.code, out: error.stdout, err: error.stderr })
  )
}

t.test('why, for a notification that stands in a log, prints verdict, sentence and evidence', async (t) => {
  const { code, out } = await run(['--user', '42', '--id', id, '--url', service.url])
  t.equal(code, 0)
  t.match(out, /^nobody-online: No stream of 42 was open then/)
  t.match(out, /\naddress {4}user:42 {2}kept\n/)
  const { out: json } = await run(['--user', '42', '--id', id, '--url', service.url, '--json'])
  t.match(JSON.parse(json), { verdict: 'nobody-online', addresses: [{ to: 'user:42', state: 'kept' }] })
})

t.test('why, for a group whose name would steer the terminal: such characters are escaped, as in the log', async (t) => {
  const group = 'Sales\u202edeppord\u2028verdict: written\u200f'
  const joined = await fetch(new URL(`/api/users/steered/groups/${encodeURIComponent(group)}`, service.url), {
    method: 'PUT', headers: { authorization: `Bearer ${service.operator}` }
  })
  t.equal(joined.status, 200)
  const { body } = await service.publish(`group:${group}`, 1)
  for (const json of [[], ['--json']]) {
    const { out, err } = await run(['--user', 'steered', '--id', body.notifications[0].id, '--url', service.url, ...json])
    t.match(`${out}${err}`, String.raw`group:Sales\u202edeppord\u2028verdict: written\u200f`)
    t.notMatch(`${out}${err}`, /[\p{Bidi_Control}\u2028]/u)
  }
})

t.test('why, of a service mounted under a path, asks there', async (t) => {
  const asked: string[] = []
  const front = http.createServer((request, response) => {
    asked.push(request.url!)
    response.end(JSON.stringify({ verdict: 'read', sentence: 'By 4/2.', publishedAt: '', addresses: [], streams: [], receipts: 'all' }))
  }).listen(0, '127.0.0.1')
  t.teardown(() => { front.close() })
  await once(front, 'listening')
  const origin = `http://127.0.0.1:${(front.address() as AddressInfo).port}`
  for (const url of [origin, `${origin}/`, `${origin}/tidings`, `${origin}/tidings/?a=1#b`]) {
    t.match((await run(['--user', '4/2', '--id', id, '--url', url])).out, /^read: By 4/)
  }
  t.same(asked, ['', '', '/tidings', '/tidings'].map((path) => `${path}/api/users/4%2F2/why?id=${id}`))
})

t.test('why, asked wrongly, says what to do and ends with 1', async (t) => {
  for (const [args, said, token] of [
    [['--user', '42'], /--user and --id are needed/], [['--wrong'], /Unknown option/], [['--user', '42', '--id', 'x', '--url', service.url], /400 TIDINGS_BAD_POSITION/],
    [['--user', '42', '--id', id, '--url', 'nowhere'], /must be a URL/], [['--user', '42', '--id', id], /TIDINGS_TOKEN is not set/, ''],
    [['--user', '42', '--id', id, '--url', 'http://127.0.0.1:9'], /does not answer/], [['--user', '42', '--id', id, '--url', service.url], /403 TIDINGS_SCOPE_MISSING/, service.token({ sub: '42' })]
  ] as Array<[string[], RegExp, string?]>) {
    const { code, err } = await run(args, token)
    t.equal(code, 1)
    t.match(err, said)
  }
  t.match((await run(['--help'])).out, /^Usage: TIDINGS_TOKEN=/)
})

t.test('why, with more than a token in TIDINGS_TOKEN, as "npm run token" without -s prints: says so, and shows no token', async (t) => {
  const { code, out, err } = await run(['--user', '42', '--id', id, '--url', service.url], `\n> tidings@0.1.0 token\n> node scripts/token.ts\n\n${service.operator}`)
  t.equal(code, 1)
  t.match(err, /^TIDINGS_TOKEN must be a token and nothing else/)
  t.notOk(`${out}${err}`.includes(service.operator))
  t.equal((await run(['--user', '42', '--id', id, '--url', service.url], ` ${service.operator}\n`)).code, 0, 'blanks around it')
})

t.test('why, of what is no node: says that it answers, and what it is not', async (t) => {
  const page = http.createServer((request, response) => { response.writeHead(502).end(request.url!.includes('/users/json') ? 'null' : '<html>Bad Gateway</html>') }).listen(0, '127.0.0.1')
  t.teardown(() => { page.close() })
  await once(page, 'listening')
  const url = `http://127.0.0.1:${(page.address() as AddressInfo).port}`
  for (const user of ['42', 'json']) {
    const { code, err } = await run(['--user', user, '--id', id, '--url', url])
    t.equal(code, 1)
    t.equal(err, `${url} answers 502, but not as a node does; is --url that of one, or of what stands in front?\n`)
  }
  t.match((await run(['--user', '42', '--id', id, '--url', 'ftp://127.0.0.1'])).err, /must be a URL/)
  t.equal((await run(['--user', '42', '--id', id, '--url', url.replace('//', '//admin:pass-of-the-proxy@')])).err, '--url must have no user and no password; ask a node itself.\n')
})
