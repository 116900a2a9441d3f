// Asks all Sentinels which Redis is the master. Those that have seen the newest failover count, and of them most.
import type { Login, RedisAddress } from '../../redis-url.ts'
import { askOnce, type Entry, nameOf } from './connection.ts'
import { tellingOf } from './answers.ts'
import { NOT_CONNECTED, sentinelFault, UNRESOLVED } from './diagnosis.ts'
import type { Whereabouts } from './whereabouts.ts'

const TIMEOUT_MS = 1000
/** Ticks (seconds) between two lookups while nothing is wrong. */
const LOOK_TICKS = 2
/** The most Sentinels that are asked, including those that joined after the start. */
const MAX_SENTINELS = 16

interface Report {
  readonly address: RedisAddress
  /** Grows with each failover. A Sentinel that was cut off from the others still has the old one. */
  readonly epoch: number
  readonly others: readonly RedisAddress[]
}

export class SentinelMaster implements Whereabouts {
  readonly #entry: Entry
  #sentinels: readonly RedisAddress[]
  #master: RedisAddress | undefined
  #epoch = 0
  #ticks = 0
  #fault = NOT_CONNECTED

  constructor (entry: Entry) {
    this.#entry = entry
    this.#sentinels = entry.place.addresses
  }

  get fault (): string { return this.#fault }
  masterOf (): RedisAddress | undefined { return this.#master }
  masters (): readonly RedisAddress[] { return this.#master === undefined ? [] : [this.#master] }
  // Asks even while all is well: a node whose connection to an old master survives would go on writing there.
  isDue (isTroubled: boolean): boolean { return isTroubled || this.#fault !== '' || ++this.#ticks % LOOK_TICKS === 0 }

  async look (): Promise<boolean> {
    const answers = await Promise.allSettled(this.#sentinels.map((address) => this.#ask(address)))
    const reports = answers.filter((answer) => answer.status === 'fulfilled').map(({ value }) => value)
    // A single Sentinel that was given another address says so with the epoch of the others.
    const weight = ({ address, epoch }: Report): number => {
      const sayers = reports.filter((other) => other.epoch === epoch && nameOf(other.address) === nameOf(address)).length
      return this.#isMaster(address) ? sayers + 0.5 : sayers
    }
    const [newest] = reports.sort((a, b) => b.epoch - a.epoch || weight(b) - weight(a))
    if (newest === undefined) {
      // A known master is kept: the Sentinels are not needed as long as it answers.
      const reasons = answers.flatMap((answer) => answer.status === 'rejected' ? [answer.reason as Error] : [])
      this.#fault = sentinelFault(tellingOf(reasons), this.#entry.place.masterName)
      this.#sentinels = merge(this.#entry.place.addresses, this.#sentinels)
      return false
    }
    this.#fault = ''
    this.#sentinels = merge([...this.#entry.place.addresses, ...reports.flatMap(({ others }) => others)])
    const isOther = !this.#isMaster(newest.address)
    // A lower epoch is believed only if most Sentinels say so. A few may have been cut off; most of them are right,
    // even if they were all set up again and count from zero.
    const sayers = reports.filter(({ address }) => nameOf(address) === nameOf(newest.address))
    if (newest.epoch < this.#epoch && sayers.length * 2 <= this.#sentinels.length) return false
    this.#epoch = newest.epoch
    this.#master = newest.address
    return isOther
  }

  #isMaster (address: RedisAddress): boolean {
    return this.#master !== undefined && nameOf(address) === nameOf(this.#master)
  }

  async #ask (address: RedisAddress): Promise<Report> {
    const { sentinelLogin } = this.#entry.place
    if (sentinelLogin !== undefined) return await this.#askAs(address, sentinelLogin)
    return await this.#askAs(address).catch((error: Error) => {
      // Sentinels often have no password although their Redis has one.
      if (!/^(WRONGPASS|ERR AUTH|ERR Client sent AUTH)/.test(error.message)) throw error
      return this.#askAs(address, { username: '', password: '' })
    })
  }

  async #askAs (address: RedisAddress, login: Partial<Login> = {}): Promise<Report> {
    const { masterName } = this.#entry.place
    // A Sentinel has no databases.
    return await askOnce({ ...this.#entry, place: { ...this.#entry.place, ...login, database: 0 } }, address, TIMEOUT_MS, async (redis) => {
      const [master, others] = await Promise.all([redis.call('SENTINEL', 'MASTER', masterName), redis.call('SENTINEL', 'SENTINELS', masterName)])
      const state = fields(master)
      // Net connects to this machine if there is no host, and another Redis may be at that port here.
      if (state['ip'] === '') throw new Error(UNRESOLVED)
      return { address: addressOf(state), epoch: Number(state['config-epoch']), others: (others as unknown[]).map((other) => addressOf(fields(other))).filter(({ host }) => host !== '') }
    })
  }
}

function addressOf ({ ip = '', port }: Record<string, string>): RedisAddress {
  return { host: ip, port: Number(port) }
}

/** From a flat list: name, value, name, value… */
function fields (flat: unknown): Record<string, string> {
  if (!Array.isArray(flat)) return flat as Record<string, string>
  return Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, i) => [String(flat[2 * i]), String(flat[2 * i + 1])]))
}

function merge (...lists: ReadonlyArray<readonly RedisAddress[]>): RedisAddress[] {
  const byName = new Map(lists.flat().map((address) => [nameOf(address), address]))
  return [...byName.values()].slice(0, MAX_SENTINELS)
}
