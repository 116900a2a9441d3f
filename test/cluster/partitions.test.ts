// Two nodes on eight partitions: whoever publishes and dies, each stream has everything that was answered, once and in the order of its ids.
import t from 'tap'
import { startCluster } from '../fixtures/cluster.ts'
import { startNode } from '../fixtures/node.ts'
import { eventually } from '../fixtures/wait.ts'

const cluster = await startCluster(t, { count: 2, env: { REDIS_PARTITIONS: '8' } })
const KILLS = 3
/** Publishes that are asked for at once, and how many of them are answered when the node is killed. */
const UNDER_WAY = 200
const FIRST = 20
const users = Array.from({ length: 16 }, (_, i) => `user-${i}`)
const clients = users.map((sub, i) => cluster.client(t, { sub, groups: [i % 2 === 0 ? 'even' : 'odd', 'both'] }, { name: sub }))
await Promise.all(clients.map((client) => client.live()))

/** The marks that a client has, as they came. */
const marksOf = (client: (typeof clients)[number]): number[] =>
  client.events.filter(({ json }) => typeof json?.mark === 'number').map(({ json }) => json.mark as number)

t.test('200 publishes under way when a node is killed, over and over, reach each stream once', async (t) => {
  const owed = new Map(users.map((user) => [user, new Set<number>()]))
  let mark = 0
  const publish = async (at: number): Promise<void> => {
    const own = ++mark
    const user = users[own % users.length]!
    const to = [['all'], ['group:both'], ['group:even', 'group:odd'], [`user:${user}`], ['group:even', 'all', `user:${user}`]][own % 5]!
    for (let turn = 0; ; turn++) {
      const answer = await cluster.call('POST', `${cluster.nodes[(at + turn) % 2]!.url}/api/notifications`, { to, data: { mark: own } }, { 'idempotency-key': `mark-${own}` })
        .catch(() => undefined) // it was killed: the same key again, at the other one
      if (answer?.status === 202) break
      if (turn > 100) throw new Error(`nobody takes ${own}: ${JSON.stringify(answer?.body)}`)
      if (answer !== undefined) await new Promise((resolve) => { setTimeout(resolve, 50) })
    }
    for (const [i, name] of users.entries()) {
      const has = to.includes('all') || to.includes('group:both') || to.includes(`user:${name}`) || to.includes(i % 2 === 0 ? 'group:even' : 'group:odd')
      if (has) owed.get(name)!.add(own)
    }
  }
  for (let kills = 0; kills < KILLS; kills++) {
    let answered = 0
    const some = Promise.withResolvers<void>()
    const all = Promise.all(Array.from({ length: UNDER_WAY }, async (_, i) => {
      await publish(i)
      if (++answered === FIRST) some.resolve()
    }))
    await Promise.race([some.promise, all])
    t.ok(answered < UNDER_WAY / 2, `${UNDER_WAY - answered} are under way when it is killed`)
    await cluster.nodes[kills % 2]!.kill()
    await cluster.restart(kills % 2)
    await all
  }
  for (const [i, client] of clients.entries()) {
    const wanted = owed.get(users[i]!)!
    await eventually(async () => new Set(marksOf(client)).size, (size) => size >= wanted.size, { what: `does ${users[i]} have all` })
    t.same(marksOf(client).sort((a, b) => a - b), [...wanted].sort((a, b) => a - b), `${users[i]} has each once`)
    const ids = client.events.filter(({ id }) => id !== undefined && /^\d+$/.test(id)).map(({ id }) => Number(id))
    t.ok(ids.every((id, n) => n === 0 || id >= ids[n - 1]!), 'in the order of ids')
    t.notOk(client.syncs.some(({ json }) => json.resume === 'incomplete'), 'and nothing is said to be missing')
  }
})

t.test('a node with another number of partitions, does not start and says why', async (t) => {
  const env = { ...cluster.redis.env, ...cluster.issuer.env }
  for (const partitions of ['1', '4']) {
    const failed = await startNode(t, { env: { ...env, REDIS_PARTITIONS: partitions }, ready: false }).then(() => '', (error: Error) => error.message)
    t.match(failed, new RegExp(`cannot start: REDIS_PARTITIONS is ${partitions}, and what stands under .* has 8; set it to 8`))
  }
})

t.test('/readyz and the metrics, of a node on partitions, tell of each', async (t) => {
  const { body } = await cluster.call('GET', `${cluster.nodes[0]!.url}/readyz`)
  t.match(body, { status: 'ready', partitions: Array.from({ length: 8 }, () => ({ up: true, detail: 'connected' })) })
  const metrics = await (await fetch(`${cluster.nodes[0]!.url}/metrics`)).text()
  for (let i = 0; i < 8; i++) t.match(metrics, new RegExp(`tidings_partition_up\\{.*partition="${i}".*\\} 1`))
})
