// The publishing programs of examples/clients, when the answer of Redis is lost: many libraries repeat the call.
import net, { type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { listOf } from '../broker/contract.ts'
import { startRedisNode, up } from '../broker/nodes.ts'
import { startNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer } from '../fixtures/tokens.ts'
import { partitioned, publishers } from './programs.ts'
import { each, run } from './run.ts'

/** Leads to a Redis. The first publish comes there; its answer does not come back, because the connection breaks. */
async function startTearing (t: Test, redisPort: number): Promise<{ port: number, isTorn: () => boolean }> {
  let isTorn = false
  const server = net.createServer((client) => {
    const redis = net.connect(redisPort, '127.0.0.1')
    let isLost = false
    client.on('data', (bytes) => {
      if (!isTorn && bytes.includes('tidings_publish')) isTorn = isLost = true
      redis.write(bytes)
    })
    redis.on('data', (bytes) => { if (isLost) client.destroy(); else client.write(bytes) })
    for (const [one, other] of [[client, redis], [redis, client]] as const) one.on('error', () => {}).on('close', () => { other.destroy() })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port, isTorn: () => isTorn }
}

t.test('publishers, whose first answer of Redis is lost: however often the library repeats the call, it is published once', async (t) => {
  const redis = await startRedis(t, { own: true })
  const issuer = createIssuer()
  const { url } = await startNode(t, { env: { ...issuer.env, REDIS_URL: redis.url } })
  const node = startRedisNode(t, { ...redis, prefix: 'tidings' })
  await up(node)
  await each(Object.entries({ ...publishers, ...partitioned }), async ([name, line]) => {
    const user = name.replace(/\W/g, '-')
    const { port, isTorn } = await startTearing(t, redis.port)
    const env = { ...issuer.env, TIDINGS_BASE: url, TIDINGS_TO: `user:${user}`, REDIS_URL: `redis://127.0.0.1:${port}`, REDIS_ADDRESSES: `127.0.0.1:${port}` }
    const { code } = await run(name in partitioned ? [...line, `user:${user}`] : line, env)
    t.ok(isTorn(), `${name}: was cut off; ends with ${code}`)
    const texts = (await listOf(node, user)).notifications.map(({ json }) => json)
    t.same(texts, [...new Set(texts)], `${name}: each once`)
    t.match(texts, name in partitioned ? [/Hello/] : [/redis/, /http/], name)
  })
})
