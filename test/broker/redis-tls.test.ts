// TLS with a CA of one's own, users with passwords, and a database: behind Sentinels and in a Cluster, as an operator's node has them.
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { makeAuthority, trust } from '../fixtures/certificate.ts'
import { startNode } from '../fixtures/node.ts'
import { startRedisCluster } from '../fixtures/redis-cluster.ts'
import { startRedis } from '../fixtures/redis.ts'
import { startSentinels } from '../fixtures/sentinel.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { eventually } from '../fixtures/wait.ts'
import { becomes, startRedisNode } from './nodes.ts'

/** What docs/redis.md says that a user of a Sentinel needs. */
const rights = /A user of a Sentinel needs `([^`]+)`/.exec(readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8'))![1]!.split(' ')
const tls = makeAuthority(t)
// This process trusts it where a test says so; a node, by NODE_EXTRA_CA_CERTS.
const issuer = createIssuer()
const authorization = `Bearer ${issuer.token({ sub: 'service', scope: PUBLISH })}`

const start = async (t: Test, env: Record<string, string>): Promise<() => Promise<number>> => {
  const { url } = await startNode(t, { env: { ...issuer.env, NODE_EXTRA_CA_CERTS: tls.caFile, ...env } })
  const body = '{"to":["user:1","user:2","user:3","all"],"data":1}'
  return async () => (await fetch(`${url}/api/notifications`, { method: 'POST', headers: { authorization, 'content-type': 'application/json' }, body })).status
}
/** What stands in /readyz then. */
async function tells (t: Test, url: string, pattern: RegExp): Promise<void> {
  const { broker, said } = startRedisNode(t, { url, prefix: 'x' })
  await becomes(() => pattern.test(broker.state().detail), String(pattern))
  t.ok(said.some((text) => pattern.test(text)), `and says so: ${pattern}`)
  await broker.close()
}

t.test('Sentinels with TLS, with a user and a password of their own, and a database: a node is ready, and finds the next master', async (t) => {
  const sentinels = await startSentinels(t, { tls, password: 'secret' })
  for (const { cli } of sentinels.nodes) await cli('ACL', 'SETUSER', 'tidings', 'on', '>of redis', '~*', '&*', '+@all')
  for (const { cli } of sentinels.sentinels) {
    await cli('ACL', 'SETUSER', 'watch', 'on', '>of sentinels', ...rights)
    await cli('ACL', 'SETUSER', 'default', 'resetpass', '>another')
  }
  const hosts = sentinels.sentinels.map(({ port }) => `localhost:${port}`).join()
  const urlOf = (logins: string): string => `rediss+sentinel://${logins}${hosts}/mymaster/3`
  const publish = await start(t, { REDIS_URL: urlOf('tidings:of%20redis@watch:of%20sentinels@'), REDIS_PREFIX: sentinels.prefix })
  t.equal(await publish(), 202)
  for (const { cli } of sentinels.sentinels) t.same(await cli('ACL', 'LOG'), [], 'nothing was refused to a node')
  const [master] = sentinels.nodes as [typeof sentinels.nodes[0]]
  t.equal(await master.cli('EXISTS', `${sentinels.prefix}:clock`), 0)
  await master.cli('SELECT', 3)
  t.equal(await master.cli('EXISTS', `${sentinels.prefix}:clock`), 1, 'it is in the database')

  await tells(t, urlOf('tidings:of%20redis@watch:of%20sentinels@'), /no Sentinel answers: Redis has a certificate that this node does not trust/)
  trust(t, tls)
  await tells(t, urlOf('tidings:of%20redis@'), /the Sentinels want another user or password/)
  await tells(t, urlOf('tidings:of%20redis@watch:wrong@'), /the Sentinels want another user or password/)
  await tells(t, urlOf('tidings:wrong@watch:of%20sentinels@'), /Redis wants another user or password/)

  await master.kill()
  await eventually(publish, (status) => status === 202, { what: 'is something taken by the next master', withinMs: 60_000 })
})

t.test('a Cluster with TLS and a user: a node is ready, and publishes over its partitions', async (t) => {
  const cluster = await startRedisCluster(t, { tls })
  for (const { cli } of cluster.nodes) await cli('ACL', 'SETUSER', 'tidings', 'on', '>of redis', '~*', '&*', '+@all')
  const url = cluster.url.replace('://', '://tidings:of%20redis@')
  const publish = await start(t, { ...cluster.env, REDIS_URL: url, REDIS_PARTITIONS: '4' })
  t.equal(await publish(), 202)
  await tells(t, url, /no node of the Cluster answers: Redis has a certificate that this node does not trust/)
})

t.test('TLS where there is none, none where there is TLS, a CA that is not known: each has its sentence', async (t) => {
  const [plain, redis] = await Promise.all([startRedis(t, { own: true }), startRedis(t, { tls })])
  await tells(t, plain.url.replace('redis:', 'rediss:'), /Redis does not speak TLS there/)
  await tells(t, redis.url, /a certificate that this node does not trust/)
  await tells(t, redis.url.replace('rediss:', 'redis:'), /the connection was cut; .* it speaks TLS/)
})
