// The programs of examples/clients when something is wrong: each says what it is, and none goes on in silence.
import { execFile } from 'node:child_process'
import t from 'tap'
import { startNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer } from '../fixtures/tokens.ts'
import { publishers } from './programs.ts'

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

const without = (env: Record<string, string>, name: string): Record<string, string> => Object.fromEntries(Object.entries(env).filter(([other]) => other !== name))

t.test('publishers, refused or without a variable: each says so on stderr, ends with a fault, and prints no id', async (t) => {
  const issuer = createIssuer()
  const redis = await startRedis(t, { own: true })
  const node = await startNode(t, { env: { ...issuer.env, REDIS_URL: redis.url } })
  // Nobody loaded the functions there.
  const bare = await startRedis(t, { own: true })
  const env = { JWT_SECRET: issuer.env.JWT_SECRET, REDIS_URL: redis.url, TIDINGS_BASE: node.url, TIDINGS_TO: 'user:42' }
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
