// REDIS_URL: every form that is right is taken by us and by the client library alike; every other is refused with a sentence.
import t from 'tap'
import { openConnection } from '../src/broker/redis/connection.ts'
import { MEMORY_URL, parseRedisUrl, redisUrlFault } from '../src/redis-url.ts'

t.test('REDIS_URL, of every form that it may have, is taken, and means the same to the client library', async (t) => {
  for (const [url, options] of [
    ['redis://redis', { host: 'redis', port: 6379, db: 0 }],
    ['redis://redis:6380/', { host: 'redis', port: 6380, db: 0 }],
    ['redis://[::1]:6380/3', { host: '::1', port: 6380, db: 3 }],
    ['redis://:100%25@redis/15', { password: '100%', db: 15 }],
    ['redis://tidings:a%2Fb%3Fc%23d%40e%3Af@redis', { username: 'tidings', password: 'a/b?c#d@e:f' }],
    ['rediss://user:password@redis.example:6380', { tls: { servername: 'redis.example' }, host: 'redis.example' }]
  ] as const) {
    t.equal(redisUrlFault(url), undefined, url)
    const place = parseRedisUrl(url)
    const client = openConnection({ place, nodeName: 'n' }, place.addresses[0]!, {})
    t.match({ ...client.options, db: Number(client.options.db) }, options, url)
    client.disconnect()
  }
  t.equal(redisUrlFault(MEMORY_URL), undefined)
})

t.test('REDIS_URL, of Sentinels and of a Cluster, has several hosts, and what else belongs to its form', async (t) => {
  const sentinels = { kind: 'sentinel', isTls: false, username: '', password: '', database: 0, masterName: 'mymaster' }
  for (const [url, place] of [
    ['redis+sentinel://s1,s2:26380,[::1]:26381/mymaster', { ...sentinels, addresses: [{ host: 's1', port: 26_379 }, { host: 's2', port: 26_380 }, { host: '::1', port: 26_381 }] }],
    ['redis+sentinel://s1/mymaster/3', { ...sentinels, addresses: [{ host: 's1', port: 26_379 }], database: 3 }],
    ['rediss+sentinel://user:a%2Cb%40@s1/my%20master', { ...sentinels, addresses: [{ host: 's1', port: 26_379 }], isTls: true, username: 'user', password: 'a,b@', masterName: 'my master' }],
    ['redis+sentinel://tidings:a%40b@watch:c%3Ad@s1,s2/m', { ...sentinels, addresses: [{ host: 's1', port: 26_379 }, { host: 's2', port: 26_379 }], username: 'tidings', password: 'a@b', masterName: 'm', sentinelLogin: { username: 'watch', password: 'c:d' } }],
    ['redis+sentinel://:a@:b@s1/m', { ...sentinels, password: 'a', masterName: 'm', sentinelLogin: { username: '', password: 'b' } }],
    ['redis+sentinel://@:b@s1/m', { ...sentinels, password: '', masterName: 'm', sentinelLogin: { username: '', password: 'b' } }],
    ['redis+sentinel://:a@@s1/m', { ...sentinels, password: 'a', masterName: 'm', sentinelLogin: { username: '', password: '' } }],
    ['redis+cluster://n1:7000,n2:7001,n3', { kind: 'cluster', isTls: false, addresses: [{ host: 'n1', port: 7000 }, { host: 'n2', port: 7001 }, { host: 'n3', port: 6379 }] }],
    ['rediss+cluster://:pass@n1', { kind: 'cluster', isTls: true, username: '', password: 'pass', addresses: [{ host: 'n1', port: 6379 }] }]
  ] as const) {
    t.equal(redisUrlFault(url), undefined, url)
    t.match(parseRedisUrl(url), place, url)
  }
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
    ['redis://one,two', /several hosts/],
    ['redis+sentinel://s1,s2', /name by which the Sentinels know the master/],
    ['redis+sentinel://:sEcret@:b@c@s1/master', /%40/],
    ['redis+sentinel://:a@:sEcret%@s1/master', /%25/],
    ['redis+sentinel://s1/master/db', /number of a database/],
    ['redis+sentinel://s1/master/1/2', /number of a database/],
    ['redis+sentinel://s1,,s2/master', /is not a URL/],
    ['redis+sentinel://s1:port/master', /is not a URL/],
    ['redis+sentinel://u:sEcret/x@s1/master', /is not a URL|number of a database/],
    ['redis+cluster://n1/2', /a Cluster has no databases/],
    ['redis+cluster://', /is not a URL|has no host/],
    ['redis+cluster://u:100%@n1', /%25/],
    ['redis+tls://redis', /must be redis:\/\//],
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
