// Finds out which master of a Cluster has which slot, from CLUSTER NODES. It keeps its own table over plain
// connections, because client libraries go deaf when a slot or a master moves.
import type { Redis } from 'ioredis'
import type { RedisAddress } from '../../redis-url.ts'
import { tellingOf } from './answers.ts'
import { askOnce, type Entry, nameOf } from './connection.ts'
import { CLUSTER_HAS_HOLES, clusterFault, NOT_CONNECTED } from './diagnosis.ts'
import { SLOTS } from './slot.ts'
import type { Whereabouts } from './whereabouts.ts'

const TIMEOUT_MS = 1000
/** Ticks (seconds) between two lookups while nothing is wrong. */
const LOOK_TICKS = 5
/** In the table: a slot without a master. */
const NOBODY = -1
/** How many nodes are asked at once when a connected one is missing. */
const MAX_ASKED = 32

/** One line of CLUSTER NODES. */
interface ClusterNode {
  readonly address: RedisAddress
  readonly isMaster: boolean
  /** If several nodes claim a slot, the highest epoch wins. */
  readonly epoch: number
  readonly slots: ReadonlyArray<readonly [from: number, to: number]>
}

/** `asked`: the node that answered, which may not know its own address yet. */
function readNodes (text: string, asked: RedisAddress): ClusterNode[] {
  return text.split('\n').filter((line) => line !== '').flatMap((line) => {
    const [, place = '', flags = '', , , , epoch, , ...slots] = line.trim().split(' ')
    // <ip>:<port>@<bus port>[,<host name>[,…]]
    const parts = /^(.*):(\d+)(?:@\d+)?(?:,([^,]*).*)?$/.exec(place)
    const isKnown = parts !== null && Number(parts[2]) > 0 && !/noaddr|handshake/.test(flags)
    if (!isKnown) return []
    const [, ip = '', port, name = ''] = parts
    const host = name !== '' && name !== '?' ? name : ip
    if (host === '' && !flags.includes('myself')) return []
    return [{
      address: { host: host === '' ? asked.host : host, port: Number(port) },
      isMaster: flags.includes('master'),
      epoch: Number(epoch),
      // [93->-<node>] is a slot being moved. Its old owner has it until the move is complete.
      slots: slots.filter((slot) => /^\d/.test(slot)).map((slot) => {
        const [from, to = from] = slot.split('-').map(Number) as [number, number?]
        return [from, to] as const
      })
    }]
  })
}

export class ClusterMasters implements Whereabouts {
  readonly #entry: Entry
  readonly #connected: () => readonly Redis[]
  #nodes: readonly RedisAddress[] = []
  #masters: readonly RedisAddress[] = []
  /** For each slot the index of its master in `#masters`. */
  #table = new Int16Array(SLOTS).fill(NOBODY)
  #isTroubled = true
  #ticks = 0
  #fault = NOT_CONNECTED

  constructor (entry: Entry, connected: () => readonly Redis[]) {
    this.#entry = entry
    this.#connected = connected
  }

  get fault (): string { return this.#fault }
  masterOf (slot: number): RedisAddress | undefined { return this.#masters[this.#table[slot]!] }
  masters (): readonly RedisAddress[] { return this.#masters }

  isDue (isTroubled: boolean): boolean {
    this.#isTroubled ||= isTroubled
    return this.#isTroubled || ++this.#ticks % LOOK_TICKS === 0
  }

  async look (): Promise<boolean> {
    const { nodes, reasons } = await this.#ask()
    if (nodes.length === 0) {
      this.#isTroubled = true
      this.#fault = clusterFault(reasons)
      return false
    }
    this.#nodes = unique(nodes.map(({ address }) => address))
    const before = { table: this.#table, names: this.#masters.map(nameOf) }
    const owners = nodes.filter(({ isMaster, slots }) => isMaster && slots.length > 0).sort((a, b) => a.epoch - b.epoch)
    const masters = unique(owners.map(({ address }) => address))
    const at = new Map(masters.map((address, i) => [nameOf(address), i]))
    const table = new Int16Array(SLOTS).fill(NOBODY)
    for (const { address, slots } of owners) for (const [from, to] of slots) table.fill(at.get(nameOf(address))!, from, to + 1)
    this.#masters = masters
    this.#table = table
    this.#isTroubled = table.includes(NOBODY)
    this.#fault = this.#isTroubled ? CLUSTER_HAS_HOLES : ''
    // Compares indexes instead of names, since this runs once a second while a master is away.
    const now = before.names.map((name) => at.get(name) ?? NOBODY)
    return before.table.some((was, slot) => (was === NOBODY ? NOBODY : now[was]) !== table[slot])
  }

  /**
   * Asks the connected nodes. If something is wrong or none is connected, also asks all others that were ever named.
   */
  async #ask (): Promise<{ nodes: ClusterNode[], reasons: Error[] }> {
    const connected = this.#connected()
    const asked = connected.map((redis) => ask(redis, { host: redis.options.host!, port: redis.options.port! }))
    if (this.#isTroubled || connected.length === 0) {
      const theirs = new Set(connected.map(({ options }) => nameOf({ host: options.host!, port: options.port! })))
      const others = unique([...this.#nodes, ...this.#entry.place.addresses]).filter((address) => !theirs.has(nameOf(address)))
      asked.push(...others.slice(0, MAX_ASKED).map((address) => askOnce(this.#entry, address, TIMEOUT_MS, (redis) => ask(redis, address))))
    }
    const answers = await Promise.allSettled(asked)
    const reasons = answers.flatMap((answer) => answer.status === 'rejected' ? [answer.reason as Error] : [])
    return {
      nodes: answers.flatMap((answer) => answer.status === 'fulfilled' ? answer.value : []),
      reasons: tellingOf(reasons)
    }
  }
}

async function ask (redis: Redis, address: RedisAddress): Promise<ClusterNode[]> {
  const impatience = Promise.withResolvers<never>()
  const timer = setTimeout(() => { impatience.reject(new Error('no answer')) }, TIMEOUT_MS)
  try {
    return readNodes(await Promise.race([redis.cluster('NODES'), impatience.promise]) as string, address)
  } finally {
    clearTimeout(timer)
  }
}

function unique (addresses: readonly RedisAddress[]): RedisAddress[] {
  return [...new Map(addresses.map((address) => [nameOf(address), address])).values()]
}
