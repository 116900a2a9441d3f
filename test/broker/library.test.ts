// The function library: its number and its content belong together, it can be printed, and what is not ours is told.
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import t from 'tap'
import { Unavailable } from '../../src/broker/broker.ts'
import { library, LIBRARY_HASH, LIBRARY_VERSION } from '../../src/broker/redis/library.ts'
import { startRedis } from '../fixtures/redis.ts'
import { refusal, send } from './contract.ts'
import { becomes, startRedisNode, up } from './nodes.ts'

/** What each version holds. A node replaces an older one only: what changes under the same number never gets to Redis. */
const HASHES: Readonly<Record<number, string>> = {
  7: 'a8c801af07077e162c3561138ef48a90fa8d887602f8ceb7ebdd993029e20c6c'
}

t.test('the version, beside what stands in the library, was raised with it', async (t) => {
  t.equal(LIBRARY_HASH, HASHES[LIBRARY_VERSION], `functions changed: raise VERSION in names.lua (if ${LIBRARY_VERSION} was released) and enter the new hash here`)
})

t.test('the library, file by file, has none of more than 250 lines', async (t) => {
  const folder = new URL('../../src/broker/redis/functions/', import.meta.url)
  const files = readdirSync(folder)
  t.ok(files.length > 20, `${files.length} files`)
  for (const file of files) t.ok(readFileSync(new URL(file, folder), 'utf8').trimEnd().split('\n').length <= 250, file)
})

t.test('the library, printed twice, has a nonce of its own each time', async (t) => {
  const print = async (): Promise<string> => (await promisify(execFile)(process.execPath, ['scripts/print-library.ts'], { maxBuffer: 1e7 })).stdout
  const [one, other] = [await print(), await print()]
  t.match(one, /^#!lua name=tidings\nlocal NONCE = '[0-9a-f]{32}'\nlocal PUBLISH, NUMSUB = 'PUBLISH', 'NUMSUB'\n/)
  t.not(one, other)
  t.equal(one.slice(120), other.slice(120))
  const redis = await startRedis(t, { own: true })
  t.equal(await redis.cli('FUNCTION', 'LOAD', one), 'tidings', 'and Redis takes it')
  const node = startRedisNode(t, redis)
  await up(node)
  await node.broker.subscribe(['all'])
  await node.ear.id(await send(node, 'all'))
})

t.test('the library, of the same version but without a function that a node calls, is no reason to be ready', async (t) => {
  const redis = await startRedis(t, { own: true })
  await redis.cli('FUNCTION', 'LOAD', 'REPLACE', library().replace("'tidings_visits', visits", "'tidings_admits', visits"))
  const node = startRedisNode(t, redis)
  await up(node)
  t.type(await refusal(node.broker.visit({ userId: '1', issuedAtSeconds: 1, expiresAtSeconds: 2 })), Unavailable)
  t.match(node.broker.state(), { up: false, detail: /the function library in Redis is another one, and lacks tidings_visits/ })
})

t.test('another library, loaded while nodes run, is told by its nonce: what it said meanwhile is read from the logs', async (t) => {
  const redis = await startRedis(t, { own: true })
  const [a, b] = [startRedisNode(t, redis), startRedisNode(t, redis)]
  await Promise.all([up(a), up(b)])
  await a.broker.subscribe(['all'])
  await redis.cli('FUNCTION', 'LOAD', 'REPLACE', library())
  await redis.cli('FCALL', 'tidings_publish', 1, redis.prefix, 'all', 'message', '1')
  await a.ear.until(() => a.ear.lines.join() === 'interrupted,restored' || undefined, 'the streams to be refilled')
  await a.ear.id(await send(b, 'all'))
  await becomes(() => b.broker.state().up, 'both to be up')
})

t.test('nodes that start together, on an empty Redis, agree on one library: nothing that one says is a stranger to another', async (t) => {
  const redis = await startRedis(t, { own: true })
  const nodes = Array.from({ length: 8 }, () => startRedisNode(t, redis))
  await Promise.all(nodes.map(up))
  await Promise.all(nodes.map(({ broker }) => broker.subscribe(['all'])))
  const ids = await Promise.all(nodes.map((node) => send(node, 'all')))
  for (const { ear } of nodes) {
    await Promise.all(ids.map((id) => ear.id(id)))
    t.same(ear.drops, [])
  }
  const [, calls, failed] = /function\|load:calls=(\d+).*failed_calls=(\d+)/.exec(String(await redis.cli('INFO', 'commandstats')))!
  t.equal(Number(calls) - Number(failed), 1, 'one was loaded')
})

t.test('nodes that start together, where an older library stands, replace it once', async (t) => {
  const redis = await startRedis(t, { own: true })
  await redis.cli('FUNCTION', 'LOAD', readFileSync(new URL('../fixtures/functions-v5.lua', import.meta.url), 'utf8'))
  const nodes = Array.from({ length: 8 }, () => startRedisNode(t, redis))
  await Promise.all(nodes.map(up))
  t.equal(await redis.cli('FCALL_RO', 'tidings_version', 0), LIBRARY_VERSION)
  const [, calls] = /function\|load:calls=(\d+)/.exec(String(await redis.cli('INFO', 'commandstats')))!
  t.equal(Number(calls), 2, 'the older one, and one of ours')
})
