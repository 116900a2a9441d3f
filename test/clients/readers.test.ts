// Ordinary client programs of nine languages: each hears everything once through a drain, a kill and a night's worth of pings' silence,
// keeps ids as they are, and stops when it is logged out.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { freePort, spawnChild, tail, type Child } from '../fixtures/process.ts'
import { startNode, type TestNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, MANAGE, PUBLISH } from '../fixtures/tokens.ts'
import { partitioned, publishers, readers, sources } from './programs.ts'

const page = readFileSync(new URL('../../docs/clients.md', import.meta.url), 'utf8')
const redis = await startRedis(t, { own: true })
const issuer = createIssuer()
const port = await freePort()
const env = { ...issuer.env, REDIS_URL: redis.url, RETRY_MS: '500', DRAIN_SECONDS: '1' }
/** Readers hang on this one, which comes and goes; the other one publishes. */
let node = await startNode(t, { env, port })
const other = await startNode(t, { env })
const headers = { authorization: `Bearer ${issuer.token({ sub: 'service', scope: `${PUBLISH} ${MANAGE}` })}`, 'content-type': 'application/json' }

async function publish (data: string): Promise<string> {
  const answer = await fetch(`${other.url}/api/notifications`, { method: 'POST', headers, body: `{"to":"all","event":"stock","data":${data}}` })
  const { notifications } = await answer.json() as { notifications: Array<{ id: string }> }
  return notifications[0]!.id
}

/** What a reader printed: id, event, data. */
const events = ({ lines }: Child): string[][] => lines.map((line) => line.split('\t')).filter((parts) => parts.length === 3)
const isSync = (line: string): boolean => line.split('\t')[1] === 'sync'

const children = Object.entries(readers).map(([name, [command = '', ...args]], i) => {
  const [user, token] = [`reader-${i}`, issuer.token({ sub: `reader-${i}` })]
  const env = { ...process.env, TIDINGS_URL: `http://127.0.0.1:${port}/api/notifications/subscribe`, TIDINGS_TOKEN: token }
  return { name, user, token, child: spawnChild(t, command, args, { name, env }) }
})

async function heard (data: string, withinMs = 40_000): Promise<void> {
  await Promise.all(children.map(async ({ child }) => { await child.waitForLine((line) => line.endsWith(`\tstock\t${data}`), withinMs) }))
}

async function again (end: (node: TestNode) => Promise<unknown>): Promise<void> {
  await end(node)
  await publish(`"while ${node.name} was away"`)
  node = await startNode(t, { env, port, name: `${node.name}-again` })
}

await t.test('examples/clients: every program that stands there is run', async (t) => {
  const lines = [readers, publishers, partitioned].flatMap((some) => Object.values(some)).map((parts) => parts.join(' '))
  for (const file of sources()) {
    const [name = '', folder = ''] = file.replace(/\.\w+$/, '').split('/').reverse()
    t.ok(lines.some((line) => line.includes(name === 'main' ? folder : name)), file)
  }
})

const sent: string[] = []
await t.test('readers, each live within seconds', async () => {
  await Promise.all(children.map(async ({ child }) => { await child.waitForLine(isSync, 40_000) }))
})
await t.test('readers, in the list of processes: no token', async (t) => {
  const list = execFileSync('ps', ['-ww', '-eo', 'args'], { encoding: 'utf8', maxBuffer: 1e8 })
  t.match(list, /curl -sN/)
  t.same(children.filter(({ token }) => list.includes(token)).map(({ name }) => name), [])
})
await t.test('readers, through a drain and a kill, hear everything', async () => {
  sent.push(await publish('12345678901234567890'))
  await heard('12345678901234567890')
  await again(async (node) => await node.stop())
  await again(async (node) => await node.kill())
  sent.push(await publish('"last"'))
  await heard('"last"')
})
for (const { name, child, user } of children) {
  await t.test(`reader, ${name}: all of it once, in order, with ids as they were, and an end at 204`, async (t) => {
    const notifications = events(child).filter(([, event]) => event === 'stock')
    t.same(notifications.map(([,, data]) => data), ['12345678901234567890', '"while node-1 was away"', '"while node-1-again was away"', '"last"'], tail(child.lines))
    t.same([notifications.at(0)?.[0], notifications.at(-1)?.[0]], sent)
    t.same(events(child).filter(([, , data]) => data === ''), [], 'no empty message')
    await fetch(`${other.url}/api/users/${user}/streams`, { method: 'DELETE', headers })
    setTimeout(() => { child.signal('SIGKILL') }, 20_000).unref()
    t.match(await child.exited, { code: 0 }, 'logged out, it ends by itself')
    t.ok(page.includes(`| ${name} |`), 'docs/clients.md has a row for it')
  })
}

for (const [language, [command = '', ...args]] of Object.entries(publishers)) {
  await t.test(`publisher, ${language}: signs a token, publishes over HTTP and through Redis`, async (t) => {
    const { env: { JWT_SECRET } } = issuer
    // What JSON and shells have their own thoughts about.
    const to = `user:${language} "a\\b" $HOME %s`
    const child = spawnChild(t, command, args, {
      name: language, env: { ...process.env, JWT_SECRET, REDIS_URL: redis.url, TIDINGS_BASE: other.url, TIDINGS_TO: to }
    })
    await child.waitForLine(/^\d{16} \d{16}$/)
    const printedAtMs = performance.now()
    t.match(await child.exited, { code: 0 }, tail(child.lines))
    // Only a Redis before 7.2 can show it: it refuses CLIENT SETINFO, after which ioredis's timers of 10 s go on.
    if (language === 'JavaScript') t.ok(performance.now() - printedAtMs < 8000, 'ends with its last line, and not with a timer of its library')
    const [, http, direct] = /^(\d{16}) (\d{16})$/.exec(child.lines.at(-1) ?? '') ?? []
    t.ok(http !== undefined && direct !== undefined && BigInt(http) < BigInt(direct), tail(child.lines))
    t.equal(await redis.cli('XLEN', `tidings:log:${to}`), 2)
    t.ok(page.includes(`| ${language} |`), 'docs/clients.md has a row for it')
  })
}
