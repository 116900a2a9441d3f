// docs/publishing.md: its programs, as they are printed there, publish and take back on one Redis without partitions, on one with eight, and on a
// Cluster, as users who may what its recipes (without partitions: those of docs/security.md) say.
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { Address } from '../../src/notification.ts'
import { partitionOf } from '../../src/broker/redis/partitions/slots.ts'
import { listOf, type Node } from '../broker/contract.ts'
import { becomes, startPartitionedNode, startRedisNode, up } from '../broker/nodes.ts'
import { freePort, spawnChild, tail } from '../fixtures/process.ts'
import { startRedis, type Redis } from '../fixtures/redis.ts'
import { startRedisCluster } from '../fixtures/redis-cluster.ts'
import { PASSWORD, recipesOf } from '../security/recipes.ts'
import { partitioned } from './programs.ts'

const PARTITIONS = 8
const root = new URL('../../', import.meta.url)
const page = readFileSync(new URL('docs/publishing.md', root), 'utf8')
/** One in each partition, all of the group; and of whom the program is told. */
const members = Array.from({ length: PARTITIONS }, (_, i) => Array.from({ length: 1000 }, (_, n) => `${n}`).find((name) => partitionOf(name, PARTITIONS) === i)!)
const NAMES = ['user:42', 'user:{42}x', 'user:x{}42', 'user:Zoë 7'] as const

t.test('the programs, as the page prints them, are those that are run', async (t) => {
  for (const file of Object.keys(partitioned)) {
    t.ok(page.includes(`\n${readFileSync(new URL(`examples/clients/${file}`, root), 'utf8')}\`\`\`\n`), file)
  }
})

/** Runs the programs, and looks at what everybody has then. `login`: those of the recipes, or none. */
async function publishes (t: Test, node: Node, addresses: string, login: (user: string) => Record<string, string>): Promise<void> {
  for (const user of members) await node.broker.join(user, 'Complaints')
  const titles = async (userId: string): Promise<string[]> =>
    (await listOf(node, userId)).notifications.map(({ to, json }) => `${to} ${(JSON.parse(json) as { title: string }).title}`).sort()
  const expected = new Map<string, string[]>()
  const expect = (userId: string, to: string): void => { expected.set(userId, [...expected.get(userId) ?? [], `${to} Hello`]) }
  for (const [file, [command = '', ...args]] of Object.entries(partitioned)) {
    for (const [user, to] of [['orders', NAMES], ['complaints', ['group:Complaints']], ['', ['all']]] as ReadonlyArray<readonly [string, readonly Address[]]>) {
      const child = spawnChild(t, command, [...args, ...to], { name: file, env: { ...process.env, REDIS_ADDRESSES: addresses, ...login(user) } })
      t.match(await child.exited, { code: 0 }, `${file} ${user}: ${tail(child.lines)}`)
      // Some say that nobody is at an address, and take the next.
      t.match(child.lines.filter((line) => !/Could not connect|failed to dial/.test(line)), to.flatMap((address) => [new RegExp(`^${address.replace(/[{}]/g, '\\$&')} \\d{16}$`), `${address} taken back`]), `${file}: ${to.join()}`)
      for (const address of to) {
        if (address.startsWith('user:')) expect(address.slice(5), address)
        else for (const name of address === 'all' ? new Set([...members, ...NAMES.map((user) => user.slice(5))]) : members) expect(name, address)
      }
    }
  }
  for (const [userId, all] of expected) {
    await becomes(async () => (await titles(userId)).length === all.length, `user ${userId} to have ${all.join()}`)
    t.same(await titles(userId), all.sort(), `user ${userId} has each once, and nothing that was taken back`)
  }
}

const loginOf = (user: string): Record<string, string> => user === '' ? {} : { REDIS_USER: user, REDIS_PASSWORD: PASSWORD, REDISCLI_AUTH: PASSWORD }

/** Lets the users of the recipes of a page in. */
async function admit (nodes: readonly Redis[], say: 'publish' | 'spublish', page = 'publishing.md'): Promise<void> {
  for (const node of nodes) for (const recipe of recipesOf(page)) await node.cli('ACL', 'SETUSER', ...recipe.map((rule) => rule.replace('+spublish', `+${say}`)))
}

/** Nothing that a library asked for was refused. */
async function refusals (nodes: readonly Redis[]): Promise<string[]> {
  const logs = await Promise.all(nodes.map(async ({ cli }) => await cli('ACL', 'LOG') as string[][]))
  return logs.flat().map((entry) => `${entry[entry.indexOf('username') + 1]}: ${entry[entry.indexOf('object') + 1]}`)
}

t.test('the programs, on one Redis without partitions, publish and take back, with the rights of the recipes of docs/security.md', async (t) => {
  const redis = await startRedis(t, { own: true })
  await admit([redis], 'publish', 'security.md')
  const node = startRedisNode(t, { ...redis, prefix: 'tidings' })
  await up(node)
  await publishes(t, node, `127.0.0.1:${redis.port}`, loginOf)
  t.same(await refusals([redis]), [])
})

t.test('the programs, on one Redis with eight partitions, publish and take back, with the rights of the recipes', async (t) => {
  const redis = await startRedis(t, { own: true })
  await admit([redis], 'publish')
  const node = startPartitionedNode(t, { ...redis, prefix: 'tidings' }, PARTITIONS)
  await up(node)
  await publishes(t, node, `127.0.0.1:${redis.port}`, loginOf)
  t.same(await refusals([redis]), [])
})

t.test('the programs, on a Cluster with eight partitions, publish and take back, with the rights of the recipes', async (t) => {
  const cluster = await startRedisCluster(t)
  await admit(cluster.nodes, 'spublish')
  const node = startPartitionedNode(t, { ...cluster, prefix: 'tidings' }, PARTITIONS)
  await up(node)
  // Nobody is at the first address, as when a master has died.
  await publishes(t, node, [await freePort(), ...cluster.nodes.map(({ port }) => port)].map((port) => `127.0.0.1:${port}`).join(), loginOf)
  t.same(await refusals(cluster.nodes), [])
})
