// What stands beside src/ must say what src/ says: the settings in docker-compose.yml, the errors that nginx.conf makes itself.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { parse } from 'yaml'
import { configSchema, parseConfig } from '../src/config.ts'
import { errorTable } from '../src/errors.ts'
import { makeFolder, spawnChild } from './fixtures/process.ts'

const root = join(import.meta.dirname, '..')
/** Without what varies from line to line. */
const words = (text: string) => text.replaceAll(/\s+/g, ' ')
const read = (name: string) => readFileSync(join(root, name), 'utf8')

t.test('docker-compose.yml, settings: every one can be given, none is unknown', async (t) => {
  const [, block = ''] = /^ {2}node:\n(?: {4}.*\n)*? {4}environment:\n((?: {6}.*\n)+)/m.exec(read('docker-compose.yml')) ?? []
  const passed = [...block.matchAll(/^ {6}([A-Z_]+):/gm)].map(([, name]) => name!).filter((name) => !name.startsWith('OTEL_'))
  // nginx stands in front, and does what a node could do for itself. The image sets the address, a node finds its own name, and the other two keys take JWT_SECRET's line, as its comment says.
  // A file must be mounted, so whoever keeps a secret in one writes both lines.
  const files = Object.keys(configSchema.properties).filter((name) => name.endsWith('_FILE'))
  const left = ['HOST', 'PORT', 'NODE_NAME', 'REUSE_PORT', 'OPS_PORT', 'PROXY_PROTOCOL', 'CONNECTIONS_PER_ADDRESS', 'REQUESTS_PER_MINUTE_PER_ADDRESS', 'JWT_PUBLIC_KEY', 'JWKS_URL', ...files]
  t.same([...passed, ...left].sort(), Object.keys(configSchema.properties).sort())
  for (const name of ['JWT_PUBLIC_KEY', 'JWKS_URL']) t.match(block, name)
})

t.test('docker-compose.yml, stop_grace_period: longer than the drain', async (t) => {
  const [, seconds] = /stop_grace_period: (\d+)s/.exec(read('docker-compose.yml')) ?? []
  t.ok(Number(seconds) > parseConfig({ JWT_SECRET: 'x'.repeat(32) }, 'node').DRAIN_SECONDS + 5)
})

t.test('nginx.conf, connections of publishes: closed when idle before a node that ends closes them', async (t) => {
  const [, seconds] = /upstream tidings \{[^}]*keepalive_timeout (\d+)s;/.exec(read('nginx.conf')) ?? []
  const [, milliseconds] = /const IDLE_MS = (\d+)/.exec(read('src/end.ts')) ?? []
  t.ok(Number(seconds) * 1000 < Number(milliseconds))
  t.match(words(read('docs/deployment.md')), `its idle connections to a node within ${seconds} s`)
})

interface Service { command?: string[], logging?: object, mem_limit?: string, pids_limit?: number, restart?: string }
const services = (file: string): Array<[string, Service]> => Object.entries((parse(read(file), { merge: true }) as { services: Record<string, Service> }).services)

t.test('docker-compose.yml, every service: what it says, takes and starts has an end', async (t) => {
  for (const file of ['docker-compose.yml', 'docker-compose.cluster.yml']) {
    for (const [name, { logging, mem_limit: memory, pids_limit: processes }] of services(file)) {
      // In the second file these two are only changed.
      if (file === 'docker-compose.cluster.yml' && ['redis', 'node'].includes(name)) continue
      t.match(logging, { driver: 'json-file', options: { 'max-size': '20m', 'max-file': '5' } }, `${file}, ${name}`)
      t.ok(memory !== undefined && processes! > 0, `${file}, ${name}: limits`)
    }
  }
})

t.test('docker-compose.yml, Redis: process 1, which gets the signal to end; with a REDIS_PASSWORD that a URL would change, it does not start', async (t) => {
  for (const file of ['docker-compose.yml', 'docker-compose.cluster.yml']) {
    const [, { command = [] }] = services(file).find(([name]) => name === 'redis')!
    const script = command.at(-1)!.replaceAll('$$', '$').replace('docker-entrypoint.sh redis-server -', () => "sh -c 'echo $$; cat'")
    const start = (password: string) => spawnSync('sh', ['-c', script], { env: { PATH: process.env['PATH'], REDISCLI_AUTH: password, MAXMEMORY: '1mb' }, encoding: 'utf8' })
    const started = start('aZ0._~-')
    t.match(started, { status: 0, stdout: `${started.pid}\nrequirepass aZ0._~-\n` })
    for (const password of ['a b', 'a%b', 'a#b', 'a@b', 'a/b', 'a:b', 'a$b', 'a"b', 'ä']) {
      t.match(start(password), { status: 1, stdout: /^$/, stderr: /REDIS_PASSWORD: only letters, digits and \. _ ~ - are taken/ }, `${file}, ${password}`)
    }
  }
})

t.test('docker-compose.cluster.yml, a Cluster that does not get well: given up, with what its nodes say', async (t) => {
  const [, { command = [] }] = services('docker-compose.cluster.yml').find(([name]) => name === 'cluster')!
  const script = command.at(-1)!.replaceAll('$$', '$')
  const folder = makeFolder(t)
  const start = (getent: string) => {
    const programs = { getent, sleep: ':', 'redis-cli': 'case $* in *INFO*) echo cluster_state:fail ;; *NODES*) echo "who they are" ;; esac' }
    for (const [name, text] of Object.entries(programs)) writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
    return spawnSync('sh', ['-ec', script], { env: { PATH: `${folder}:${process.env['PATH']}` }, encoding: 'utf8' })
  }
  t.match(start('echo "10.0.0.1 $2"'), { status: 1, stderr: /did not get well in 30 s[^]*who they are/ })
  t.match(start('[ "$2" = redis-4 ] || echo "10.0.0.1 $2"'), { status: 1, stderr: /redis-4 has no address/ })
})

t.test('ops/compose/roll.sh, asked for help or for what it does not know: says so, and begins nothing', async (t) => {
  const call = (...args: string[]) => spawnSync(join(root, 'ops/compose/roll.sh'), args, { env: { ...process.env, COMPOSE: 'echo begun:' }, encoding: 'utf8' })
  for (const word of ['--help', '-h']) t.match(call(word), { status: 0, stdout: /^Replaces the nodes .*\n\n {2}ops\/compose\/roll\.sh .*COMPOSE is the command[^\n]*\n$/s, stderr: '' }, word)
  for (const args of [['--nobuild'], ['--no-build', 'node'], ['help']]) t.match(call(...args), { status: 2, stdout: '', stderr: `Unknown: ${args.join(' ')}. It takes` }, args.join(' '))
  t.match(call().stdout, /^begun: build node\n/)
  t.match(call('--no-build').stdout, /^begun: up /, 'no build')
})

t.test('ops/compose/roll.sh, a new node that takes the question and never answers: not ready, after two seconds', async (t) => {
  const silent = http.createServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { silent.closeAllConnections(); silent.close() })
  const [, script = ''] = /node -e "(.*)" 2> /.exec(read('ops/compose/roll.sh'))!
  const child = spawnChild(t, process.execPath, ['-e', script.replace(':3000', `:${(silent.address() as AddressInfo).port}`)])
  t.match(await child.exited, { code: 1 })
})

t.test('ops/compose/roll.sh, interrupted or with a stopped node: as many nodes run as before', async (t) => {
  const [folder, nodes] = [makeFolder(t), makeFolder(t)]
  const programs = {
    // Containers are files that say how they are.
    compose: `case $1 in ps) ls ${nodes} ;; up) echo fresh > ${nodes}/new-$$ ;; esac`,
    docker: `case $1 in exec) [ -e ${folder}/ready ] ;; stop) echo stopped > ${nodes}/$2 ;; rm) rm -f ${nodes}/$2 ;; inspect) case $3 in *Status*) grep -q stopped ${nodes}/$4 && echo exited || echo running ;; *) echo "/$4" ;; esac ;; esac`,
    sleep: 'exec /bin/sleep 0.2'
  }
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  for (const name of ['a', 'b']) writeFileSync(join(nodes, name), 'old')
  writeFileSync(join(nodes, 'c'), 'stopped')
  const roll = (stdout: 'ignore' | 'pipe' = 'ignore') => spawn(join(root, 'ops/compose/roll.sh'), ['--no-build'], { env: { PATH: `${folder}:${process.env['PATH']}`, COMPOSE: 'compose' }, stdio: ['ignore', stdout, 'ignore'] })

  const interrupted = roll()
  const ended = once(interrupted, 'exit')
  while (!readdirSync(nodes).some((name) => name.startsWith('new-'))) await setTimeout(5)
  interrupted.kill('SIGTERM')
  t.same(await ended, [1, null])
  t.same(readdirSync(nodes), ['a', 'b'])

  writeFileSync(join(nodes, 'c'), 'stopped')
  writeFileSync(join(folder, 'ready'), '')
  t.same(await once(roll(), 'exit'), [0, null])
  t.same(readdirSync(nodes).map((name) => readFileSync(join(nodes, name), 'utf8')), ['fresh\n', 'fresh\n'])

  // Until the second one waits, no new node is ready.
  unlinkSync(join(folder, 'ready'))
  const both = [roll()]
  while (readdirSync(nodes).length < 3) await setTimeout(5)
  both.push(roll('pipe'))
  const ends = Promise.all(both.map((one) => once(one, 'exit')))
  t.match(String((await once(both[1]!.stdout!, 'data'))[0]), /^Another roll\.sh is at work/)
  writeFileSync(join(folder, 'ready'), '')
  t.same(await ends, [[0, null], [0, null]], 'two at the same time')
  t.equal(readdirSync(nodes).length, 2)
})

t.test('.gitattributes: scripts keep their line ends where git would change them', async (t) => {
  t.match(read('.gitattributes'), /^\* text=auto eol=lf$/m)
  for (const name of ['ops/nginx/start.sh', 'ops/compose/roll.sh', 'nginx.conf', 'docker-compose.yml', 'client/dist/tidings.js']) t.notMatch(read(name), /\r/, name)
})

t.test('nginx.conf, outside of compose: what must be changed is said at its head and in the README', async (t) => {
  const servers = [...read('nginx.conf').matchAll(/^ *upstream \w+ \{[^}]*?^ *server (\S+)/gm)].map(([, server]) => server!)
  t.same(servers, ['node:3000', 'node:3000'])
  const [head] = read('nginx.conf').split('\n\n')
  const [bullet] = /^- \*\*Run a node\*\*[^]*?(?=^- \*\*Rolling update)/m.exec(read('README.md'))!
  for (const text of [head!, bullet]) for (const word of ['node:3000', 'both', 'TRUST_PROXY', 'loopback']) t.match(text, word)
  t.match(bullet, 'HOST')
})

t.test('nginx.conf, when all come at once, lets as many wait as the system allows, as a node does', async (t) => {
  const [, backlog] = /^const BACKLOG = ([\d_]+)$/m.exec(read('src/listen.ts'))!
  t.match(read('nginx.conf'), new RegExp(`listen 8080 backlog=${backlog!.replace('_', '')};`))
})

t.test('nginx.conf, its own errors: in the shape of ours, with codes and sentences of our table', async (t) => {
  // Of a limit and of a node that does not answer nginx knows other things than a node knows.
  const itsOwn = ['TIDINGS_TOO_MANY_REQUESTS', 'TIDINGS_UNCERTAIN']
  const answers = [...read('nginx.conf').matchAll(/return (\d{3}) '(.*)';/g)]
  t.ok(answers.length >= 3)
  for (const [, status, text] of answers) {
    const body = JSON.parse(text!)
    t.same(Object.keys(body), ['statusCode', 'code', 'error', 'message'])
    t.equal(body.statusCode, Number(status))
    const [ours, sentence = ''] = errorTable[body.code as keyof typeof errorTable] ?? []
    t.equal(ours, Number(status), body.code)
    if (!itsOwn.includes(body.code)) t.same(body.message.split('$request_method $uri'), sentence.split('%s'), body.code)
  }
})

t.test('docs/deployment.md, what nginx.conf does: each line is there, and each has a test that shows who does it without nginx', async (t) => {
  const page = read('docs/deployment.md')
  const rows = page.slice(page.indexOf('| nginx.conf | without it | test |')).split('\n').filter((line) => line.startsWith('| `'))
  t.ok(rows.length >= 18, `${rows.length} lines`)
  for (const row of rows) {
    const [said = '', , shown = ''] = row.replaceAll('\\|', '\0').split('|').slice(1).map((cell) => cell.trim().replaceAll('\0', '|'))
    for (const [, directive = ''] of said.matchAll(/`([^`]+)`/g)) t.ok(words(read('nginx.conf')).includes(words(directive)), directive)
    const [, file = '', title = ''] = /^`([\w/.-]+\.test\.ts)`(?:: (.+))?$/.exec(shown) ?? []
    t.ok(existsSync(join(root, 'test', file)) && file !== '' && read(`test/${file}`).includes(title), shown)
  }
})

t.test('docs/deployment.md, settings of a node behind HAProxy: those at the head of haproxy.cfg, and with HOST, since a node listens to its own machine alone', async (t) => {
  const [, block = ''] = /These are the settings of a node behind HAProxy at 10\.0\.0\.5:\n\n((?: {4}.+\n)+)/.exec(read('docs/deployment.md'))!
  const said = [...block.matchAll(/^ {4}([A-Z_]+)=/gm)].map(([, name]) => name!)
  const [, head = ''] = /^# Each node: ([^]*?)\.\n\n/m.exec(read('ops/haproxy/haproxy.cfg'))!
  t.same(head.split(/,\s/).map((entry) => /[A-Z_]+/.exec(entry)![0]).sort(), said.toSorted())
  t.ok(said.includes('HOST'))
})

t.test('Dockerfile, files that it copies: let in by .dockerignore', async (t) => {
  const copied = [...read('Dockerfile').matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, names]) => names!.split(' '))
  const letIn = [...read('.dockerignore').matchAll(/^!(.*)$/gm)].map(([, name]) => name!)
  // A file in a folder: the folders on the way to it are let in as well, with nothing else of theirs.
  const wanted = copied.flatMap((name) => name.split('/').map((_, i, parts) => parts.slice(0, i + 1).join('/')))
  t.same([...new Set(wanted)].sort(), letIn.sort())
})
