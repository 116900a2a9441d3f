// The process's edge: thousands knock in one moment, at a node that is busy, and none of them is left outside.
import { once } from 'node:events'
import net from 'node:net'
import { hostname } from 'node:os'
import t from 'tap'
import { listenAdvice } from '../src/listen.ts'
import { startNode, systemEnvironment } from './fixtures/node.ts'
import { spawnChild } from './fixtures/process.ts'
import { startRedis } from './fixtures/redis.ts'
import { createIssuer } from './fixtures/tokens.ts'
import { Signal } from './fixtures/wait.ts'

/** More than fit into the queue that Node asks for by itself (511). */
const KNOCKS = 1000

t.test(`a node, too busy to accept anyone, has ${KNOCKS} connections wait in its queue, and then answers each`, async (t) => {
  const node = await startNode(t, { env: createIssuer().env })
  node.signal('SIGSTOP')
  const changed = new Signal()
  const sockets: net.Socket[] = []
  const counts = { connected: 0, answered: 0 }
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  // Whoever finds the queue full does not hear a refusal: its handshake is dropped, so that it stays without an answer.
  const reaches = async (what: keyof typeof counts): Promise<unknown> => await changed.until(() => counts[what] === KNOCKS || undefined, {
    what: `${KNOCKS} connections to be ${what}; the system must allow as many (Linux: sysctl net.core.somaxconn, macOS: kern.ipc.somaxconn)`,
    describe: () => JSON.stringify(counts)
  })
  for (let i = 0; i < KNOCKS; i++) {
    const socket = net.connect(node.port, '127.0.0.1')
    sockets.push(socket)
    socket.on('error', (error) => { changed.fail(error) })
    socket.once('connect', () => {
      counts.connected++
      socket.write('GET /livez HTTP/1.1\r\nHost: tidings\r\nConnection: close\r\n\r\n')
      changed.notify()
    })
    socket.once('data', (piece) => {
      if (piece.toString().startsWith('HTTP/1.1 200')) counts.answered++
      changed.notify()
    })
  }
  await reaches('connected')
  t.equal(counts.answered, 0, 'it has accepted nobody yet')
  node.signal('SIGCONT')
  await reaches('answered')
  t.same(counts, { connected: KNOCKS, answered: KNOCKS }, 'none of them is left outside')
})

t.test('a node, without NODE_NAME, tells the world neither host nor process id, and its log by which name it goes', async (t) => {
  const node = await startNode(t, { env: { ...createIssuer().env, NODE_NAME: '' } })
  const name = (await fetch(`${node.url}/livez`)).headers.get('tidings-node') ?? ''
  t.match(name, /^[\w-]{8}$/)
  t.ok(node.lines.some((line) => line.includes(`"publicName":"${name}"`) && line.includes(hostname())), 'both names in one line')
})

t.test('a node, whose Redis is there, listens when it can take what a balancer sends it at once', async (t) => {
  const redis = await startRedis(t)
  for (let i = 0; i < 3; i++) {
    const node = await startNode(t, { env: { ...createIssuer().env, ...redis.env }, ready: false })
    t.equal((await fetch(`${node.url}/readyz`)).status, 200, 'no moment in which it would refuse')
    await node.stop()
  }
})

t.test('a node, whose Redis is away, does not wait for it without end', async (t) => {
  const redis = await startRedis(t, { started: false })
  const node = await startNode(t, { env: { ...createIssuer().env, ...redis.env }, ready: false })
  t.equal((await fetch(`${node.url}/livez`)).status, 200)
  t.equal((await fetch(`${node.url}/readyz`)).status, 503)
})

t.test('a node, told to end while it waits for its Redis, ends in order and never listens', async (t) => {
  const redis = await startRedis(t, { started: false })
  const child = spawnChild(t, process.execPath, ['src/server.ts'], { name: 'node', env: { ...systemEnvironment(), ...createIssuer().env, ...redis.env } })
  await child.waitForLine(/trying again until it answers/)
  t.match(await child.stop(10_000), { code: 0 })
  t.notOk(child.lines.some((line) => line.includes('Server listening')))
})

t.test('a node has V8 make nothing among the old objects: what lies dead there keeps whole requests', async (t) => {
  const redis = await startRedis(t)
  const { env, token } = createIssuer()
  const node = await startNode(t, { env: { ...env, ...redis.env }, nodeArgs: ['--trace-pretenuring-statistics'] })
  for (let i = 0; i < 200; i++) {
    const { status } = await fetch(`${node.url}/api/notifications`, {
      method: 'POST', headers: { authorization: `Bearer ${token({ sub: 'shop', scope: 'notifications:publish' })}`, 'content-type': 'application/json' }, body: '{"to":"user:42","data":1}'
    })
    if (status !== 202) throw new Error(`answered ${status}`)
  }
  await node.stop()
  t.same(node.lines.filter((line) => line.includes('=> tenure')), [])
})

t.test('a node that cannot start, with LOG_LEVEL=silent, says why all the same, and ends with 1', async (t) => {
  const env = { ...systemEnvironment(), ...createIssuer().env, HOST: '127.0.0.1', LOG_LEVEL: 'silent' }
  const taken = net.createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => { taken.close() })
  const { port } = taken.address() as net.AddressInfo
  const redis = await startRedis(t)
  await redis.cli('HSET', `${redis.prefix}:config`, 'partitions', 'other')
  await redis.cli('RPUSH', `${redis.prefix}:partitions`, 'a', 'b')
  const faults = [
    [{ PORT: String(port) }, `cannot listen on 127.0.0.1:${port}; is the port taken?`],
    // An address for documentation (RFC 5737), which no machine has.
    [{ PORT: String(port), HOST: '203.0.113.9' }, `cannot listen on 203.0.113.9:${port}; this machine has no such address.`],
    [{ PORT: '0', ...redis.env, REDIS_PARTITIONS: '4' }, 'cannot start: REDIS_PARTITIONS is 4']
  ] as const
  for (const [fault, sentence] of faults) {
    const child = spawnChild(t, process.execPath, ['src/server.ts'], { env: { ...env, ...fault } })
    t.match(await child.exited, { code: 1 })
    t.equal(child.lines.length, 1)
    t.match(JSON.parse(child.lines[0] ?? '{}'), { level: 60, msg: sentence })
  }
  for (const code of ['EAFNOSUPPORT', 'EINVAL']) t.match(listenAdvice(code), /^this machine has no such address/)
  t.match(listenAdvice('EAI_AGAIN'), /^the name in HOST cannot be looked up now/)
  t.match(listenAdvice('EACCES'), /^the user of the process may not take this port/)
})
