// README and docs/reference.md against the code: settings, routes and commands, both ways. (Errors: errors.test.ts.)
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import t, { type Test } from 'tap'
import { buildApp } from '../src/app.ts'
import { MemoryBroker } from '../src/broker/memory/memory.ts'
import { MemoryBus } from '../src/broker/memory/bus.ts'
import { configSchema, parseConfig } from '../src/config.ts'
import { transitions } from '../src/hub/state.ts'

const root = join(import.meta.dirname, '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const contributing = readFileSync(join(root, '.github/CONTRIBUTING.md'), 'utf8')
const reference = readFileSync(join(root, 'docs/reference.md'), 'utf8')

t.test('reference, table of settings: the schema, with its defaults and meanings', async (t) => {
  const section = reference.slice(reference.indexOf('## Settings'), reference.indexOf('## Errors'))
  const rows = [...section.matchAll(/^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$/gm)].map(([, name, fallback, meaning]) => ({ name, fallback, meaning }))
  const settings = Object.entries(configSchema.properties as Record<string, { default?: unknown, description?: string }>)
  t.same(rows, settings.map(([name, { default: value, description }]) => ({
    name, fallback: value === undefined || value === '' ? 'unset' : `\`${String(value)}\``, meaning: description
  })))
})

/** The OpenAPI document. */
async function describe (t: Test): Promise<{ paths: Record<string, Record<string, any>>, components: { schemas: Record<string, any> } }> {
  const limits = { historyLength: 10, groupHistoryLength: 10, historySeconds: 10, maxDataBytes: 10 }
  const app = await buildApp({ config: parseConfig({ JWT_SECRET: 'x'.repeat(32) }, 'readme'), broker: new MemoryBroker(new MemoryBus(limits)) })
  t.teardown(() => app.close())
  await app.ready()
  return app.swagger() as any
}
const routeOf = (method: string, path: string): string => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`

t.test('README, table of routes: what OpenAPI lists', async (t) => {
  const { paths } = await describe(t)
  const listed = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => routeOf(method, path)))
  const rows = [...readme.matchAll(/^\| `((?:GET|PUT|POST|DELETE) [^`]+)` \|/gm)].map(([, route]) => route)
  t.same(rows.toSorted(), listed.toSorted())
})

t.test('README, table of routes: the shape of each JSON answer, and the headers that only one route sends', async (t) => {
  const { paths, components: { schemas } } = await describe(t)
  const shapeOf = ($ref: string): string => {
    const { properties, required = [] } = schemas[$ref.split('/').at(-1)!]
    return `{ ${Object.entries<any>(properties).map(([name, { items }]) =>
      `${name}${required.includes(name) ? '' : '?'}${items?.$ref === undefined ? '' : `: [${shapeOf(items.$ref)}]`}`).join(', ')} }`
  }
  let count = 0
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, { operationId, tags, responses }] of Object.entries(methods)) {
      const { content, headers = {} } = responses[200] ?? responses[201] ?? responses[202] ?? {}
      const schema = content?.['application/json']?.schema
      // Health has words in the README, and why a section of its own in docs/operations.md.
      if (schema === undefined || tags.includes('operations') || operationId === 'explainNotification') continue
      count++
      const [row] = new RegExp(`^\\| \`${routeOf(method, path)}\` \\|.*$`, 'm').exec(readme)!
      const [, other] = /The answer is that of `GET ([^`]+)`/.exec(row) ?? []
      if (other === undefined) t.ok(row.includes(`\`${shapeOf(schema.$ref)}\``), `${row}: ${shapeOf(schema.$ref)}`)
      else t.same(schema, paths[other]!['get']!.responses[200].content['application/json'].schema, row)
      for (const name of Object.keys(headers)) t.match(row.toLowerCase(), name)
    }
  }
  t.ok(count >= 15, `${count} answers`)
})

t.test('README and CONTRIBUTING, commands: every npm script that they name exists', async (t) => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  const pages = readme + contributing
  const named = new Set([...pages.matchAll(/npm (?:run (?:-s )?([a-z:]+)|(test|start)\b)/g)].map(([, run, bare]) => run ?? bare!))
  t.ok(named.has('demo') && named.has('test'))
  for (const name of named) t.ok(scripts[name], `npm run ${name}`)
})

t.test('README, links: every file that it points to exists', async (t) => {
  for (const [, path] of readme.matchAll(/\]\(([^)#:]+)\)/g)) t.ok(readFileSync(join(root, path!)).length > 0, path!)
})

t.test('README, publishing by FCALL: the options that the function takes', async (t) => {
  const services = readFileSync(join(root, 'src/broker/redis/functions/services.lua'), 'utf8')
  const [, options] = /^ {2}'(\[KEEP .*\])'$/m.exec(services)!
  const [line] = /^ {4}FCALL tidings_publish .*$/m.exec(readme)!
  t.ok(line.endsWith(` ${options}`), line)
})

t.test('CONTRIBUTING, files: every one that it names exists, in the folder that it says', async (t) => {
  const folders = ['src', 'test', 'demo', 'scripts', 'client/src']
  const files = folders.flatMap((folder) => readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) => `/${folder}/${file}`))
  const named = [...contributing.matchAll(/`([\w./-]+\.(?:ts|lua))`/g)].map(([, name]) => name!)
  t.ok(named.length > 50 && named.some((name) => basename(name) === name), `${named.length} names`)
  for (const name of named) t.ok(files.some((file) => file.endsWith(`/${name}`)), name)
})

t.test('CONTRIBUTING, the states of a stream: the table that the code has', async (t) => {
  const section = contributing.slice(contributing.indexOf('## The states of a stream'), contributing.indexOf('## How to add'))
  const rows = [...section.matchAll(/^\| `(\w+)` \|.*?\| ?(.*?) ?\|$/gm)].map(([, state, ways]) => [state, [...ways!.matchAll(/`(\w+)`/g)].map(([, to]) => to)])
  t.same(Object.fromEntries(rows), transitions)
})

t.test('CONTRIBUTING, methods: each that it names as Class.method is one', async (t) => {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(join(root, 'src', file), 'utf8'))
  const named = [...contributing.matchAll(/`([A-Z][a-z]\w*)\.([a-z]\w*)`/g)]
  t.ok(named.length >= 4, `${named.length} names`)
  for (const [name, owner, method] of named) {
    t.ok(sources.some((text) => text.includes(`class ${owner} `) && new RegExp(`^  (?:async )?${method}(?: \\(|: )`, 'm').test(text)), name)
  }
})
