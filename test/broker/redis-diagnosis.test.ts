// A Redis that cannot be used, or not relied upon, is named in one sentence: in the log and in the state.
import dns from 'node:dns'
import net from 'node:net'
import { mock } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t from 'tap'
import { Line } from '../../chaos/line.ts'
import { ClusterMasters } from '../../src/broker/redis/cluster.ts'
import { explain, placeFault, readInfo } from '../../src/broker/redis/diagnosis.ts'
import { parseRedisUrl } from '../../src/redis-url.ts'
import { freePort } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { entriesOf, now, readPages, refusal, send } from './contract.ts'
import { becomes, readMeter, startRedisNode, up } from './nodes.ts'

t.test('a replica, a full Redis, a user without functions or channels: each has its sentence', async (t) => {
  const redis = await startRedis(t, { own: true })
  const node = startRedisNode(t, redis)
  await up(node)
  const tells = async (pattern: RegExp): Promise<void> => {
    await becomes(() => pattern.test(node.broker.state().detail), String(pattern))
    t.equal(node.broker.state().up, false)
    t.ok(node.said.some((text) => pattern.test(text)))
  }
  await redis.cli('REPLICAOF', '127.0.0.1', 1)
  await tells(/a replica, which takes no writes/)
  await redis.cli('REPLICAOF', 'NO', 'ONE')
  await up(node)
  await redis.cli('CONFIG', 'SET', 'maxmemory', 1)
  await tells(/Redis is full and takes no writes/)
  t.notOk(node.ear.lines.includes('interrupted') && node.ear.lines.at(-1) === 'interrupted', 'its streams stay: it hears')
  await redis.cli('CONFIG', 'SET', 'maxmemory', 0)
  await up(node)

  await redis.cli('ACL', 'SETUSER', 'deaf', 'on', '>pass', '~*', '+@all', 'resetchannels')
  const before = Number((await redis.cli('INFO', 'stats') as string).match(/total_connections_received:(\d+)/)![1])
  const deaf = startRedisNode(t, { ...redis, url: redis.url.replace('redis://', 'redis://deaf:pass@') })
  await becomes(() => /may not use the channels/.test(deaf.broker.state().detail), 'the reason')
  const refusals = async (): Promise<number> => (await redis.cli('ACL', 'LOG') as Array<Array<string | number>>)
    .filter((entry) => entry.includes('deaf')).reduce((sum, entry) => sum + Number(entry[entry.indexOf('count') + 1]), 0)
  await becomes(async () => await refusals() >= 3, 'it to have asked again')
  t.equal(deaf.said.filter((text) => /may not use the channels/.test(text)).length, 1, 'said once')
  const after = Number((await redis.cli('INFO', 'stats') as string).match(/total_connections_received:(\d+)/)![1])
  t.ok(after - before <= 8, `${after - before} connections, not nine a second`)
  await redis.cli('ACL', 'SETUSER', 'deaf', 'allchannels')
  await up(deaf)

  await Promise.all([node.broker.close(), deaf.broker.close()])
  await redis.cli('RENAME', `${redis.prefix}:config`, `${redis.prefix}:apart`)
  await redis.cli('LPUSH', `${redis.prefix}:config`, 'x')
  const muddled = startRedisNode(t, redis)
  await becomes(() => /^a key under REDIS_PREFIX is not of the kind that Tidings writes/.test(muddled.broker.state().detail), 'the reason')
  await redis.cli('RENAME', `${redis.prefix}:apart`, `${redis.prefix}:config`)
  await up(muddled)
  const told = muddled.said.length
  await redis.cli('SET', `${redis.prefix}:groups:ann`, 'x')
  await t.rejects(muddled.broker.groups('ann'), /^a key under REDIS_PREFIX/)
  t.ok(muddled.said.slice(told).some((text) => text.startsWith('Redis: a key under REDIS_PREFIX is not of the kind')), 'that of one user, too')
  t.equal(muddled.broker.state().up, true)
  await redis.cli('DEL', `${redis.prefix}:groups:ann`)
  await muddled.broker.close()

  await redis.cli('ACL', 'SETUSER', 'lame', 'on', '>pass', '~*', '&*', '+@all', '-function')
  await redis.cli('FUNCTION', 'FLUSH')
  const lame = startRedisNode(t, { ...redis, url: redis.url.replace('redis://', 'redis://lame:pass@') })
  await becomes(() => /may not load functions/.test(lame.broker.state().detail), 'the reason')
})

t.test('a database that is not there, or not allowed, is named, and nothing is written to another one', async (t) => {
  const redis = await startRedis(t, { own: true, args: ['--databases', '4'] })
  await redis.cli('ACL', 'SETUSER', 'bound', 'on', '>pass', '~*', '&*', '+@all', '-select')
  const absent = startRedisNode(t, { ...redis, url: `${redis.url}/4` })
  const bound = startRedisNode(t, { ...redis, url: `${redis.url.replace('redis://', 'redis://bound:pass@')}/3` })
  await becomes(() => /names a database that this Redis does not have/.test(absent.broker.state().detail), 'the reason')
  await becomes(() => /may not use the database of REDIS_URL/.test(bound.broker.state().detail), 'the reason')
  const refused = async (): Promise<boolean> => /cmdstat_select:.*(rejected_calls=[2-9]\d*|rejected_calls=1\d).*failed_calls=[5-9]/.test(await redis.cli('INFO', 'commandstats') as string)
  await becomes(refused, 'both to have tried again', 15_000)
  t.notOk(absent.broker.state().up || bound.broker.state().up)
  t.equal(await redis.cli('DBSIZE'), 0)
  t.equal(absent.said.filter((text) => /names a database/.test(text)).length, 1, 'said once')
})

t.test('something else than REDIS_URL says, each kind in its sentence, at once and again in the log', async (t) => {
  const [redis, node, lacking] = await Promise.all([
    startRedis(t), startRedis(t, { args: ['--cluster-enabled', 'yes'] }), startRedis(t, { args: ['--rename-command', 'FUNCTION', '', '--rename-command', 'FCALL', '', '--rename-command', 'FCALL_RO', '', '--rename-command', 'CLUSTER', ''] })
  ])
  // As a Redis 6 answers INFO; it is asked before anything else.
  const old = net.createServer((client) => {
    const server = net.connect(redis.port).on('error', () => client.destroy()).on('close', () => client.destroy())
    client.on('error', () => server.destroy()).on('close', () => server.destroy()).pipe(server)
    server.on('data', (piece) => client.write(piece.toString('latin1').replace(/redis_version:\d/, 'redis_version:6'), 'latin1'))
  })
  await new Promise<void>((resolve) => { old.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { old.close() })
  const at = (port: number, kind = ''): string => `redis${kind}://127.0.0.1:${port}`
  for (const [url, pattern] of [
    [at(node.port), /^REDIS_URL is that of a node of a Redis Cluster; write redis\+cluster:\/\//],
    [at(redis.port, '+cluster'), /^REDIS_URL says redis\+cluster:\/\/, and what answers there is no Cluster; write redis:\/\//],
    [at(lacking.port, '+cluster'), /^REDIS_URL says redis\+cluster:\/\/, and what answers there is no Cluster; .* Write redis\+sentinel:\/\/.* if it is a Sentinel/],
    [at(lacking.port), /^this Redis has no functions \(FUNCTION, FCALL\), or its configuration takes them away \(rename-command\); use Redis 7 or later, or Valkey \[ERR unknown command '\w+'\]/],
    [at((old.address() as net.AddressInfo).port), /^Redis 6\.[\d.]+ has no functions; use Redis 7 or later, or Valkey/]
  ] as const) {
    const { broker, said } = startRedisNode(t, { ...redis, url })
    await becomes(() => pattern.test(broker.state().detail), String(pattern))
    t.equal(broker.state().up, false)
    t.ok(said.some((text) => pattern.test(text.replace(/^Redis: /, ''))), String(pattern))
    await broker.close()
  }
})

t.test('the same prefix, in another database of a Redis, is refused while the other is alive', async (t) => {
  const redis = await startRedis(t, { args: ['--databases', '64'] })
  for (const [first, second] of [[0, 1], [40, 0], [41, 63]] as const) {
    const prefix = `both${first}`
    const node = startRedisNode(t, { ...redis, url: `${redis.url}/${first}` }, {}, prefix)
    await up(node)
    const other = startRedisNode(t, { ...redis, url: `${redis.url}/${second}` }, {}, prefix)
    await becomes(() => other.broker.state().detail.includes(`runs in database ${first} of this Redis`), `the reason in ${second}`)
    t.equal(other.broker.state().up, false)
    const apart = startRedisNode(t, { ...redis, url: `${redis.url}/${second}` }, {}, `apart${first}`)
    await up(apart)
  }
})

t.test('eviction, where the policy allows it, is warned of, and what may be gone is told', async (t) => {
  const redis = await startRedis(t, { own: true })
  await redis.cli('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random')
  await redis.cli('CONFIG', 'SET', 'maxmemory', '100mb')
  const node = startRedisNode(t, redis)
  await up(node)
  t.match(node.broker.state().warnings, [/evicts keys when it is full \(maxmemory-policy allkeys-random\)/])
  t.ok(Number(readMeter(node.broker, 'tidings_redis_memory_used_ratio')) > 0)
  const cursor = await now(node)
  await send(node, 'user:1')
  t.match(await readPages(node, { userId: '1', cursor }), [{ gap: false }])
  await redis.cli('SELECT', 0)
  for (let i = 0; i < 50; i++) await redis.cli('SET', `filler:${i}`, 'x')
  await redis.cli('CONFIG', 'SET', 'maxmemory', '1mb')
  await becomes(async () => Number((await redis.cli('INFO', 'stats') as string).match(/evicted_keys:(\d+)/)![1]) > 0, 'an eviction')
  await redis.cli('CONFIG', 'SET', 'maxmemory', '100mb')
  await up(node)
  t.match(await readPages(node, { userId: '1', cursor }), [{ gap: true }])
})

t.test('the clock of ids, spoilt by another hand, heals by itself', async (t) => {
  const redis = await startRedis(t, { own: true })
  const node = startRedisNode(t, redis)
  await up(node)
  await node.broker.subscribe(['all'])
  for (const [key, value] of [['clock', 'x'], ['clock', String((Date.now() + 7_200_000) * 1000)], ['clock', '9007199254740991'], ['clock', '0'], ['born', 'x'], ['born', '9007199254740991']] as const) {
    const before = await send(node, 'all')
    const cursor = await now(node)
    await redis.cli('SET', `${redis.prefix}:${key}`, value)
    const id = await send(node, 'all')
    t.ok(id > before && id < (Date.now() + 60_000) * 1000, `${key} ${value}`)
    await node.ear.id(id)
    t.same(entriesOf(await readPages(node, { cursor })).map(({ id }) => id), [id])
    const after = await now(node)
    const next = await send(node, 'all')
    t.match(await readPages(node, { cursor: after }), [{ gap: false, entries: [{ id: next }] }])
  }
})

t.test('a Redis that loads its data: said for as long as it does, to a node that was connected and to one that begins', async (t) => {
  const redis = await startRedis(t, { own: true, args: ['--dbfilename', 'slow.rdb', '--key-load-delay', '5000', '--loading-process-events-interval-bytes', '1024'] })
  const node = startRedisNode(t, redis)
  await up(node)
  await redis.cli('DEBUG', 'POPULATE', 8000) // 40 seconds, unless it is told to go on
  await redis.cli('SAVE')
  await redis.kill()
  const started = redis.start() // it resolves when all is loaded
  const other = startRedisNode(t, redis)
  for (const { broker, said } of [node, other]) {
    await becomes(() => /^Redis is loading its data/.test(broker.state().detail), 'the reason', 30_000)
    t.equal(broker.state().up, false)
    t.equal(said.filter((text) => text.includes('loading its data')).length, 1, 'said once')
  }
  await redis.cli('CONFIG', 'SET', 'key-load-delay', 0)
  await started
  await Promise.all([up(node), up(other)])
})

t.test('no connection left for the one that hears: the reason is told', async (t) => {
  const redis = await startRedis(t, { own: true, args: ['--maxclients', '2'] })
  await redis.cli('PING') // that is one
  const node = startRedisNode(t, redis)
  await becomes(() => /^the subscriber connection is not there: .*(maxclients|no more connections)/.test(node.broker.state().detail), 'the reason', 15_000)
  await redis.cli('CONFIG', 'SET', 'maxclients', 10)
  await up(node)
})

t.test('a host name with several addresses, at none of which anybody listens, is named as one address is', async (t) => {
  // As with localhost on most machines.
  t.teardown(() => { mock.restoreAll() })
  mock.method(dns, 'lookup', (_host: string, _options: object, done: (error: null, all: object[]) => void) => {
    process.nextTick(done, null, ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 })))
  })
  const port = await freePort()
  for (const [url, sentence] of [
    [`redis://several.test:${port}`, /^nobody listens at REDIS_URL.* 127\.0\.0\.2:/],
    [`redis+sentinel://several.test:${port}/m`, /^no Sentinel answers: nobody listens at REDIS_URL/],
    [`redis+cluster://several.test:${port}`, /nobody listens at REDIS_URL/]
  ] as const) {
    const node = startRedisNode(t, { url, prefix: 'several' })
    await becomes(() => sentence.test(node.broker.state().detail), url, 15_000)
  }
})

t.test('a proxy that has no Redis behind it: it takes each connection and ends it, which is not called silence', async (t) => {
  const proxy = net.createServer((client) => { client.on('error', () => {}).end() })
  await new Promise<void>((resolve) => { proxy.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { proxy.close() })
  const place = `127.0.0.1:${(proxy.address() as net.AddressInfo).port}`
  const { broker, said } = startRedisNode(t, { url: `redis://${place}`, prefix: 'cut' })
  for (const [url, sentence] of [
    [`redis+sentinel://${place}/main`, 'no Sentinel answers: the connection closed'], [`redis+cluster://${place}`, 'no node of the Cluster answers: the connection closed']
  ] as const) {
    const other = startRedisNode(t, { url, prefix: 'cut' })
    await becomes(() => other.broker.state().detail === sentence, sentence)
  }
  await becomes(() => /^the connection was cut; .* a proxy or tunnel before it finds no Redis/.test(broker.state().detail), 'the reason', 15_000)
  t.notOk(said.some((text) => text.includes('no answer')))
  await broker.close()
})

t.test('words of Redis and of the client library, each as a sentence', (t) => {
  for (const [words, sentence] of [
    ['LOADING Redis is loading the dataset in memory', /^Redis is loading its data/],
    ['ERR max number of clients reached', /^Redis takes no more connections; raise its maxclients/],
    ['ERR Protocol error: invalid bulk length', /^Redis cuts off whoever sends more than it takes; raise its proto-max-bulk-len/],
    ["ERR The user executing the script can't run this command or subcommand script: tidings_configure", /^the Redis user may not do what a node must; docs\/security/],
    ['Command timed out', /^Redis did not answer in time/],
    ['connect ETIMEDOUT', /^the machine of REDIS_URL does not answer; .*firewall/],
    ['connect EHOSTUNREACH 10.0.0.9:6379', /^the machine of REDIS_URL does not answer/],
    ['connect EMFILE 10.0.0.9:6379 - Local (undefined:undefined)', /^this node may open no more files/],
    ['connect EPERM 10.0.0.9:6379 - Local (10.0.0.2:40000)', /^the system of this node forbids the connection/],
    ['connect EACCES 10.0.0.9:6379 - Local (10.0.0.2:40000)', /^the system of this node forbids the connection/],
    ['connect EADDRNOTAVAIL ::1:6379 - Local (:::0)', /^the system of this node has no port or no address left/],
    ['read ECONNABORTED', /^the connection was cut; .* \[ECONNABORTED\]$/],
    ["Stream isn't writeable and enableOfflineQueue options is false", /^the connection was cut/],
    ['Unknown RESP type 72 "H". Please report this.', /^there answers something at REDIS_URL that is no Redis/],
    ['certificate has expired', /^the certificate of Redis has ended, .*renew it/],
    ['certificate is not yet valid', /^the certificate of Redis .* is not valid yet; .*clock/],
    ['C0:error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required', /^Redis wants a certificate of this node.*tls-auth-clients/]
  ] as const) t.match(explain(words), sentence)
  t.end()
})

t.test('a Redis that runs a script without an end: said, with what ends it', (t) => {
  t.match(explain('BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.'), /^Redis runs a script that does not end, .* SCRIPT KILL ends it.* \[BUSY /)
  t.end()
})

t.test('a Valkey names its mode otherwise than a Redis does, and is known for what it is', (t) => {
  const info = (mode: string) => readInfo(`# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nserver_mode:${mode}\r\n# Replication\r\nrole:master\r\n`)
  t.match(placeFault(info('cluster'), 'single'), /a node of a Redis Cluster/)
  t.match(placeFault(info('sentinel'), 'single'), /that of a Sentinel/)
  t.equal(placeFault(info('standalone'), 'single'), undefined)
  t.end()
})

t.test('a Cluster whose connections have just closed: said without the client library\'s own words', async (t) => {
  const port = await freePort()
  const closed = new Redis({ port, host: '127.0.0.1', lazyConnect: true, enableOfflineQueue: false, maxRetriesPerRequest: 0 })
  t.teardown(() => { closed.disconnect() })
  const error = Object.assign(new Error('Reached the max retries per request limit (which is 0).'), { name: 'MaxRetriesPerRequestError' })
  Object.assign(closed, { cluster: () => Promise.reject(error) })
  const faultWith = async (...ports: number[]): Promise<string> => {
    const place = parseRedisUrl(`redis+cluster://${ports.map((one) => `127.0.0.1:${one}`).join(',')}`)
    const masters = new ClusterMasters({ place, nodeName: 'closed' }, () => [closed])
    await masters.look()
    return masters.fault
  }
  t.equal(await faultWith(port), 'no node of the Cluster answers: the connection closed')
  t.match(await faultWith(port, await freePort()), /^no node of the Cluster answers: nobody listens at REDIS_URL/, 'what another one says explains more')
})

t.test('a Redis that answers late is not said to have another clock', async (t) => {
  const redis = await startRedis(t, { own: true })
  const line = new Line(redis.port)
  await line.listen()
  t.teardown(() => { line.close() })
  const node = startRedisNode(t, { url: `redis://127.0.0.1:${line.port}`, prefix: redis.prefix })
  await up(node)
  line.stall()
  // The client library holds back what is asked next until this is given up after 3 seconds.
  const first = refusal(send(node, 'all'))
  await sleep(5600)
  line.flow()
  await first
  await up(node)
  await now(node)
  t.strictSame(node.said.filter((text) => text.includes('clock')), [])
})
