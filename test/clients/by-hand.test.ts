// docs/clients.md, "Run one by hand": its commands, as they are printed, and the variables that the programs take.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startNode } from '../fixtures/node.ts'
import { spawnChild, tail } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { sources } from './programs.ts'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/clients.md'), 'utf8')
const section = page.slice(page.indexOf('## Run one by hand'), page.indexOf('## Run them'))
const rest = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(TIDINGS_|JWT_|REDIS)/.test(name)))

t.test('docs/clients.md, commands of three terminals: a reader hears what a publisher sends', async (t) => {
  const [first = '', second = '', third = '', ...more] = [...section.matchAll(/(?:^ {4}.*\n)+/gm)].map(([block]) => block)
  t.same(more, [])
  const redis = await startRedis(t, { own: true })
  const [, secret = ''] = /JWT_SECRET=(\S+)\n {4}npm start\n$/.exec(first) ?? []
  const node = await startNode(t, { env: { JWT_SECRET: secret, REDIS_URL: redis.url } })
  const type = (block: string, name: string) =>
    spawnChild(t, 'bash', ['-ec', block.replaceAll('http://127.0.0.1:3000', node.url).replaceAll(/REDIS_URL=\S+/g, `REDIS_URL=${redis.url}`)], { cwd: root, env: rest, name })
  const reader = type(second, 'reader')
  await reader.waitForLine(/\tsync\t/)
  const publisher = type(third, 'publisher')
  t.match(await publisher.exited, { code: 0 }, tail(publisher.lines))
  t.match(publisher.lines, [/^\d{16} \d{16}$/])
  for (const [at, from] of ['http', 'redis'].entries()) {
    t.match(await reader.waitForLine((line) => line.includes(`shell ${from}`)), `${publisher.lines[0]!.split(' ')[at]}\tmessage\t`)
  }
})

t.test('docs/clients.md, variables: those that the programs take, each in the table', async (t) => {
  const taken = new Set(sources().flatMap((file) => readFileSync(join(root, 'examples/clients', file), 'utf8').match(/\b(?:TIDINGS|JWT|REDIS|REDISCLI)_[A-Z]+\b/g) ?? []))
  t.ok(taken.size > 5)
  const listed = [...section.matchAll(/^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \|/gm)].flatMap(([, names]) => names!.match(/[A-Z_]+/g)!)
  t.same([...taken].filter((name) => name !== 'TIDINGS_OTHER_PARTITION' && !section.includes(`\`${name}\``)), [])
  t.same(listed.filter((name) => !taken.has(name)), [])
})
