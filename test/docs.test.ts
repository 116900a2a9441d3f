// Every page against what it speaks of: links, commands, settings, error codes, routes, metrics, functions, files and defaults that it names exist.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { readOptions as readChaosOptions } from '../chaos/options.ts'
import { demoText } from '../demo/text.ts'
import { configSchema, parseConfig } from '../src/config.ts'
import { errorTable } from '../src/errors.ts'
import { RESERVED_EVENTS } from '../src/notification.ts'
import { version } from '../src/version.ts'

const root = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const paths = ['README.md', 'CHANGELOG.md', ...globSync('docs/*.md', { cwd: root }), '.github/CONTRIBUTING.md', '.github/SECURITY.md', 'client/README.md']
const pages = new Map(paths.map((path) => [path, read(path)]))
/** What holds now; the changelog names what has gone, too. */
const present = [...pages].filter(([path]) => path !== 'CHANGELOG.md')
const sources = globSync('{src,demo,scripts,bench,chaos,ops,test,client/src,examples}/**/*.{ts,lua,yml,yaml,json,conf,sh,md,py,go,tpl}', { cwd: root, exclude: (name) => /node_modules|results/.test(name) })
const source = sources.filter((path) => path !== 'test/docs.test.ts').map(read).join('\n') + ['docker-compose.yml', 'docker-compose.cluster.yml', 'nginx.conf', 'Dockerfile', '.ci/run'].map(read).join('\n')
const settings = configSchema.properties as Record<string, { default?: unknown }>

/** Of a heading, as GitHub makes it. */
const anchor = (heading: string) => heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')
const anchors = (text: string) => [...text.replaceAll(/^```[^]*?^```/gm, '').matchAll(/^#+ (.+)$/gm)].map(([, heading]) => anchor(heading!))

t.test('links: file and heading are there', async (t) => {
  let count = 0
  for (const [path, text] of pages) {
    for (const [, target = '', heading] of text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)) {
      const file = target === '' ? path : join(dirname(path), target)
      count++
      if (!t.ok(existsSync(join(root, file)), `${path}: ${file}`)) continue
      if (heading !== undefined) t.ok(anchors(read(file)).includes(heading), `${path}: ${file}#${heading}`)
    }
  }
  t.ok(count > 60, `${count} links`)
})

t.test('commands: each npm script exists, and npm run chaos takes what it is given', async (t) => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  for (const [path, text] of pages) {
    for (const [, name] of text.matchAll(/npm run (?:-s )?([a-z]+(?::[a-z]+)*)/g)) t.ok(scripts[name!], `${path}: npm run ${name}`)
    for (const [, args] of text.matchAll(/npm run chaos -- ([^`#\n|;.]+)/g)) t.doesNotThrow(() => readChaosOptions(args!.trim().split(/ +/)), `${path}: ${args}`)
  }
})

t.test('settings and error codes: each name in capitals is one of ours, or stands in what is shipped', async (t) => {
  for (const [path, text] of present) {
    for (const [name] of text.matchAll(/\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b/g)) {
      t.ok(name in settings || name in errorTable || new RegExp(`\\b${name}\\b`).test(source), `${path}: ${name}`)
    }
  }
})

t.test('settings: where a page says a default in parentheses, it is that', async (t) => {
  let count = 0
  for (const [path, text] of present) {
    for (const [said, name, value] of text.matchAll(/`([A-Z]+_[A-Z_]+)`(?: \(|, )([\d,]+)(?: a user| by default|\))/g)) {
      if (settings[name!]?.default === undefined) continue
      count++
      t.equal(Number(value!.replaceAll(',', '')), settings[name!]!.default, `${path}: ${said}`)
    }
  }
  t.ok(count >= 2, `${count} defaults`)
})

t.test('routes, metrics and functions: each exists', async (t) => {
  const [readme] = pages.values()
  const routes = new Set([...readme!.matchAll(/^\| `((?:GET|PUT|POST|DELETE) [^`]+)` \|/gm)].map(([, route]) => route!.replaceAll(/:\w+/g, '*')))
  for (const [path, text] of present) {
    for (const [, method, route] of text.matchAll(/\b(GET|PUT|POST|DELETE) (\/(?:api|livez|readyz|metrics)[\w/:*-]*)/g)) {
      const bare = route!.replaceAll(/:\w+/g, '*').replace(/\/users\/\w+\//, '/users/*/')
      t.ok(routes.has(`${method} ${bare}`), `${path}: ${method} ${route}`)
    }
    for (const [, name] of text.matchAll(/`(tidings_[a-z_]*[a-z])(?=[`{])/g)) {
      t.ok(new RegExp(`\\b${name}\\b`).test(source) || source.includes(`'${name!.replace('tidings_', '')}'`), `${path}: ${name}`)
    }
  }
})

t.test('files: each path that a page names exists', async (t) => {
  let count = 0
  for (const [path, text] of present) {
    for (const [, name = ''] of text.matchAll(/`((?:test|src|ops|bench|chaos|scripts|examples|client|demo|docs|\.ci|\.github)\/[\w./-]+)`/g)) {
      if (/^client\/dist|\/results/.test(name)) continue
      count++
      t.ok(existsSync(join(root, name)) || existsSync(join(root, 'test', name)), `${path}: ${name}`)
    }
  }
  t.ok(count > 40, `${count} paths`)
})

t.test('README, what the demo prints: what it prints', async (t) => {
  const [, printed = ''] = /and prints:\n\n((?:(?: {4}.*)?\n)+?)\nand three/.exec(read('README.md')) ?? []
  const lines = printed.split('\n').map((line) => line.trim()).filter((line) => line !== '')
  t.ok(lines.length >= 5, printed)
  const plain = (text: string) => text
  const [, users = ''] = /const USERS = (\[[^]*?\n\])/.exec(read('demo/main.ts')) ?? []
  const text = demoText({
    origins: ['http://127.0.0.1:3000', 'http://127.0.0.1:3001'], users: parse(users), publisherToken: '', dim: plain, bold: plain
  }).split('\n').map((line) => line.trim())
  for (const line of lines) t.ok(text.includes(line), line)
})

t.test('README, events of the stream itself: those that no publisher may use', async (t) => {
  const [, list = ''] = /which no\s+publisher may use:([^]*?)\.\n/.exec(read('README.md')) ?? []
  t.same([...list.matchAll(/`(\w+)`/g)].map(([, name]) => name).sort(), [...RESERVED_EVENTS].sort())
})

t.test('docs/deployment.md, settings of a node without a proxy, and of secrets in files: a node takes them', async (t) => {
  const page = read('docs/deployment.md')
  const block = [...page.matchAll(/^ {4}([A-Z_]+)=(\S+)$/gm)].map(([, name, value]) => [name!, value!])
  t.ok(block.length >= 7, `${block.length} settings`)
  for (const [name] of block) t.ok(name! in settings, name!)
  // The certificate would have to be there: test/http/tls.test.ts.
  const rest = block.filter(([name]) => !name!.startsWith('TLS_'))
  t.match(parseConfig({ JWT_SECRET: 'x'.repeat(32), ...Object.fromEntries(rest) }, 'node'), { OPS_PORT: 3001, PROXY_PROTOCOL: 'on' })
  const [, override = ''] = /```yaml\n(# docker-compose\.override[^]*?)```/.exec(page) ?? []
  const { services: { node }, secrets } = parse(override)
  t.same(node.secrets, Object.keys(secrets))
  for (const name of Object.keys(node.environment)) t.ok(name in settings, name)
})

t.test('docs/kubernetes.md: values that it names exist, its image is of this version', async (t) => {
  const page = read('docs/kubernetes.md')
  t.ok(page.includes(`/tidings:${version} .`))
  const [, block = ''] = /```yaml\n(image:[^]*?)```/.exec(page) ?? []
  const { image, ...rest } = parse(block)
  t.same(rest, parse(read('ops/helm/tidings/ci/minimal-values.yaml')), 'the least that must be said is what Helm is given at each change')
  t.same(Object.keys(image), ['repository'])
  const values = parse(read('ops/helm/tidings/values.yaml'))
  const has = (path: string): boolean => path.split('.').reduce((at, key) => at?.[key], values) !== undefined
  let count = 0
  for (const [, path] of page.matchAll(/`((?:gateway|ingress|stub|metrics|networkPolicy|secrets|settings|image|autoscaling)(?:\.\w+)+|preStopSeconds|ipv6|extraCa)[`:]/g)) {
    count++
    t.ok(has(path!), path!)
  }
  t.ok(count > 10, `${count} values`)
})
