// The publishing programs of examples/clients on a Redis that takes what they send, and is silent.
import net, { type AddressInfo } from 'node:net'
import t from 'tap'
import { startNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer } from '../fixtures/tokens.ts'
import { partitioned, publishers } from './programs.ts'
import { each, run } from './run.ts'

t.test('publishers, whose Redis is silent: each ends with a fault and says it', async (t) => {
  const redis = await startRedis(t, { own: true })
  const issuer = createIssuer()
  const { url } = await startNode(t, { env: { ...issuer.env, REDIS_URL: redis.url } })
  const silent = net.createServer((client) => { client.on('error', () => {}).resume() })
  await new Promise<void>((resolve) => { silent.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => silent.close())
  const place = `127.0.0.1:${(silent.address() as AddressInfo).port}`
  // redis-py tries again for a minute.
  const { 'python/partitions.py': _, ...quick } = partitioned
  await each(Object.entries({ ...publishers, ...quick }), async ([name, line]) => {
    const env = { ...issuer.env, TIDINGS_BASE: url, TIDINGS_TO: 'user:42', REDIS_URL: `redis://${place}`, REDIS_ADDRESSES: place }
    const { code, out, err } = await run(name in quick ? [...line, 'user:42'] : line, env)
    t.ok(code !== 0 && code !== null && out === '' && err !== '', `${name}: ${code} ${out} ${err.slice(0, 300)}`)
  })
})
