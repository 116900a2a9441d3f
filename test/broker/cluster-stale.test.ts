// A master of a Cluster that was stopped, and runs what it had been sent before although another has taken its place.
import t, { type Test } from 'tap'
import { Ear, type Hearer } from '../../src/broker/redis/ear.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { keySlot } from '../../src/broker/redis/slot.ts'
import { Wire } from '../../src/broker/redis/wire.ts'
import { parseRedisUrl } from '../../src/redis-url.ts'
import { startRedisCluster } from '../fixtures/redis-cluster.ts'
import { startRedis } from '../fixtures/redis.ts'
import type { Reply } from '../fixtures/resp.ts'
import { request } from './contract.ts'
import { becomes, startPartitionedNode } from './nodes.ts'

const PARTITIONS = 4
const USER = '1'

t.test('what a master runs after another took its place is not heard, so what is published then is not taken for old', async (t) => {
  const cluster = await startRedisCluster(t, { replicas: 1, nodeTimeoutMs: 2000 })
  const { broker, ear } = startPartitionedNode(t, cluster, PARTITIONS)
  const isUp = (): boolean => broker.state().partitions?.every(({ up }) => up) === true
  await becomes(isUp, 'all partitions to be up', 90_000)
  await broker.subscribe([`user:${USER}`])
  const tag = tagsOf(PARTITIONS)[partitionOf(USER, PARTITIONS)]!
  const prefix = `${cluster.prefix}:{${tag}}`
  const slot = keySlot(`{${tag}}`)
  await becomes(() => broker.publish(request(`user:${USER}`, 'before')).then(() => true, () => false), 'one to be taken')

  const run = async (): Promise<{ statuses: string[], next: typeof cluster.nodes[number] }> => {
    const stopped = await cluster.masterOf(slot)
    stopped.pause()
    const calls = Promise.allSettled<Reply>([
      stopped.cli('FCALL', 'tidings_publish', 1, prefix, `user:${USER}`, 'message', '"stale"'),
      stopped.cli('FCALL', 'tidings_publish', 1, prefix, `user:${USER}`, 'message', '"stale"', 'keep', 'none'),
      stopped.cli('FCALL', 'tidings_join', 1, prefix, USER, 'stale')
    ])
    await becomes(async () => (await cluster.masterOf(slot).catch(() => stopped)).port !== stopped.port, 'another to be master', 90_000)
    await becomes(isUp, 'the node to have followed', 90_000)
    await broker.subscribe([`user:${USER}`])
    stopped.resume()
    const statuses = (await calls).map(({ status }) => status)
    // What it sent came before this, on the same connection.
    const next = await cluster.masterOf(slot)
    await becomes(async () => /master_link_status:up/.test(String(await stopped.cli('INFO', 'replication').catch(String))), 'it to be a replica', 90_000)
    return { statuses, next }
  }
  // If it hears of the other master before it reads what it was sent, it refuses that, and another round is needed.
  let { statuses, next } = await run()
  for (let round = 2; round <= 3 && statuses.includes('rejected'); round++) ({ statuses, next } = await run())
  t.same(statuses, ['fulfilled', 'fulfilled', 'fulfilled'], 'it ran them all')

  await next.cli('FCALL', 'tidings_publish', 1, prefix, `user:${USER}`, 'message', '"next"')
  await ear.until(() => ear.notifications.find(({ json }) => json === '"next"'), 'the next one')
  t.same(ear.notifications.map(({ json }) => json).filter((json) => json === '"stale"'), [], 'none of its notifications was heard')
  t.same(ear.memberships, [], 'nor its control messages')
})

const OWN = '0123456789abcdef'

async function each (t: Test, read: (by: string) => unknown): Promise<void> {
  t.notMatch(read(''), { isElsewhere: true }, 'of nobody in particular')
  t.notMatch(read(',"by":"01234567"'), { isElsewhere: true }, 'of the one that is listened to')
  t.same(read(',"by":"76543210"'), { isElsewhere: true }, 'of another')
}

t.test('messages of another process are told from those of the one that is listened to, of each kind', async (t) => {
  const wire = new Wire(1000)
  wire.expect('secret')
  const kinds: Record<string, (by: string) => string> = {
    durable: (by) => `{"tidings":1,"n":"secret","id":7,"event":"message"${by},"data":{"by":"76543210"}}`,
    traced: (by) => `{"tidings":1,"n":"secret","id":7,"event":"message","tp":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"${by},"data":1}`,
    read: (by) => `{"tidings":1,"n":"secret","id":0,"asOf":7,"event":"read"${by},"data":{"unread":1}}`,
    live: (by) => `{"event":"message","once":"7","n":"secret"${by},"data":1}`,
    control: (by) => `{"control":"join","n":"secret","subject":"g"${by},"id":"7"}`
  }
  const before = Object.fromEntries(Object.entries(kinds).map(([kind, text]) => [kind, wire.read(text(',"by":"76543210"'))]))
  t.match(before, { durable: { notification: { id: 7, json: '{"by":"76543210"}' } }, traced: { notification: { traceparent: String } }, read: { notification: { asOf: 7 } }, live: { notification: { json: '1' } }, control: { control: { group: 'g' } } }, 'all are heard before it is known')
  wire.listenTo(OWN)
  for (const [kind, text] of Object.entries(kinds)) await t.test(kind, (t) => each(t, (by) => wire.read(text(by))))
  for (const n of ['', ',"n":"guess"']) {
    t.match(wire.read(`{"event":"message"${n},"by":"76543210","data":1}`), { notification: { json: '1' } }, 'a member of that name in what another service says')
  }
  wire.listenTo('')
  for (const [kind, text] of Object.entries(kinds)) t.same(wire.read(text(',"by":"76543210"')), before[kind], `${kind}, heard again when it is not known any more`)
})

t.test('where commands and messages see different processes, as they may through a proxy, none is told apart', async (t) => {
  const { url, port, cli } = await startRedis(t, { own: true })
  const [, runId] = /run_id:(\w+)/.exec(String(await cli('INFO', 'server')))!
  const place = { ...parseRedisUrl(url), kind: 'cluster' as const }
  let commandsAt = 'f'.repeat(40)
  const ear = new Ear({ place, nodeName: 'stale' }, { host: '127.0.0.1', port }, { info () {}, warn () {} }, () => commandsAt)
  t.teardown(() => { ear.close() })
  const listened: string[] = []
  const hearer: Hearer = {
    prefix: 'x:', isUp: false, isRefused: false, connected () {}, hear () {}, interrupt () {}, audit () {}, listenTo (runId) { listened.push(runId) }
  }
  ear.add(hearer)
  ear.start()
  await becomes(() => ear.serverId === runId, 'the run id to be known')
  ear.compare()
  t.same([...new Set(listened)], [''])
  commandsAt = runId!
  ear.compare()
  t.equal(listened.at(-1), runId)
  ear.remove(hearer)
  ear.add(hearer)
  t.equal(listened.at(-1), runId, 'whoever comes later is told, too')
})
