// The programs of examples/clients when something is wrong: each says what it is, and none goes on in silence.
import { execFile } from 'node:child_process'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { startNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer } from '../fixtures/tokens.ts'
import { publishers, readers } from './programs.ts'

/** How many programs run at a time, and how long each may take: a virtual machine needs a second, a retry several. */
const AT_A_TIME = 6
const PATIENCE_MS = 60_000

/** `code`: null if it did not end by itself. */
interface Ended { code: number | null, out: string, err: string }

const OURS = /^(TIDINGS_|JWT_SECRET$|REDIS_)/
const rest = Object.fromEntries(Object.entries(process.env).filter(([name]) => !OURS.test(name)))

async function run ([command = '', ...args]: string[], env: Record<string, string>): Promise<Ended> {
  return await new Promise((resolve) => {
    execFile(command, args, { env: { ...rest, ...env }, timeout: PATIENCE_MS, killSignal: 'SIGKILL' }, (error, out, err) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : null, out, err })
    })
  })
}

/** A few at a time, in order. */
async function each<T> (all: readonly T[], call: (one: T) => Promise<void>): Promise<void> {
  const left = [...all]
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) await call(one)
  }))
}

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

/**
 * Sends one event, then three times a piece of the second and an end, then all of it, and 204. `asked`: the ids that
 * each reader sent, by path.
 */
async function startCuts (): Promise<{ url: string, asked: Map<string, unknown[]> }> {
  const answers = [
    'retry: 50\nid: 1763794000000010\ndata: {"n":1}\n\nid: 17637940000', // an id that is no id
    'id: 1763794000000020\ndata: {"n"',
    'retry: 50\nid: 1763794000000020\nevent: message\ndata: {"n":2}\n', // all of it but the empty line
    'id: 1763794000000020\ndata: {"n":2}\n\n'
  ]
  const asked = new Map<string, unknown[]>()
  const server = http.createServer(({ url = '', headers }, response) => {
    const ids = asked.get(url) ?? []
    asked.set(url, [...ids, headers['last-event-id']])
    const answer = answers[ids.length]
    if (answer === undefined) {
      response.writeHead(204).end()
      return
    }
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' }).write(answer, () => {
      // The second one breaks off, the others end in good order. A client that has not read yet would not see the bytes.
      setTimeout(() => { if (ids.length === 1) response.socket?.destroy(); else response.end() }, 300)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

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

t.test('readers, cut off in the middle of an event: each asks for it again, and prints it once', async (t) => {
  const { url, asked } = await startCuts()
  await each(Object.entries(readers), async ([name, line]) => {
    const path = `/${encodeURIComponent(name)}`
    const { code, out, err } = await run(line, { TIDINGS_URL: url + path, TIDINGS_TOKEN: 'x' })
    t.equal(code, 0, `${name}: ends at 204 (${err})`)
    t.same(out.trim().split('\n').map((text) => text.trim().split('\t')), [
      ['1763794000000010', 'message', '{"n":1}'], ['1763794000000020', 'message', '{"n":2}']
    ], name)
    const [first, second] = ['1763794000000010', '1763794000000020']
    t.same(asked.get(path), [undefined, first, first, first, second], name)
  })
})
