// Connections that are given up, and what comes late on them.
import t, { type Test } from 'tap'
import type { Redis } from 'ioredis'
import { openConnection } from '../../src/broker/redis/connection.ts'
import { parseRedisUrl } from '../../src/redis-url.ts'
import { makeAuthority, trust } from '../fixtures/certificate.ts'
import { startRedis } from '../fixtures/redis.ts'

function open (t: Test, url: string): Redis {
  const place = parseRedisUrl(url)
  const redis = openConnection({ place, nodeName: 'connection' }, place.addresses[0]!, { autoResubscribe: false })
  redis.on('error', () => {})
  t.teardown(() => { redis.disconnect() })
  return redis
}

t.test('a TLS connection that is given up in the middle of its handshake ends no process', async (t) => {
  const tls = makeAuthority(t)
  const { port } = new URL((await startRedis(t, { tls })).url)
  // Not trusted yet: this alone is one error, and whatever Redis says of it would be another.
  for (let round = 0; round < 100; round++) {
    const redis = open(t, `rediss://localhost:${port}`)
    const connected = redis.connect().catch(() => {})
    // Each round a little later: before the first byte, between any two messages of the handshake, and after it.
    for (const end = performance.now() + round / 10; performance.now() < end;) await new Promise(setImmediate)
    redis.disconnect()
    await connected
  }
  trust(t, tls)
  const last = open(t, `rediss://localhost:${port}`)
  await last.connect()
  t.equal(await last.ping(), 'PONG', 'and Redis takes the next one')
})

t.test('a connection sends nothing that Redis refuses, or that the ACL recipes do not allow', async (t) => {
  const redis = await startRedis(t, { own: true })
  const connection = open(t, redis.url)
  await connection.connect()
  t.equal(await connection.ping(), 'PONG')
  t.notMatch(await redis.cli('INFO', 'errorstats'), /errorstat_/)
  t.notMatch(await redis.cli('INFO', 'commandstats'), /setinfo/)
})
