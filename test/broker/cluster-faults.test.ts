// A Cluster whose slots and masters move under a node: nothing is lost in silence.
import t, { type Test } from 'tap'
import { keySlot } from '../../src/broker/redis/slot.ts'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { startRedisCluster, type RedisCluster } from '../fixtures/redis-cluster.ts'
import { startRedis, type Redis } from '../fixtures/redis.ts'
import { eventually } from '../fixtures/wait.ts'
import { entriesOf, now, readPages, refusal, request } from './contract.ts'
import { becomes, startPartitionedNode, startRedisNode } from './nodes.ts'

const PARTITIONS = 4
const tags = tagsOf(PARTITIONS)

type Node = ReturnType<typeof startPartitionedNode>

const upWith = ({ broker, said }: Node): Promise<void> =>
  becomes(() => broker.state().partitions?.every(({ up }) => up) === true, `all partitions to be up; it said: ${said.join(' | ')}`, 90_000)

async function twoNodes (t: Test, cluster: RedisCluster): Promise<[Node, Node]> {
  const nodes = [startPartitionedNode(t, cluster, PARTITIONS), startPartitionedNode(t, cluster, PARTITIONS)] as [Node, Node]
  await Promise.all(nodes.map(upWith))
  return nodes
}

/** What was published to a user, by whom it was taken. */
class Ledger {
  readonly answered = new Map<number, number>()
  readonly #node: Node
  readonly #userId: string
  #isOver = false
  #done: Promise<void>
  refused = 0

  constructor (t: Test, node: Node, userId: string) {
    t.teardown(() => { this.#isOver = true })
    this.#node = node
    this.#userId = userId
    this.#done = this.#run()
  }

  async #run (): Promise<void> {
    for (let number = 1; !this.#isOver; number++) {
      await this.#node.broker.publish(request(`user:${this.#userId}`, number)).then(({ id }) => { this.answered.set(id!, number) }, () => { this.refused++ })
      await new Promise((resolve) => { setTimeout(resolve, 2) })
    }
  }

  async stop (): Promise<void> {
    this.#isOver = true
    await this.#done
  }
}

/** All that was answered stands in the log, or the position before it is told to be incomplete. */
async function nothingLostInSilence (t: Test, node: Node, ledger: Ledger, userId: string, cursor: number): Promise<boolean> {
  const pages = await readPages(node, { userId, cursor })
  const isTold = pages.some(({ gap }) => gap)
  const found = new Set(entriesOf(pages).map(({ id }) => id))
  const lost = [...ledger.answered.keys()].filter((id) => !found.has(id))
  t.ok(isTold || lost.length === 0, `${ledger.answered.size} taken, ${ledger.refused} refused, ${lost.length} lost${isTold ? ', told' : ''}`)
  return isTold
}

/** Both nodes hear a user again. */
async function heardAgain ([a, b]: readonly [Node, Node], userId: string): Promise<void> {
  await Promise.all([upWith(a), upWith(b)])
  // Either may notice only now that something has moved, and say so.
  const patience = { withinMs: 90_000 }
  await eventually(() => b.broker.subscribe([`user:${userId}`]).then(() => true, () => false), Boolean, { what: 'is it subscribed', ...patience })
  const id = await eventually(() => a.broker.publish(request(`user:${userId}`, 'last')).then(({ id }) => id, () => undefined), (id) => id !== undefined, { what: 'is it taken', ...patience })
  // Heard, or in the log behind an interruption: then what comes next is heard.
  const isHeard = (id: number): boolean => b.ear.notifications.some((one) => one.id === id)
  for (let last = id!; !isHeard(last);) {
    await upWith(b)
    const heard = await becomes(() => isHeard(last), 'it to be heard', 3000).then(() => true, () => false)
    if (!heard) last = (await a.broker.publish(request(`user:${userId}`, 'last')).catch(() => undefined))?.id ?? last
  }
}

t.test('a slot, moved to another master under load and half of it for a while, is followed: nothing is lost, and no function runs on half of it', async (t) => {
  const cluster = await startRedisCluster(t)
  const nodes = await twoNodes(t, cluster)
  const [a, b] = nodes
  const userId = '1'
  const slot = keySlot(`{${tags[partitionOf(userId, PARTITIONS)]}}`)
  const cursor = await now(a, userId)
  await b.broker.subscribe([`user:${userId}`])
  const ledger = new Ledger(t, a, userId)
  const from = await cluster.masterOf(slot)
  const to = cluster.nodes.find((node) => node !== from)!
  const prefix = `${cluster.prefix}:{${tags[partitionOf(userId, PARTITIONS)]}}`
  await becomes(() => ledger.answered.size > 20, 'some to be published', 90_000)
  await cluster.move(slot, to, async () => {
    await becomes(() => ledger.refused > 0, 'a publish to be refused while the slot is half moved', 90_000)
    t.match(await call(from, prefix), /^ASK/, 'the old master runs nothing')
    t.match(await call(to, prefix), /^MOVED/, 'nor does the new one')
    t.match(await asking(to, prefix), /^TIDINGS_NOT_READY The slot of .* is on its way/, 'not even for a client that was sent there')
  })
  const before = ledger.answered.size
  await becomes(() => ledger.answered.size > before + 20, 'some to be published again', 90_000)
  await ledger.stop()
  await heardAgain(nodes, userId)
  t.equal(await nothingLostInSilence(t, b, ledger, userId, cursor), false, 'nothing was lost, and nothing is said to be')
  t.ok(b.said.some((text) => /has moved to another master/.test(text)))
  t.same(b.ear.lines.slice(-2), ['interrupted', 'restored'], 'the streams were held and filled')
})

const call = async ({ cli }: Redis, prefix: string): Promise<string> => String(await cli('FCALL', 'tidings_publish', 1, prefix, 'user:1', 'message', '1').catch((error: Error) => error.message))
const asking = async ({ cli }: Redis, prefix: string): Promise<string> => {
  // Both on one connection, one after the other.
  const [, answer] = await Promise.all([cli('ASKING'), call({ cli } as Redis, prefix)])
  return answer
}

t.test('a master that is killed, with a replica, is replaced: what it had taken is there, or told', async (t) => {
  const cluster = await startRedisCluster(t, { replicas: 1, nodeTimeoutMs: 2000 })
  const nodes = await twoNodes(t, cluster)
  const [a, b] = nodes
  const userId = '1'
  const slot = keySlot(`{${tags[partitionOf(userId, PARTITIONS)]}}`)
  const cursor = await now(a, userId)
  const ledger = new Ledger(t, a, userId)
  await becomes(() => ledger.answered.size > 20, 'some to be published', 90_000)
  const victim = await cluster.masterOf(slot)
  await victim.kill()
  const before = ledger.answered.size
  await becomes(() => ledger.answered.size > before + 20, 'some to be published again', 90_000)
  await ledger.stop()
  await heardAgain(nodes, userId)
  await nothingLostInSilence(t, b, ledger, userId, cursor)

  // It comes back as a replica, and is made master again by hand while messages come.
  await victim.start()
  await becomes(async () => /role:slave[^]*master_link_status:up/.test(String(await victim.cli('INFO', 'replication').catch(String))), 'it to be a replica', 90_000)
  const middle = await now(a, userId)
  const again = new Ledger(t, a, userId)
  await becomes(() => again.answered.size > 20, 'some to be published')
  await cluster.promote(victim, slot)
  const size = again.answered.size
  await becomes(() => again.answered.size > size + 20, 'some to be published again', 90_000)
  await again.stop()
  await heardAgain(nodes, userId)
  await nothingLostInSilence(t, b, again, userId, middle)
})

/** The connections of Tidings' nodes to one server, by what they are for. */
async function connectionsTo ({ cli }: Redis): Promise<{ commands: number, hearing: number }> {
  const lines = String(await cli('CLIENT', 'LIST')).split('\n').filter((line) => line.includes(' name=tidings:'))
  const hearing = lines.filter((line) => !line.includes(' ssub=0 ')).length
  return { commands: lines.length - hearing, hearing }
}

t.test('a node of the Cluster that was told to forget the others, and a master that is added and removed again, confuse nobody', async (t) => {
  const cluster = await startRedisCluster(t)
  const nodes = await twoNodes(t, cluster)
  const userId = '1'
  const slot = keySlot(`{${tags[partitionOf(userId, PARTITIONS)]}}`)
  const masters = [...cluster.nodes]
  const origin = await cluster.masterOf(slot)
  const inUse = new Set(await Promise.all(tags.map((tag) => cluster.masterOf(keySlot(tag)))))
  t.ok(inUse.size < PARTITIONS, 'some have several partitions')
  for (const master of inUse) t.same(await connectionsTo(master), { commands: 2, hearing: 2 }, 'each node has two to each master, however many partitions are there')
  const added = await cluster.add()
  await cluster.move(slot, added)
  await heardAgain(nodes, userId)
  t.equal((await cluster.masterOf(slot)).port, added.port)
  // Gone again, as redis-cli --cluster del-node has it.
  await cluster.move(slot, origin)
  await heardAgain(nodes, userId)
  await becomes(async () => Object.values(await connectionsTo(added)).every((count) => count === 0), 'no node to be connected to what has no slots')
  const addedId = String(await added.cli('CLUSTER', 'MYID'))
  for (const { cli } of masters) await cli('CLUSTER', 'FORGET', addedId)
  await added.kill()
  await heardAgain(nodes, userId)
  // Its list of nodes is empty but for itself.
  const bystander = cluster.nodes[1]!
  const ids = String(await bystander.cli('CLUSTER', 'NODES')).trim().split('\n').filter((line) => !line.includes('myself')).map((line) => line.slice(0, 40))
  for (const id of ids) await bystander.cli('CLUSTER', 'FORGET', id)
  for (const { broker } of nodes) await becomes(() => broker.state().up, 'to stay up')
  await heardAgain(nodes, userId)
})

t.test('forms that do not fit what answers, have a sentence each', async (t) => {
  const cluster = await startRedisCluster(t)
  const tells = async (url: string, pattern: RegExp, of = 4) => {
    const node = of === 1 ? startRedisNode(t, { ...cluster, url }) : startPartitionedNode(t, { ...cluster, url }, of)
    await becomes(() => pattern.test(node.broker.state().detail), String(pattern))
    t.ok(node.said.some((text) => pattern.test(text)), 'and says so')
    t.match(await refusal(node.broker.join('1', 'g')), { message: pattern })
    await node.broker.close()
  }
  await tells(cluster.nodes[0]!.url, /REDIS_URL is that of a node of a Redis Cluster; write redis\+cluster:\/\/ instead/, 1)
  await tells((await startRedis(t)).url.replace('redis:', 'redis+cluster:'), /REDIS_URL says redis\+cluster:\/\/, and what answers there is no Cluster/)
  await tells('redis+cluster://127.0.0.1:1', /no node of the Cluster answers: nobody listens at REDIS_URL/)
})
