// Builds the programs of examples/clients with each language's own tools, outside the tree: `node test/clients/build.ts [language…]`.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const source = fileURLToPath(new URL('../../examples/clients', import.meta.url))
/** Where the built programs stand. */
export const built = fileURLToPath(new URL('../../node_modules/.cache/clients', import.meta.url))

function run (command: string, args: string[], cwd: string): void {
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1e8 })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} in ${cwd} ended with ${status ?? error?.message}\n${stdout}\n${stderr}`)
}

/** What must be there, and Debian's package of it. */
const tools: Record<string, string> = {
  python3: 'python3-venv', go: 'golang', mvn: 'maven', cargo: 'cargo', php: 'php-cli php-curl php-redis', ruby: 'ruby ruby-jwt ruby-redis', mcs: 'mono-mcs mono-runtime libmono-system-net-http4.0-cil libmono-system-core4.0-cil', curl: 'curl', openssl: 'openssl', 'redis-cli': 'redis-tools'
}

function install (): void {
  const missing = Object.entries(tools).filter(([tool]) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
  if (missing.length === 0) return
  const packages = missing.flatMap(([, debian]) => debian.split(' '))
  process.stderr.write(`not found: ${missing.map(([tool]) => tool).join(', ')}; running apt-get install ${packages.join(' ')}\n`)
  const sudo = process.getuid?.() === 0 ? [] : ['sudo', '-n']
  const [command = '', ...args] = [...sudo, 'env', 'DEBIAN_FRONTEND=noninteractive', 'flock', '/tmp/tidings-test-apt.lock', 'sh', '-c',
    `apt-get update -q && apt-get install -y -q --no-install-recommends ${packages.join(' ')}`]
  run(command, args, '/')
}

const builds: Record<string, (folder: string) => void> = {
  python: (folder) => {
    run('python3', ['-m', 'venv', 'venv'], folder)
    run(join(folder, 'venv/bin/pip'), ['install', '-q', '-r', 'requirements.txt'], folder)
  },
  go: (folder) => { run('go', ['build', '-o', join(folder, 'bin') + '/', './...'], folder) },
  java: (folder) => { run('mvn', ['-q', '-B', 'package'], folder) },
  rust: (folder) => { run('cargo', ['build', '-q'], folder) },
  javascript: (folder) => { run('npm', ['install', '--no-audit', '--no-fund', '--silent'], folder) },
  csharp: (folder) => {
    for (const name of ['Read', 'Publish']) run('mcs', ['-langversion:latest', '-r:System.Net.Http.dll', `-out:${name}.exe`, `${name}.cs`], folder)
  },
  php: () => {},
  ruby: () => {},
  shell: () => {}
}

install()
const asked = process.argv.slice(2)
for (const [language, build] of Object.entries(builds)) {
  if (asked.length > 0 && !asked.includes(language)) continue
  const startedAtMs = performance.now()
  const folder = join(built, language)
  mkdirSync(folder, { recursive: true })
  cpSync(join(source, language), folder, { recursive: true })
  build(folder)
  process.stderr.write(`${language}: built in ${Math.round((performance.now() - startedAtMs) / 1000)} s\n`)
}
