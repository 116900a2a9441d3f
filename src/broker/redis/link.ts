// The connections to one Redis: one for commands, which has the function library loaded there and finds out when it
// cannot be used, and the ear.
import { EventEmitter } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { RedisAddress } from '../../redis-url.ts'
import { isAlreadyLoaded, isClosed, isMissing } from './answers.ts'
import { type Entry, nameOf, openConnection, selectDatabase } from './connection.ts'
import { explain, NOT_CONNECTED, placeFault, readInfo, type ServerInfo } from './diagnosis.ts'
import { Ear } from './ear.ts'
import { library, LIBRARY_VERSION, newNonce } from './library.ts'
import type { Log } from './links.ts'
import { Warnings } from './warnings.ts'

const COMMAND_TIMEOUT_MS = 3000
/** Ticks (seconds) that a connection has to come up before another one is tried. */
const CONNECT_TICKS = 5
/**
 * Ticks between two connections while the address leads to a replica: a name may lead to the new master by now, and is
 * asked only when a connection is made.
 */
const REPLICA_TICKS = 2
/** How long one node has for replacing an older library before another one does, and how often that one looks. */
const REPLACE_MS = 2000
const LOOK_MS = 50
/** Ticks between two looks at Redis's memory. */
const MEMORY_TICKS = 10

/**
 * `up`: commands can be given; whether an older library was replaced just now. `loading`: a library with this nonce may
 * speak from now on. `down`: nothing can be given from now on.
 */
interface Events {
  up: [hasReplacedOld: boolean]
  loading: [nonce: string]
  down: []
}

export class Link extends EventEmitter<Events> {
  readonly name: string
  readonly redis: Redis
  readonly ear: Ear
  readonly warnings: Warnings
  readonly #entry: Entry
  readonly #log: Log
  #fault = NOT_CONNECTED
  #ticks = 0
  #downTicks = 0
  #info: ServerInfo | undefined
  #setup: Promise<void> | undefined
  /** Whether the ear may hear another server than the one that takes commands. */
  #isEarToCheck = false

  constructor (entry: Entry, address: RedisAddress, log: Log) {
    super()
    this.setMaxListeners(0) // three of each partition
    this.name = nameOf(address)
    this.#entry = entry
    this.#log = log
    this.warnings = new Warnings(log)
    this.redis = openConnection(entry, address, { commandTimeout: COMMAND_TIMEOUT_MS, enableAutoPipelining: true })
    this.ear = new Ear(entry, address, log)
  }

  start (): void {
    this.redis.on('ready', () => { void this.setup() })
    this.redis.on('close', () => { this.#down('the command connection closed') })
    this.redis.on('error', (error) => { this.#down(explain(error.message)) })
    this.redis.connect().catch(() => {}) // told by 'error', tried again by retryStrategy
    this.ear.start()
  }

  /** Why no command can be given; empty if one can. */
  get fault (): string { return this.#fault }
  get info (): ServerInfo | undefined { return this.#info }

  get memoryUsed (): number {
    const { usedMemory = 0, maxMemory = 0 } = this.#info ?? {}
    return maxMemory > 0 ? usedMemory / maxMemory : 0
  }

  /** Once a second. */
  tick (): void {
    this.ear.tick()
    this.#ticks++
    // A server that accepts connections and answers nothing (stopped, or half-open) would be waited for without end.
    this.#downTicks = this.#fault === '' ? 0 : this.#downTicks + 1
    if (this.redis.status === 'ready') {
      if (this.#fault !== '') {
        if (this.#isAtReplica && this.#downTicks % REPLICA_TICKS === 0) this.redis.disconnect(true)
        else void this.setup()
        return
      }
      this.#checkEar()
      if (this.#ticks % MEMORY_TICKS === 0) this.#readInfo().catch(() => {}) // no answer: the canary's business
    } else if (this.#downTicks % CONNECT_TICKS === CONNECT_TICKS - 1) this.reconnect('no answer')
  }

  /** Behind Sentinels and in a Cluster they say where the master is. */
  get #isAtReplica (): boolean {
    return this.#entry.place.kind === 'single' && this.#info !== undefined && this.#info.master !== ''
  }

  /**
   * A name that moved: a replica passes on what its master is told to publish, so that the ear hears there, but nobody
   * counts it as a receiver, and it is not told when something was not passed on. Looked at once after each setup.
   */
  #checkEar (): void {
    if (!this.#isEarToCheck || this.ear.serverId === '') return
    this.#isEarToCheck = false
    if (this.ear.serverId !== this.#info?.runId) this.ear.reconnect()
  }

  reconnect (fault: string): void {
    this.#down(fault)
    this.redis.disconnect(true)
  }

  #down (fault: string): void {
    const text = fault === '' ? 'no connection' : fault
    const wasUp = this.#fault === ''
    if (wasUp || this.#fault === NOT_CONNECTED || (text !== this.#fault && text !== 'the command connection closed')) {
      this.#log.warn(`Redis: ${text}; trying again until it answers`)
    }
    // A connection that closes after it was refused has the refusal for its reason.
    if (wasUp || text !== 'the command connection closed') this.#fault = text
    if (wasUp) this.emit('down')
  }

  /** Runs at every connect: a Redis that came back may be another one, or an empty one. Never rejects. */
  async setup (): Promise<void> {
    this.#setup ??= this.#setUp().finally(() => { this.#setup = undefined })
    await this.#setup
  }

  async #setUp (): Promise<void> {
    try {
      await selectDatabase(this.redis, this.#entry.place)
      const info = await this.#readInfo()
      const fault = placeFault(info, this.#entry.place.kind)
      if (fault !== undefined) throw new Error(fault)
      const hasReplacedOld = await this.#loadLibrary()
      this.#fault = ''
      this.#isEarToCheck = true
      this.emit('up', hasReplacedOld)
    } catch (error) {
      if (!isClosed(error as Error)) this.#down(explain((error as Error).message))
    }
  }

  async #readInfo (): Promise<ServerInfo> {
    this.#info = readInfo(await this.redis.info())
    return this.#info
  }

  /** Whether an older one was replaced. A newer one stays: it keeps the functions that we call. */
  async #loadLibrary (): Promise<boolean> {
    const version = await this.#libraryVersion()
    if (version >= LIBRARY_VERSION) return false
    if (version > 0 && !await this.#isFirstToReplace() && await this.#isReplaced()) return true
    const nonce = newNonce()
    const text = library({ nonce, isCluster: this.#entry.place.kind === 'cluster' })
    this.emit('loading', nonce)
    // Nodes that start together all find none. The first one's stays: each that replaced it would make what the others
    // say a stranger's.
    const isLoaded = version === 0 && await this.redis.function('LOAD', text).then(() => true, (error: Error) => {
      if (isAlreadyLoaded(error)) return false
      throw error
    })
    if (!isLoaded && await this.#libraryVersion() < LIBRARY_VERSION) await this.redis.function('LOAD', 'REPLACE', text)
    return version > 0
  }

  /**
   * Of nodes that find an older library in the same moment one replaces it: each that did would have all streams filled
   * anew. A counter that the older library has, too, and that ends by itself; where it cannot be asked, each does.
   */
  async #isFirstToReplace (): Promise<boolean> {
    const { lockPrefix } = this.#entry
    if (lockPrefix === undefined) return true
    const asked = this.redis.fcall('tidings_hit', 1, lockPrefix, `library ${LIBRARY_VERSION}`, REPLACE_MS, 1)
    return await asked.then((reply) => Number((reply as unknown[])[0]) === 1, () => true)
  }

  async #isReplaced (): Promise<boolean> {
    for (let waitedMs = 0; waitedMs < REPLACE_MS; waitedMs += LOOK_MS) {
      await sleep(LOOK_MS)
      if (await this.#libraryVersion() >= LIBRARY_VERSION) return true
    }
    return false
  }

  /** 0: there is none, or none that tells. */
  async #libraryVersion (): Promise<number> {
    return Number(await this.redis.fcall_ro('tidings_version', 0).catch((error: Error) => {
      if (isMissing(error)) return 0
      throw error
    }))
  }

  close (): void {
    this.ear.close()
    this.redis.removeAllListeners('close')
    this.redis.disconnect()
    this.#fault = 'closed'
  }
}
