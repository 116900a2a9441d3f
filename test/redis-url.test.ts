// REDIS_URL: every form that is right is taken by us and by the client library alike; every other is refused with a sentence.
import t from 'tap'
import { Redis } from 'ioredis'
import { MEMORY_URL, redisUrlFault } from '../src/redis-url.ts'

t.test('REDIS_URL, of every form that it may have, is taken, and means the same to the client library', async (t) => {
  for (const [url, options] of [
    ['redis://redis', { host: 'redis', port: 6379, db: 0 }],
    ['redis://redis:6380/', { host: 'redis', port: 6380, db: 0 }],
    ['redis://[::1]:6380/3', { host: '::1', port: 6380, db: 3 }],
    ['redis://:100%25@redis/15', { password: '100%', db: 15 }],
    ['redis://tidings:a%2Fb%3Fc%23d%40e%3Af@redis', { username: 'tidings', password: 'a/b?c#d@e:f' }],
    ['rediss://user:password@redis.example:6380', { tls: true, host: 'redis.example' }]
  ] as const) {
    t.equal(redisUrlFault(url), undefined, url)
    const client = new Redis(url, { lazyConnect: true })
    t.match({ ...client.options, db: Number(client.options.db) }, options, url)
    client.disconnect()
  }
  t.equal(redisUrlFault(MEMORY_URL), undefined)
})

t.test('REDIS_URL, with a fault, is refused with a sentence that says what would be right and does not quote it', async (t) => {
  for (const [url, why] of [
    ['redis://:100%@redis', /%25/],
    ['redis://:sEcret%zz@redis', /%25/],
    ['redis://us%er:x@redis', /%25/],
    ['redis://:sEcret/x@redis:6379', /percent-encoded/],
    ['redis://:sEcret?x@redis:6379', /percent-encode/],
    ['redis://:sEcret#x@redis:6379', /percent-encode/],
    ['redis://redis:port', /percent-encoded/],
    ['redis://redis:70000', /is not a URL/],
    ['redis://redis/database', /number of a database/],
    ['redis://redis/0/1', /number of a database/],
    ['redis://redis/-1', /number of a database/],
    ['redis://redis?db=2', /no \?/],
    ['redis://redis/2?lazyConnect=true', /no \?/],
    ['redis://redis#2', /no #/],
    ['redis://', /must be redis:\/\/|has no host|is not a URL/],
    ['redis://:6379', /is not a URL|has no host/],
    ['redis:redis', /must be redis:\/\//],
    ['redis.example:6379', /must be redis:\/\//],
    ['/run/redis.sock', /must be redis:\/\//],
    ['unix:///run/redis.sock', /must be redis:\/\//],
    ['http://redis', /must be redis:\/\//],
    ['memory', /memory:/],
    ['memory://', /memory:/],
    ['6379', /must be redis:\/\//]
  ] as const) {
    const fault = redisUrlFault(url)
    t.match(fault, why, url)
    t.notMatch(fault, 'sEcret')
  }
})
