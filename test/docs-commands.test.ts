// Commands that the pages print, run as they stand there: redis-cli's on a real Redis, the planner, and a token.
import { execFile } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { library } from '../src/broker/redis/library.ts'
import { startRedis } from './fixtures/redis.ts'
import { wordsOf } from './security/recipes.ts'

const root = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

t.test('publishing and taking back through Redis, as README and docs/publishing.md print it', async (t) => {
  const redis = await startRedis(t, { own: true })
  await redis.cli('FUNCTION', 'LOAD', library())
  await redis.cli('FCALL', 'tidings_configure', 1, 'tidings', 0, 1000, 1000, 86_400, 65_536, 'run', 0, 1, 0, 0)
  // What may stand behind it is in brackets: README's test holds the options.
  const lines = ['README.md', 'docs/publishing.md'].flatMap((page) => [...read(page).matchAll(/^ {4}(?:redis-cli )?((?:PUBLISH|FCALL) .*?)(?: \[.*)?$/gm)].map(([, line]) => line!))
  t.equal(lines.length, 5)
  for (const line of lines) {
    const isRetract = line.includes('tidings_retract')
    const answer = await redis.cli(...wordsOf(line), ...(isRetract && !line.includes(' ID ') ? ['KEY', 'k'] : []))
    if (line.startsWith('PUBLISH')) t.equal(answer, 0, line)
    else if (isRetract) t.equal(answer, 0, line)
    else t.match(answer, [/^\d{16}$/, 0], line)
  }
})

t.test('npm run token, as examples/react prints it for another terminal: signed with the secret of the node', async (t) => {
  const page = read('examples/react/README.md')
  const [, secret = ''] = /^ {4}export JWT_SECRET=(\S+)\n {4}npm start$/m.exec(page) ?? []
  const [, line = ''] = /^ {4}(.*npm run -s token .*)$/m.exec(page) ?? []
  const { JWT_SECRET: _, ...env } = process.env
  const { stdout } = await promisify(execFile)('sh', ['-ec', line], { cwd: root, env })
  const [header, claims, signature] = stdout.trim().split('.')
  t.equal(createHmac('sha256', secret).update(`${header}.${claims}`).digest('base64url'), signature)
  t.ok(Buffer.byteLength(secret) >= 32, 'a secret that a node takes')
})

t.test('npm run capacity, as docs/capacity.md prints it', async (t) => {
  const commands = [...read('docs/capacity.md').matchAll(/^ {4}npm run capacity(?: -- (.*?))? +#/gm)].map(([, args = '']) => wordsOf(args))
  t.equal(commands.length, 2)
  for (const args of commands) {
    const { stdout } = await promisify(execFile)(process.execPath, ['bench/capacity.ts', ...args], { cwd: root })
    t.match(stdout, '| users | nodes |', args.join(' '))
  }
})
