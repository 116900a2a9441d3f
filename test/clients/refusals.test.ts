// The programs of examples/clients when something is wrong: each says what it is, and none goes on in silence.
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { startNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer } from '../fixtures/tokens.ts'
import { publishers, readers } from './programs.ts'
import { each, run } from './run.ts'

/** Answers the statuses that stand in the path, one after the other, and then the last of them. */
async function startStatuses (): Promise<string> {
  const asked = new Map<string, number>()
  const server = http.createServer(({ url = '' }, response) => {
    const statuses = url.split('/').at(-1)!.split(',')
    const at = asked.get(url) ?? 0
    asked.set(url, at + 1)
    response.writeHead(Number(statuses[at] ?? statuses.at(-1))).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const without = (env: Record<string, string>, name: string): Record<string, string> => Object.fromEntries(Object.entries(env).filter(([other]) => other !== name))

const origin = await startStatuses()

t.test('readers, without a variable: each ends and names it', async (t) => {
  const env = { TIDINGS_URL: `${origin}/204`, TIDINGS_TOKEN: 'x' }
  await each(Object.entries(readers).flatMap(([name, line]) => Object.keys(env).map((missing) => ({ name, line, missing }))), async ({ name, line, missing }) => {
    const { code, out, err } = await run(line, without(env, missing))
    t.ok(code !== 0 && code !== null && out === '' && err.includes(missing), `${name}, ${missing}: ${code} ${err}`)
  })
})

t.test('readers, answered 4xx: each ends and says the status', async (t) => {
  await each(Object.entries(readers).flatMap(([name, line]) => [401, 403, 404].map((status) => ({ name, line, status }))), async ({ name, line, status }) => {
    const { code, out, err } = await run(line, { TIDINGS_URL: `${origin}/${status}`, TIDINGS_TOKEN: 'x' })
    t.ok(code === 1 && out === '' && err.includes(`${status}`), `${name}, ${status}: ${code} ${err}`)
  })
})

t.test('readers, answered what passes: each says the status, and comes back', async (t) => {
  await each(Object.entries(readers), async ([name, line]) => {
    const { code, err } = await run(line, { TIDINGS_URL: `${origin}/${encodeURIComponent(name)}/429,503,204`, TIDINGS_TOKEN: 'x' })
    // This one does what a browser does: any status ends it.
    const expected = name === 'eventsource (npm)' ? [1, true, false] : [0, true, true]
    t.same([code, err.includes('429'), err.includes('503')], expected, `${name}: ${err}`)
  })
})

t.test('publishers, refused or without a variable: each says so on stderr, ends with a fault, and prints no id', async (t) => {
  const issuer = createIssuer()
  const redis = await startRedis(t, { own: true })
  const node = await startNode(t, { env: { ...issuer.env, REDIS_URL: redis.url } })
  // Nobody loaded the functions there.
  const bare = await startRedis(t, { own: true })
  const env = { JWT_SECRET: issuer.env.JWT_SECRET!, REDIS_URL: redis.url, TIDINGS_BASE: node.url, TIDINGS_TO: 'user:42' }
  const cases: Array<[string, Record<string, string>, RegExp]> = [
    ...Object.keys(env).map((name) => [`without ${name}`, without(env, name), new RegExp(name)] as [string, Record<string, string>, RegExp]),
    ['another secret', { ...env, JWT_SECRET: 'x'.repeat(32) }, /401|TIDINGS_TOKEN_INVALID/],
    ['a Redis that refuses', { ...env, REDIS_URL: bare.url }, /[Ff]unction not found/]
  ]
  await each(Object.entries(publishers).flatMap(([name, line]) => cases.map((one) => ({ name, line, one }))), async ({ name, line, one: [what, given, said] }) => {
    const { code, out, err } = await run(line, given)
    t.ok(code !== 0 && code !== null && out === '' && said.test(err), `${name}, ${what}: ${code} ${out} ${err.slice(0, 500)}`)
  })
})
