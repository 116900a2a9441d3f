// Nodes that do not know that partitions were divided: they were stopped, or cut off, while that was done.
import t, { type Test } from 'tap'
import { tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { connect } from '../fixtures/client.ts'
import { startNode } from '../fixtures/node.ts'
import { spawnChild, type Child } from '../fixtures/process.ts'
import { startRedis, type Redis } from '../fixtures/redis.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { refusal, request } from './contract.ts'
import { becomes, startRedisNode, up } from './nodes.ts'

const users = ['u1', 'u2', 'u3', 'u4']

const double = (t: Test, { url, prefix }: Redis, ...args: string[]): Child =>
  spawnChild(t, process.execPath, ['scripts/partitions.ts', ...args], { name: 'partitions', env: { ...process.env, REDIS_URL: url, REDIS_PREFIX: prefix } })

t.test('nodes that were stopped while partitions were divided, end when they go on, and their clients get everything from another one', async (t) => {
  const issuer = createIssuer()
  await Promise.all([1, 2].map(async (from) => {
    const redis = await startRedis(t, { own: true })
    const env = (partitions: number): Record<string, string> => ({ ...redis.env, ...issuer.env, REDIS_PARTITIONS: String(partitions), RETRY_MS: '200' })
    const stopped = await startNode(t, { env: env(from), name: `of-${from}` })
    let next = stopped
    const clients = users.map((sub) => connect(t, { url: () => next.url, token: issuer.token({ sub }), retryCapMs: 200 }))
    for (const client of clients) await client.live()
    stopped.signal('SIGSTOP')
    const early = double(t, redis, '--from', String(from), '--to', '4')
    t.match(await early.exited, { code: 1 })
    t.match(early.lines.join(), /a node does nothing but is still connected.*CLIENT KILL TYPE pubsub and CLIENT KILL TYPE normal, and call again/)
    for (const type of ['pubsub', 'normal']) await redis.cli('CLIENT', 'KILL', 'TYPE', type)
    const child = double(t, redis, '--from', String(from), '--to', '4')
    t.match(await child.exited, { code: 0 }, child.lines.join(' | '))
    next = await startNode(t, { env: env(4), name: `after-${from}` })
    stopped.signal('SIGCONT')
    await stopped.waitForLine(new RegExp(`"level":60.*cannot go on: REDIS_PARTITIONS is ${from}, and what stands under .* has 4`))
    const token = issuer.token({ sub: 'backend', scope: PUBLISH })
    const publish = async ({ url }: { url: string }, mark: number): Promise<number> => {
      const body = JSON.stringify({ to: users.map((user) => `user:${user}`), data: { mark } })
      return (await fetch(`${url}/api/notifications`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body })).status
    }
    t.not(await publish(stopped, 1).catch(() => 0), 202, 'it takes nothing that nobody would get')
    t.equal(await publish(next, 2), 202)
    t.match(await stopped.exited, { code: 1 }, 'nobody asked it to end')
    for (const client of clients) {
      const { json } = await client.live(2)
      t.match(json, { resume: 'complete' })
      await client.next()
      t.same(client.notifications.map(({ json }) => json), [{ mark: 2 }])
    }
  }))
})

t.test('a prefix that is being divided, or is no partition any more, takes nothing from a node that does not know it', async (t) => {
  const redis = await startRedis(t)
  const node = startRedisNode(t, redis)
  await up(node)
  for (const partition of ['', 'none']) {
    await redis.cli('HSET', `${redis.prefix}:config`, 'partitions', tagsOf(4).join(' '), 'partition', partition)
    await becomes(() => /is no partition any more, or is being divided/.test(node.broker.state().detail), 'the node to say so')
    await redis.cli('DEL', `${redis.prefix}:log:user:u1`)
    t.ok(await refusal(node.broker.publish(request('user:u1', 1))))
    t.equal(await redis.cli('EXISTS', `${redis.prefix}:log:user:u1`), 0)
    await redis.cli('HDEL', `${redis.prefix}:config`, 'partitions', 'partition')
    await becomes(() => node.broker.state().up, 'all to be as before')
  }
  await redis.cli('RPUSH', `${redis.prefix}:partitions`, ...tagsOf(4).map((tag) => `${redis.prefix}:{${tag}}`))
  await node.broker.refused
  t.match(node.broker.state(), { up: false, isRefused: true, detail: /^REDIS_PARTITIONS is 1, and what stands under .* has 4/ })
})
