// A division that was broken off late, or is done by two calls at once: what is published meanwhile is kept.
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { Doubling } from '../../src/broker/redis/partitions/doubling.ts'
import type { Ask } from '../../src/broker/redis/partitions/scan.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { Links } from '../../src/broker/redis/links.ts'
import { parseRedisUrl } from '../../src/redis-url.ts'
import { spawnChild, type Child } from '../fixtures/process.ts'
import { startRedis, type Redis } from '../fixtures/redis.ts'
import { listOf, now, request } from './contract.ts'
import { becomes, startPartitions } from './nodes.ts'

const users = Array.from({ length: 20 }, (_, i) => `u${i}`)
const silent = { info () {}, warn () {} }

const double = (t: Test, redis: Redis): Child =>
  spawnChild(t, process.execPath, ['scripts/partitions.ts', '--from', '2', '--to', '4'], { name: 'partitions', env: { ...process.env, REDIS_URL: redis.url, REDIS_PREFIX: redis.prefix } })

/** Of two partitions, with a group whose home is a new one once there are four. */
async function two (t: Test, redis: Redis): Promise<{ group: string, home: string, member: string }> {
  const [group] = Array.from({ length: 100 }, (_, i) => `g${i}`).filter((name) => !tagsOf(2).includes(tagsOf(4)[partitionOf(name, 4)]!)) as [string]
  const home = `${redis.prefix}:{${tagsOf(4)[partitionOf(group, 4)]}}`
  const node = await startPartitions(t, redis, 2)
  for (const user of users) {
    await now(node, user)
    await node.broker.join(user, group)
  }
  const owed = async (): Promise<boolean> => (await Promise.all(tagsOf(2).map((tag) => redis.cli('EXISTS', `${redis.prefix}:{${tag}}:outbox`)))).some(Number)
  await node.broker.publish(request(`group:${group}`, 'before'))
  await becomes(async () => !await owed(), 'the copy to be made')
  await node.broker.close()
  return { group, home, member: users.find((user) => partitionOf(user, 4) === partitionOf(group, 4))! }
}

/** A call of the tool in this process. `before` runs before each command, once it has begun to copy. */
async function call (t: Test, redis: Redis, before: (key: string) => Promise<void>): Promise<() => Promise<string>> {
  const links = new Links({ place: parseRedisUrl(redis.url), nodeName: 'partitions', log: silent })
  links.start()
  t.teardown(() => { links.close() })
  await becomes(() => links.faultOf('') === '', 'a connection')
  let isBegun = false
  const doubling = new Doubling({
    root: redis.prefix,
    from: 2,
    to: 4,
    isDryRun: false,
    isCluster: false,
    say: (text) => { isBegun ||= text.startsWith('partition') },
    ask: async (key, command) => {
      if (isBegun) await before(key)
      return await links.give(key, command)
    }
  })
  return async () => await doubling.run().then(() => 'done', (error: Error) => error.message)
}

t.test('what is published when the new partitions take it already, while the list does not say yet that they are there, is kept', async (t) => {
  const redis = await startRedis(t, { own: true })
  const { group, home, member } = await two(t, redis)
  const run = await call(t, redis, async (key) => {
    // The tool also looks at the list once a second, maybe before this partition is set up.
    if (key === `${redis.prefix}:partitions` && await redis.cli('HGET', `${home}:config`, 'partition')) throw new Error('killed')
  })
  t.equal(await run(), 'killed')
  const publish = async (): Promise<unknown> => await redis.cli('FCALL', 'tidings_publish', 1, home, `group:${group}`, 'message', '"early"').catch(() => null)
  await becomes(async () => Array.isArray(await publish()), 'it to be taken')
  const child = double(t, redis)
  t.match(await child.exited, { code: 0 }, child.lines.join(' | '))
  const after = await startPartitions(t, redis, 4)
  t.match((await listOf(after, member)).notifications.map(({ json }) => json), ['"early"', '"before"'])
})

t.test('what is published when a call was killed just as it began, and what nodes alone can copy, does not keep the partitions from ever being used', async (t) => {
  const redis = await startRedis(t, { own: true })
  const { group, member } = await two(t, redis)
  const list = `${redis.prefix}:partitions`
  const home = `${redis.prefix}:{${tagsOf(2)[partitionOf(group, 2)]}}`
  // It was killed before it had told this partition.
  await redis.cli('DEL', list)
  await redis.cli('RPUSH', list, 'doubling from 2 to 4', 'a call')
  await redis.cli('FCALL', 'tidings_publish', 1, home, `group:${group}`, 'message', '"owed"')
  const early = double(t, redis)
  t.match(await early.exited, { code: 1 })
  t.match(early.lines.at(-1), /owes notifications to other partitions: start one node with REDIS_PARTITIONS=2 for some seconds/)
  t.same(await redis.cli('LRANGE', list, 0, -1), tagsOf(2).map((tag) => `${redis.prefix}:{${tag}}`))
  const node = await startPartitions(t, redis, 2)
  await node.broker.publish(request(`group:${group}`, 'as before'))
  await becomes(async () => (await Promise.all(tagsOf(2).map((tag) => redis.cli('EXISTS', `${redis.prefix}:{${tag}}:outbox`)))).every((there) => there === 0), 'all to be copied')
  await node.broker.close()
  const child = double(t, redis)
  t.match(await child.exited, { code: 0 }, child.lines.join(' | '))
  const after = await startPartitions(t, redis, 4)
  t.match((await listOf(after, member)).notifications.map(({ json }) => json), ['"as before"', '"owed"', '"before"'])
})

t.test('a call that is slow, and goes on after another one did the work, changes nothing', async (t) => {
  const redis = await startRedis(t, { own: true })
  const { group, member } = await two(t, redis)
  const [waits, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const run = await call(t, redis, async () => {
    waits.resolve()
    await release.promise
  })
  const slow = run()
  await waits.promise
  const other = double(t, redis)
  t.match(await other.exited, { code: 0 }, other.lines.join(' | '))
  const after = await startPartitions(t, redis, 4)
  await after.broker.publish(request(`group:${group}`, 'later'))
  release.resolve()
  t.equal(await slow, 'another call of this tool has taken over: let that one finish')
  await after.broker.publish(request(`group:${group}`, 'last'))
  t.match((await listOf(after, member)).notifications.map(({ json }) => json), ['"last"', '"later"', '"before"'])
})

t.test('many large logs are copied a few at a time, small ones many at a time', async (t) => {
  const redis = await startRedis(t, { own: true })
  await (await startPartitions(t, redis, 2)).broker.close()
  const keys = (count: number, kind: string, partitions: number): string[] => Array.from({ length: count }, (_, i) =>
    `${redis.prefix}:{${tagsOf(partitions)[partitionOf(`${kind}${i}`, partitions)]}}:log:user:${kind}${i}`)
  const fill = async (names: string[], data: string | Buffer): Promise<void> => { for (const key of names) await redis.cli('XADD', key, '1-0', 'e', 'message', 'd', data) }
  const links = new Links({ place: parseRedisUrl(redis.url), nodeName: 'partitions', log: silent })
  links.start()
  t.teardown(() => { links.close() })
  await becomes(() => links.faultOf('') === '', 'a connection')
  let now = 0
  let most = 0
  const counted = async <T>(dump: Promise<T>): Promise<T> => {
    most = Math.max(most, ++now)
    return await dump.finally(() => { now-- })
  }
  const ask: Ask = async (key, command) => await links.give(key, (redis) => command(new Proxy(redis, {
    get: (redis, name) => name === 'dumpBuffer' ? (key: string) => counted(redis.dumpBuffer(key)) : Reflect.get(redis, name, redis)
  })))
  const divide = async (from: number): Promise<number> => {
    most = 0
    await new Doubling({ root: redis.prefix, from, to: 2 * from, isDryRun: false, isCluster: false, say () {}, ask }).run()
    return most
  }
  await fill(keys(100, 'large', 2), randomBytes(1_000_000)) // not to be compressed
  const atOnce = await divide(2)
  t.ok(atOnce <= 12, `${atOnce} of a megabyte`)
  for (const key of keys(100, 'large', 4)) t.equal(await redis.cli('UNLINK', key), 1)
  await fill(keys(200, 'small', 4), '1')
  t.ok(await divide(4) > 12, 'more of a few bytes')
  t.equal(await redis.cli('EXISTS', ...keys(200, 'small', 8)), 200)
})

t.test('a key that expires while it is copied, does not stay for ever', async (t) => {
  const redis = await startRedis(t)
  const { home, member } = await two(t, redis)
  const links = new Links({ place: parseRedisUrl(redis.url), nodeName: 'partitions', log: silent })
  links.start()
  t.teardown(() => { links.close() })
  await becomes(() => links.faultOf('') === '', 'a connection')
  const expired = new Map<string, Promise<unknown>>()
  const ask: Ask = async (key, command) => await links.give(key, (redis) => command(new Proxy(redis, {
    get: (redis, name) => {
      if (name === 'dumpBuffer') {
        return async (key: string) => {
          const dump = redis.dumpBuffer(key)
          if (key.endsWith(`:groups:${member}`)) expired.set(key, dump.then(async () => await redis.unlink(key)))
          return await dump
        }
      }
      return name === 'pexpiretime' ? async (key: string) => { await expired.get(key); return await redis.pexpiretime(key) } : Reflect.get(redis, name, redis)
    }
  })))
  await new Doubling({ root: redis.prefix, from: 2, to: 4, isDryRun: false, isCluster: false, say () {}, ask }).run()
  t.equal(expired.size, 1)
  t.equal(await redis.cli('EXISTS', ...expired.keys(), `${home}:groups:${member}`), 0)
})
