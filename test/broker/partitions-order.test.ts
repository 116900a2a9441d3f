// Copies between partitions, made in any order: in the end each has the same, and its streams heard nothing in vain.
// More runs: COPIES_RUNS; other ones: COPIES_SEED=random.
import { deepStrictEqual, ok } from 'node:assert/strict'
import t from 'tap'
import fc from 'fast-check'
import { partitionOf, tagsOf } from '../../src/broker/redis/partitions/slots.ts'
import { type Address, ALL, groupAddress, userAddress } from '../../src/notification.ts'
import { startRedis } from '../fixtures/redis.ts'
import { seedOf } from '../fixtures/seed.ts'
import { isGrowing, listOf } from './contract.ts'
import { type PartitionedNode, startPartitions, stoppable } from './nodes.ts'

const PARTITIONS = 4
const tags = tagsOf(PARTITIONS)
const all = [...tags.keys()]
const nameIn = (partition: number): string => Array.from({ length: 1000 }, (_, n) => `${n}`).find((name) => partitionOf(name, PARTITIONS) === partition)!
/** A user and a group in each partition. */
const users = all.map(nameIn)
const groups = users
const shared: readonly Address[] = [ALL, ...groups.map(groupAddress)]
const homeOf = (address: Address): number => partitionOf(address.slice(address.indexOf(':') + 1), PARTITIONS)

const redis = await startRedis(t)
let count = 0

/** What was published at an address and stands there: id that was answered → its data and key. */
type Standing = Map<number, { readonly data: string, readonly key: string }>

class World {
  readonly #prefix: string
  readonly #node: PartitionedNode
  readonly #standing = new Map<Address, Standing>()
  /** Data → its key, and in what order it was published. */
  readonly #published = new Map<string, { readonly key: string, readonly id: number, readonly to: readonly Address[] }>()

  constructor (prefix: string, node: PartitionedNode) {
    this.#prefix = prefix
    this.#node = node
  }

  async #call (partition: number, name: string, ...args: Array<string | number>): Promise<unknown[]> {
    return await redis.cli('FCALL', name, 1, `${this.#prefix}:{${tags[partition]}}`, ...args) as unknown[]
  }

  #at (address: Address): Standing {
    return this.#standing.get(address) ?? this.#standing.set(address, new Map()).get(address)!
  }

  /** As a node does that dies as soon as it has committed. */
  async publish (to: readonly Address[], key: string): Promise<void> {
    const home = homeOf(to.find((address) => shared.includes(address)) ?? to[0]!)
    const homed = to.filter((address) => shared.includes(address) && homeOf(address) === home)
    const elsewhere = to.filter((address) => !homed.includes(address))
    const places = elsewhere.flatMap((address) => shared.includes(address) ? all.map((n) => [n, address] as const) : [[homeOf(address), address] as const])
    const local = [...homed, ...places.filter(([n]) => n === home).map(([, address]) => address)]
    const far = places.filter(([n]) => n !== home).flatMap(([n, address]) => [tags[n]!, address])
    const data = `"${this.#published.size}"`
    const [[, id]] = await this.#call(home, 'tidings_commit', 1, '', '', 0, 'message', data, 'inbox', '', key, '', local.length, ...local, homed.length, far.length / 2, ...far, 0) as [[number, string]]
    this.#published.set(data, { key, id: Number(id), to })
    for (const address of to) {
      const standing = this.#at(address)
      for (const [other, known] of standing) if (key !== '' && known.key === key) standing.delete(other)
      standing.set(Number(id), { data, key })
    }
  }

  /** At the home, which may not have the newest yet. */
  async retract (address: Address, by: 'id' | 'key', back: number, key: string): Promise<void> {
    const id = [...this.#published.values()].filter(({ to }) => to.includes(address)).at(-1 - back)?.id ?? 1
    const [isTaken, origin] = await this.#call(homeOf(address), 'tidings_take_back', '', 0, address, by, by === 'id' ? id : key) as [number, string]
    if (isTaken === 1) this.#at(address).delete(Number(origin))
  }

  /** Copies up to so many entries. Resolves with how many. */
  async copy (source: number, target: number, most: number): Promise<number> {
    if (source === target) return 0
    const taken = Number(await redis.cli('HGET', `${this.#prefix}:{${tags[target]}}:copied`, tags[source]!) ?? 0)
    const [, ...entries] = await this.#call(source, 'tidings_read_outbox', tags[target]!, taken) as [string, ...Array<[string, string, number, string[], string[]]>]
    const some = entries.slice(0, most)
    const args = some.flatMap(([id, before, isFirst, fields, to]) => [id, before, isFirst, fields.length, ...fields, to.length, ...to])
    if (some.length > 0) await this.#call(target, 'tidings_copy', tags[source]!, ...args)
    return some.length
  }

  async check (): Promise<void> {
    for (let copied = 1; copied > 0;) {
      copied = 0
      for (const source of all) for (const target of all) copied += await this.copy(source, target, Infinity)
    }
    for (const [partition, user] of users.entries()) {
      const listed = (await listOf(this.#node, user)).notifications
      const standing = new Map([userAddress(user), ...shared].flatMap((address) => [...this.#at(address)].map(([, { data }]) => [data, address])))
      deepStrictEqual(listed.map(({ json }) => json).sort(), [...standing.keys()].sort(), `what user ${user} has`)
      await this.#node.broker.publish({ to: [userAddress(user)], event: 'end', json: '1', keep: 'none' })
      const ends = () => this.#heard(partition).some(({ event }) => event === 'end')
      await this.#node.ear.until(() => ends() || undefined, 'all to be heard')
      this.#checkHeard(partition, listed.map(({ id }) => id))
    }
  }

  #heard (partition: number) {
    return this.#node.ear.notifications.filter(({ to }) => to.startsWith(`${partition}/`))
  }

  #checkHeard (partition: number, listed: readonly number[]): void {
    const heard = this.#heard(partition)
    const ids = heard.map(({ id, asOf = id }) => asOf).filter((id) => id > 0)
    ok(isGrowing(ids.filter((id, i) => id !== ids[i - 1])), 'ids and what events are told as of, grow')
    for (const id of listed) ok(ids.includes(id), `${id} was heard`)
    const newest = new Map<string, number>()
    for (const { to, id, json } of heard.filter(({ id }) => id > 0)) {
      const { key, id: origin } = this.#published.get(json)!
      if (key === '') continue
      ok(origin > (newest.get(`${to} ${key}`) ?? 0), `${id}, ${json} at ${to}, was heard after a newer one with its key`)
      newest.set(`${to} ${key}`, origin)
    }
  }
}

const partition = fc.nat(PARTITIONS - 1)
const user = partition.map((n): Address => userAddress(users[n]!))
const address = fc.constantFrom(...shared)
const key = fc.constantFrom('', 'k', 'l')
const by = fc.constantFrom('id' as const, 'key' as const)
const most = fc.integer({ min: 1, max: 3 })
const step = fc.oneof(
  fc.tuple(fc.constant('publish' as const), fc.uniqueArray(fc.oneof(address, address, user), { minLength: 1, maxLength: 4 }), key),
  fc.tuple(fc.constant('retract' as const), address, by, fc.nat(3), fc.constantFrom('k', 'l')),
  fc.tuple(fc.constant('copy' as const), partition, partition, most)
)

t.test('partitions, with copies that come in any order, agree with one another in the end', async (t) => {
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), async (steps) => {
    const prefix = `${redis.prefix}:${++count}`
    const [starting, stop] = stoppable(() => startPartitions(t, { url: redis.url, prefix }, PARTITIONS))
    const node = await starting
    // From here on nobody but the test copies.
    stop()
    await Promise.all(users.flatMap((user) => groups.map(async (group) => { await node.broker.join(user, group) })))
    await node.broker.subscribe(users.flatMap((user) => [userAddress(user), ...shared].map((address) => node.broker.channelOf(user, address))))
    const world = new World(prefix, node)
    try {
      for (const [name, ...args] of steps) await (world[name] as (...args: unknown[]) => Promise<unknown>).apply(world, args)
      await world.check()
    } finally {
      await node.broker.close()
    }
  }), { seed: seedOf('COPIES_SEED'), numRuns: Number(process.env['COPIES_RUNS'] ?? 25) })
  t.pass('no difference')
})
