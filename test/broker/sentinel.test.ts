// Behind Sentinels: the promoted master is found whatever became of the old one, and what was lost with it is told.
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { Links } from '../../src/broker/redis/links.ts'
import { parseRedisUrl } from '../../src/redis-url.ts'
import { startSentinels, type Sentinels } from '../fixtures/sentinel.ts'
import { eventually } from '../fixtures/wait.ts'
import { now, readPages, refusal, send } from './contract.ts'
import { becomes, startRedisNode, up, type RedisNode } from './nodes.ts'

async function twoNodes (t: Test, sentinels: Sentinels): Promise<[RedisNode, RedisNode]> {
  const nodes = [startRedisNode(t, sentinels), startRedisNode(t, sentinels)] as [RedisNode, RedisNode]
  await Promise.all(nodes.map(up))
  await Promise.all(nodes.map(({ broker }) => broker.subscribe(['all'])))
  return nodes
}

/** Publishes until a node takes it, and the other hears it. */
async function heardAgain ([a, b]: readonly [RedisNode, RedisNode]): Promise<number> {
  const id = await eventually(() => send(a, 'all').catch(() => 0), (id) => id > 0, { what: 'is something taken again', withinMs: 90_000 })
  await up(b)
  await becomes(() => b.ear.lines.at(-1) === 'restored', 'the streams to be refilled')
  const later = await send(a, 'all')
  await b.ear.id(later)
  return id
}

t.test('a master that is killed, with a replica, is replaced: functions are there, streams are refilled, positions stay good', async (t) => {
  const sentinels = await startSentinels(t)
  const nodes = await twoNodes(t, sentinels)
  const [a] = nodes
  const cursor = await now(a)
  const id = await send(a, 'all', 'before')
  const [old, replica] = sentinels.nodes as [Sentinels['nodes'][0], Sentinels['nodes'][0]]
  // Nodes are given an id each second, too, and one that died with the master would be taken for a loss.
  await old.cli('CLIENT', 'PAUSE', 60_000, 'WRITE')
  await becomes(async () => {
    const offsets = await Promise.all([old, replica].map(async ({ cli }) => /master_repl_offset:(\d+)/.exec(String(await cli('INFO', 'replication')))![1]))
    return offsets[0] === offsets[1]
  }, 'the replica to have all of it')
  await old.kill()
  await heardAgain(nodes)
  // One Sentinel may hear of it after the others.
  await becomes(async () => (await sentinels.master()).port === replica.port, 'the replica to be the master')
  const pages = await readPages(a, { cursor })
  t.equal(pages[0]!.entries[0]!.id, id)
  t.ok(pages.every(({ gap }) => !gap), 'nothing that was answered is lost, and so nothing is said to be')

  // Sentinels end the connections of whomever they demote.
  await old.start()
  await becomes(async () => String(await old.cli('INFO', 'replication').catch(String)).includes('role:slave'), 'the old one to be a replica', 90_000)
  await send(a, 'all')
  for (const { broker } of nodes) t.equal(broker.state().up, true)
})

t.test('a master that was stopped, and is back after another was promoted: what it had taken is told to be lost', async (t) => {
  const sentinels = await startSentinels(t)
  const nodes = await twoNodes(t, sentinels)
  const [a, b] = nodes
  const cursor = await now(a)
  const [old, replica] = sentinels.nodes as [Sentinels['nodes'][0], Sentinels['nodes'][0]]
  // What this one takes from now on nobody copies.
  replica.pause()
  await old.cli('CLIENT', 'KILL', 'TYPE', 'replica')
  const lost = await send(a, 'all', 'lost')
  await b.ear.id(lost)
  old.pause()
  replica.resume()
  await heardAgain(nodes)
  for (const node of nodes) t.match(await readPages(node, { cursor: lost }), [{ gap: true }], 'its position is told')
  t.match((await readPages(a, { cursor }))[0], { gap: true })
  old.resume()
  await becomes(async () => String(await old.cli('INFO', 'replication').catch(String)).includes('role:slave'), 'the old one to be a replica', 90_000)
  const id = await send(b, 'all')
  await a.ear.id(id)
})

t.test('a master that was killed, and is back as a master before the Sentinels reach it, is not used', async (t) => {
  const sentinels = await startSentinels(t)
  const links = new Links({ place: parseRedisUrl(sentinels.url), nodeName: 'links', log: { info () {}, warn () {} } })
  t.teardown(() => { links.close() })
  await links.look()
  const used = (): string => {
    const link = links.of(sentinels.prefix)
    return link?.fault === '' ? link.name : ''
  }
  const [old, replica] = sentinels.nodes as [Sentinels['nodes'][0], Sentinels['nodes'][0]]
  await becomes(() => used() === `127.0.0.1:${old.port}`, 'the master to be used')
  // Nobody ticks here, so nothing asks the Sentinels again by itself.
  await old.kill()
  await becomes(async () => (await sentinels.master()).port === replica.port, 'the replica to be the master', 90_000)
  await old.start()
  await becomes(() => used() !== '', 'a master to be used again')
  t.equal(used(), `127.0.0.1:${replica.port}`)
})

t.test('a master that is alive but demoted, with a node that still talks to it, is left', async (t) => {
  const sentinels = await startSentinels(t)
  const nodes = await twoNodes(t, sentinels)
  // An orderly failover, twice: there and back.
  for (let i = 0; i < 2; i++) {
    const before = (await sentinels.master()).port
    await eventually(() => sentinels.sentinels[0]!.cli('SENTINEL', 'FAILOVER', 'mymaster').catch(String), (answer) => answer === 'OK', { what: 'is a failover begun', withinMs: 90_000 })
    await becomes(async () => (await sentinels.master()).port !== before, 'another master', 90_000)
    await heardAgain(nodes)
  }
})

t.test('a single Sentinel that names another master, with nothing newer than the others, is not followed', async (t) => {
  const sentinels = await startSentinels(t)
  const links = new Links({ place: parseRedisUrl(sentinels.url), nodeName: 'links', log: { info () {}, warn () {} } })
  t.teardown(() => { links.close() })
  const { cli } = sentinels.sentinels[0]!
  await cli('SENTINEL', 'REMOVE', 'mymaster')
  await cli('SENTINEL', 'MONITOR', 'mymaster', '127.0.0.1', 1, 2)
  for (let i = 0; i < 3; i++) {
    await links.look()
    t.equal(links.of(sentinels.prefix)?.name, `127.0.0.1:${sentinels.nodes[0]!.port}`)
  }
})

t.test('Sentinels, with a password or without one, are asked either way', async (t) => {
  for (const options of [{ password: 'secret' }, { password: 'secret', sentinelPassword: 'secret' }]) {
    const sentinels = await startSentinels(t, { ...options, replicas: 1 })
    const node = startRedisNode(t, sentinels)
    await up(node)
    t.ok(await send(node, 'all') > 0)
  }
})

t.test('Sentinels that do not know the master, none that answers, and a Redis in their place: each has its sentence', async (t) => {
  const sentinels = await startSentinels(t)
  const tells = async (url: string, pattern: RegExp) => {
    const node = startRedisNode(t, { ...sentinels, url })
    await becomes(() => pattern.test(node.broker.state().detail), String(pattern))
    t.ok(node.said.some((text) => pattern.test(text)), 'and says so')
    t.match(await refusal(node.broker.join('1', 'g')), { message: pattern })
    await node.broker.close()
  }
  await tells(sentinels.url.replace('mymaster', 'another'), /^(Redis: )?the Sentinels know no master named another/)
  await tells(`redis+sentinel://127.0.0.1:${sentinels.nodes[0]!.port}/mymaster`, /REDIS_URL says redis\+sentinel:\/\/, and what answers there is no Sentinel/)
  await tells('redis+sentinel://127.0.0.1:1/mymaster', /no Sentinel answers: nobody listens at REDIS_URL/)
  await tells(`redis://127.0.0.1:${sentinels.sentinels[0]!.port}`, /REDIS_URL is that of a Sentinel, which holds no data/)

  // Those who know their master do without.
  const node = startRedisNode(t, sentinels)
  await up(node)
  for (const { child } of sentinels.sentinels) child.signal('SIGKILL')
  await Promise.all(sentinels.sentinels.map(({ child }) => child.exited))
  await becomes(() => node.said.some((text) => /no Sentinel answers/.test(text)), 'a warning')
  t.ok(await send(node, 'all') > 0)
  t.equal(node.broker.state().up, true)
})

t.test('a Sentinel, that was started while the name of the master led nowhere, leads nobody to the Redis of its own machine', async (t) => {
  const state = ['name', 'mymaster', 'ip', '', 'port', '6379', 'config-epoch', '0']
  const server = net.createServer((socket) => {
    socket.on('error', () => {}).on('data', (data) => {
      for (const command of data.toString().split(/^\*/m).slice(1)) {
        if (command.includes('SENTINELS')) socket.write('*0\r\n')
        else if (command.includes('MASTER')) socket.write(`*${state.length}\r\n${state.map((text) => `$${text.length}\r\n${text}\r\n`).join('')}`)
        else socket.write('+OK\r\n')
      }
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => { server.close() })
  await once(server, 'listening')
  const place = parseRedisUrl(`redis+sentinel://127.0.0.1:${(server.address() as AddressInfo).port}/mymaster`)
  const links = new Links({ place, nodeName: 'n', log: { info: () => {}, warn: () => {} } })
  t.teardown(() => { links.close() })
  await links.look()
  t.equal(links.of('t'), undefined)
  t.equal(links.faultOf('t'), 'the Sentinels cannot resolve the host name of the master; mend their DNS')
})
