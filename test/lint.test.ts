// The map of the code is kept by the linter: each rule of eslint.config.js fires where it must, and only there.
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { ESLint } from 'eslint'

const root = `${path.dirname(import.meta.dirname)}/`

// The files named here need not exist, so what must read types is off.
const fast = new ESLint({
  cwd: root,
  overrideConfig: {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: false } },
    rules: { '@typescript-eslint/no-floating-promises': 'off', '@typescript-eslint/no-misused-promises': 'off' }
  }
})
const withTypes = new ESLint({ cwd: root })

async function faults (file: string, code: string, eslint = fast): Promise<string[]> {
  const [result] = await eslint.lintText(`${code}\n`, { filePath: `${root}${file}` })
  return result!.messages.map(({ ruleId, message }) => ruleId ?? message)
}

const imports = (specifier: string) => `import '${specifier}'`

// What a file imports → the files that must not.
const forbidden: Record<string, Record<string, string[]>> = {
  'server is imported by nobody': {
    './server.ts': ['src/app.ts', 'src/config.ts', 'src/notification.ts'],
    './start.ts': ['src/app.ts', 'src/config.ts', 'src/server.ts'],
    './health.ts': ['src/config.ts', 'src/start.ts'],
    '../server.ts': ['src/http/publish.ts', 'src/hub/hub.ts', 'src/broker/redis/redis.ts']
  },
  'app is imported by the edge alone': {
    './app.ts': ['src/config.ts', 'src/notification.ts', 'src/errors.ts'],
    '../app.ts': ['src/http/publish.ts', 'src/hub/hub.ts', 'src/broker/broker.ts', 'src/broker/memory/memory.ts']
  },
  'http is not imported from below': {
    '../http/auth.ts': ['src/hub/hub.ts', 'src/hub/stream.ts', 'src/broker/broker.ts', 'src/broker/redis/redis.ts'],
    './http/auth.ts': ['src/notification.ts', 'src/errors.ts', 'src/config.ts']
  },
  'the hub is not imported from below': {
    '../hub/hub.ts': ['src/broker/broker.ts', 'src/broker/memory/memory.ts', 'src/broker/redis/subscriber.ts'],
    './hub/hub.ts': ['src/notification.ts', 'src/errors.ts', 'src/config.ts']
  },
  'the bottom imports nothing of ours': {
    './broker/broker.ts': ['src/notification.ts', 'src/errors.ts'],
    './config.ts': ['src/notification.ts', 'src/errors.ts'],
    '../config.ts': ['src/broker/broker.ts', 'src/broker/redis/redis.ts']
  },
  'adapters are chosen by the edge alone': {
    './broker/redis/redis.ts': ['src/app.ts', 'src/config.ts', 'src/notification.ts'],
    './broker/memory/memory.ts': ['src/app.ts'],
    '../broker/redis/redis.ts': ['src/http/publish.ts', 'src/hub/hub.ts'],
    '../broker/memory/memory.ts': ['src/http/subscribe.ts', 'src/hub/stream.ts']
  },
  'adapters know the port, and the port knows no adapter': {
    './memory/memory.ts': ['src/broker/broker.ts'],
    './redis/redis.ts': ['src/broker/broker.ts'],
    '../memory/memory.ts': ['src/broker/redis/redis.ts'],
    '../redis/redis.ts': ['src/broker/memory/memory.ts']
  },
  'ioredis is for the Redis adapter alone': {
    ioredis: ['src/start.ts', 'src/app.ts', 'src/http/ops.ts', 'src/hub/hub.ts', 'src/broker/broker.ts', 'src/broker/memory/memory.ts'],
    'ioredis/built/utils': ['src/hub/hub.ts']
  },
  'process is for the edge alone': {
    'node:process': ['src/app.ts', 'src/config.ts', 'src/notification.ts', 'src/http/ops.ts', 'src/hub/hub.ts', 'src/broker/redis/redis.ts', 'src/broker/memory/memory.ts'],
    process: ['src/config.ts']
  },
  'nothing of the tools goes into production': {
    '../test/fixtures/client.ts': ['src/start.ts', 'src/app.ts'],
    '../demo/text.ts': ['src/start.ts', 'src/app.ts'],
    '../../scripts/token.ts': ['src/http/auth.ts']
  }
}

for (const [rule, table] of Object.entries(forbidden)) {
  t.test(`imports, ${rule}: refused`, async (t) => {
    for (const [specifier, files] of Object.entries(table)) {
      for (const file of files) t.same(await faults(file, imports(specifier)), ['no-restricted-imports'], `${file} imports ${specifier}`)
    }
  })
}

t.test('imports, along the arrows: allowed', async (t) => {
  const allowed: Record<string, string[]> = {
    'src/start.ts': ['./app.ts', './config.ts', './broker/redis/redis.ts', './broker/memory/memory.ts', 'node:process'],
    'demo/main.ts': ['../src/app.ts', '../src/broker/memory/memory.ts', './page.ts', 'node:process'],
    'src/app.ts': ['./http/publish.ts', './hub/hub.ts', './broker/broker.ts', './config.ts', './errors.ts'],
    'src/http/subscribe.ts': ['../hub/hub.ts', '../broker/broker.ts', '../notification.ts', './auth.ts', 'fastify'],
    'src/hub/hub.ts': ['./stream.ts', '../notification.ts', '../broker/broker.ts'],
    'src/broker/redis/redis.ts': ['ioredis', '../broker.ts', './subscriber.ts', '../../notification.ts'],
    'src/broker/memory/memory.ts': ['../broker.ts', './bus.ts', '../../notification.ts'],
    'test/cluster/cluster.test.ts': ['ioredis', '../../src/broker/redis/redis.ts', 'node:process'],
    'scripts/token.ts': ['node:process']
  }
  for (const [file, specifiers] of Object.entries(allowed)) {
    for (const specifier of specifiers) t.same(await faults(file, imports(specifier)), [], `${file} imports ${specifier}`)
  }
})

t.test('imports, types and re-exports: refused as well', async (t) => {
  t.same(await faults('src/app.ts', 'export type { RedisBroker } from \'./broker/redis/redis.ts\''), ['no-restricted-imports'])
  t.same(await faults('src/app.ts', 'import type { RedisBroker } from \'./broker/redis/redis.ts\'\nexport type R = RedisBroker'), ['no-restricted-imports'])
})

t.test('imports, hidden in an expression or a type: refused', async (t) => {
  for (const code of ['export const redis = await import(\'./broker/redis/redis.ts\')', 'export type R = import(\'./broker/redis/redis.ts\').RedisBroker']) {
    for (const file of ['src/app.ts', 'src/start.ts', 'src/hub/line.ts', 'src/http/event-stream.ts']) t.same(await faults(file, code), ['no-restricted-syntax'], file)
    t.same(await faults('src/server.ts', code), [], 'the door may: it has its signal handlers first')
  }
})

t.test('process, its two global names: refused but at the edge', async (t) => {
  for (const file of ['src/app.ts', 'src/config.ts', 'src/hub/hub.ts', 'src/http/ops.ts', 'src/broker/redis/redis.ts']) {
    t.same(await faults(file, 'export const id = process.pid'), ['no-restricted-globals'], file)
    t.same(await faults(file, 'export const id = globalThis.process.pid'), ['no-restricted-properties'], file)
  }
  for (const file of ['src/server.ts', 'src/start.ts', 'src/health.ts', 'demo/main.ts', 'scripts/token.ts', 'test/app.test.ts']) {
    t.same(await faults(file, 'export const id = process.pid'), [], file)
  }
})

t.test('the wall clock: refused but where a date is read', async (t) => {
  for (const file of ['src/app.ts', 'src/hub/hub.ts', 'src/hub/clockwork.ts', 'src/http/leases.ts', 'src/http/key-set.ts', 'src/broker/redis/subscriber.ts']) {
    t.same(await faults(file, 'export const now = Date.now()'), ['no-restricted-properties'], file)
    t.same(await faults(file, 'export const clock = { now: Date.now }'), ['no-restricted-properties'], file)
  }
  for (const file of ['src/hub/clock.ts', 'src/http/claims.ts', 'src/server.ts', 'demo/main.ts']) t.same(await faults(file, 'export const now = Date.now()'), [], file)
})

t.test('the raw response, every spelling: refused but where streams are written', async (t) => {
  const spellings = [
    'export const f = (reply: any) => reply.raw.write(\'\')',
    'export const f = (reply: any) => reply[\'raw\'].write(\'\')',
    'export const f = ({ raw }: any) => raw.write(\'\')'
  ]
  for (const code of spellings) {
    for (const file of ['src/app.ts', 'src/start.ts', 'src/hub/hub.ts', 'src/http/publish.ts', 'src/broker/redis/redis.ts']) {
      t.ok((await faults(file, code)).includes('no-restricted-syntax'), `${file}: ${code}`)
    }
    for (const file of ['src/hub/line.ts', 'src/http/event-stream.ts']) {
      t.notOk((await faults(file, code)).includes('no-restricted-syntax'), `${file}: ${code}`)
    }
  }
  t.same(await faults('src/app.ts', 'export const path = String.raw`a\\b`'), [], 'String.raw is something else')
})

t.test('the raw response and its socket, as types: refused but where streams are written', async (t) => {
  for (const code of ['import type { ServerResponse } from \'node:http\'\nexport type R = ServerResponse', 'import type { Socket } from \'node:net\'\nexport type S = Socket']) {
    for (const file of ['src/app.ts', 'src/server.ts', 'src/hub/hub.ts', 'src/http/publish.ts']) t.same(await faults(file, code), ['no-restricted-syntax'], file)
    for (const file of ['src/hub/line.ts', 'src/http/event-stream.ts', 'src/http/unrouted.ts', 'src/http/door.ts']) t.same(await faults(file, code), [], file)
  }
})

t.test('comments, more than 120 columns: refused', async (t) => {
  for (const file of ['src/http/publish.ts', 'src/broker/redis/redis.ts', 'chaos/run.ts', 'demo/bell.js']) {
    t.same(await faults(file, `// ${'words '.repeat(21)}end\nexport {}`), ['max-len'], file)
  }
})

t.test('code, more than 160 columns, 220 in tests: refused; a sentence in a string is as long as it must be', async (t) => {
  const row = (names: number): string => `export default { ${Array.from({ length: names }, (_, i) => `name${10 + i}: ${i}`).join(', ')} }`
  for (const file of ['src/http/publish.ts', 'chaos/run.ts', 'bench/main.ts', 'demo/bell.js']) t.same(await faults(file, row(16)), ['max-len'], file)
  t.same([await faults('test/a.test.ts', row(16)), await faults('test/a.test.ts', row(22))], [[], ['max-len']])
  t.same(await faults('src/http/publish.ts', `export const text = '${'words '.repeat(40)}'`), [])
})

t.test('comments that ESLint does not read, in Lua, C, shell and configurations: at most 120 columns', async (t) => {
  const folders = '{.ci,.github,bench,chaos,examples,ops,scripts,src}/**/*'
  const names = globSync([`${folders}.{c,conf,go,java,lua,py,rs,sh,yaml,yml}`, '.ci/run', '*.{conf,yml}', 'Dockerfile'], { cwd: root })
  const files = names.filter((file) => !/node_modules|\/(target|dist)\//.test(file))
  t.ok(files.length > 60, `${files.length} files`)
  const long = files.flatMap((file) => readFileSync(path.join(root, file), 'utf8').split('\n')
    .flatMap((line, i) => line.length > 120 && /^\s*(--|#|\/\/|\/?\*+(\s|$))/.test(line) ? [`${file}:${i + 1}`] : []))
  t.same(long, [])
})

t.test('code in Lua, which ESLint does not read: at most 160 columns', async (t) => {
  const files = globSync('src/**/*.lua', { cwd: root })
  t.ok(files.length > 20, `${files.length} files`)
  t.same(files.flatMap((file) => readFileSync(path.join(root, file), 'utf8').split('\n').flatMap((line, i) => line.length > 160 ? [`${file}:${i + 1}`] : [])), [])
})

t.test('promises, left alone or in the place of a boolean: refused', async (t) => {
  const file = 'src/notification.ts'
  t.same(await faults(file, 'const work = async () => {}\nwork()', withTypes), ['@typescript-eslint/no-floating-promises'])
  t.same(await faults(file, 'const work = async () => {}\nvoid work()', withTypes), [], 'said to be on purpose')
  t.same(await faults(file, 'const isOpen = async () => true\nexport const open = isOpen() ? 1 : 2', withTypes), ['@typescript-eslint/no-misused-promises'])
})

t.test('files, more than 300 lines: refused', async (t) => {
  t.same(await faults('src/app.ts', 'export {}\n'.repeat(300) + 'export {}'), ['max-lines'])
})

t.test('Redis, outside of its adapter, is a word of the settings and of the edge that reads them alone', async (t) => {
  const itsOwn = /^src\/(broker\/redis\/|(config|environment|redis-url|start|unknown-settings)\.ts$)/
  const others = globSync('src/**/*.ts', { cwd: root }).filter((file) => !itsOwn.test(file))
  t.ok(others.length > 50)
  t.same(others.filter((file) => /redis/i.test(readFileSync(path.join(root, file), 'utf8'))), [])
})
