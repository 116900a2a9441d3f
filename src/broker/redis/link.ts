// The two connections to one Redis: one for commands, which finds out when Redis cannot be used, and the subscriber
// connection (ear).
import { EventEmitter } from 'node:events'
import type { Redis } from 'ioredis'
import type { RedisAddress } from '../../redis-url.ts'
import { isClosed, isUnanswered } from './answers.ts'
import { askOnce, type Entry, nameOf, openConnection, selectDatabase } from './connection.ts'
import { CUT, explain, LOADING, NOT_CONNECTED, placeFault, readInfo, type ServerInfo } from './diagnosis.ts'
import { Ear } from './ear.ts'
import type { Log } from './links.ts'
import { loadLibrary } from './loader.ts'
import { Seldom } from './seldom.ts'
import { Warnings } from './warnings.ts'

const COMMAND_TIMEOUT_MS = 3000
/** Ticks (seconds) that a connection may take to come up before another one is tried. */
const CONNECT_TICKS = 5
/**
 * Ticks between two reconnects while the address leads to a replica. Its name may lead to the new master by now, and it
 * is resolved only when a connection is made.
 */
const REPLICA_TICKS = 2
/** How long to wait for an answer that says whether Redis is loading. */
const LOOK_AT_LOADING_MS = 500
/** Ticks between two checks of Redis's memory. */
const MEMORY_TICKS = 10

/**
 * `up`: commands can be sent; `hasReplacedOld` if an older library was just replaced. `loading`: a library with this
 * nonce may send messages from now on. `down`: no commands can be sent from now on.
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
  readonly #log: Seldom
  readonly #address: RedisAddress
  readonly #confirm: (() => Promise<void>) | undefined
  #isClosed = false
  #fault = NOT_CONNECTED
  /** The newest attempt to connect has said why it fails. */
  #hasReason = false
  /** A connection was closed by the other side since the newest attempt began. */
  #wasCut = false
  /** This node itself closes the connection. */
  #isLeft = false
  #ticks = 0
  #downTicks = 0
  #info: ServerInfo | undefined
  #setup: Promise<void> | undefined
  /** Whether it must be checked that the ear is connected to the server that takes commands. */
  #isEarToCheck = false
  #isCollecting = false

  /** `confirm` is called at every connect, before anything else, and closes the link if another Redis has its place. */
  constructor (entry: Entry, address: RedisAddress, log: Log, confirm?: () => Promise<void>) {
    super()
    this.setMaxListeners(0) // each partition adds three
    this.name = nameOf(address)
    this.#entry = entry
    this.#log = new Seldom(log)
    this.#address = address
    this.#confirm = confirm
    this.warnings = new Warnings(log)
    this.redis = openConnection(entry, address, { commandTimeout: entry.commandTimeoutMs ?? COMMAND_TIMEOUT_MS })
    this.ear = new Ear(entry, address, log, () => this.#info?.runId ?? '')
  }

  start (): void {
    this.redis.on('ready', () => { void this.setup() })
    this.redis.on('close', () => {
      if (!this.#isLeft) this.#wasCut = true
      this.#isLeft = false
      this.#down('the command connection closed')
    })
    this.redis.on('error', (error) => {
      if (isClosed(error)) return // 'close' follows
      this.#hasReason = true
      this.#down(explain(error.message))
    })
    this.redis.connect().catch(() => {}) // reported by 'error', repeated by retryStrategy
    this.ear.start()
  }

  /**
   * Sends a command. Those of one turn of the event loop leave in one piece at its end, since each piece costs a system
   * call here and in Redis. (The client library can combine commands too, but then keeps all others back until these
   * are answered.) Rejects with Redis's own errors.
   */
  send<T> (command: (redis: Redis) => Promise<T>): Promise<T> {
    if (!this.#isCollecting) this.#collect()
    return command(this.redis)
  }

  #collect (): void {
    const { stream } = this.redis as { readonly stream?: Redis['stream'] }
    if (stream === undefined) return
    this.#isCollecting = true
    stream.cork()
    setImmediate(() => {
      this.#isCollecting = false
      stream.uncork()
    })
  }

  /** Why no command can be sent; empty if one can. */
  get fault (): string { return this.#fault }
  get info (): ServerInfo | undefined { return this.#info }

  get memoryUsed (): number {
    const { usedMemory = 0, maxMemory = 0 } = this.#info ?? {}
    return maxMemory > 0 ? usedMemory / maxMemory : 0
  }

  /** Called once a second. */
  tick (): void {
    this.ear.tick()
    this.#ticks++
    // Without this, a server that accepts connections but never answers (stopped, half-open) would be waited for
    // without end.
    this.#downTicks = this.#fault === '' ? 0 : this.#downTicks + 1
    if (this.redis.status === 'ready') {
      if (this.#fault !== '') {
        if (this.#isAtReplica && this.#downTicks % REPLICA_TICKS === 0) this.redis.disconnect(true)
        else void this.setup()
        return
      }
      this.#checkEar()
      if (this.#ticks % MEMORY_TICKS !== 0) return
      this.#log.forget() // what goes wrong from now on is news, unless it goes wrong every few seconds
      this.#readInfo().catch(() => {}) // the canary notices a missing answer
    } else if (this.#downTicks % CONNECT_TICKS === CONNECT_TICKS - 1) void this.#renew()
  }

  /**
   * Replaces a connection that does not come up, unless Redis is loading its data. The client library waits silently
   * then.
   */
  async #renew (): Promise<void> {
    const isAlive = this.redis.status === 'connect' // connected, but not ready: loading, or stopped
    if (isAlive && await this.#isLoading()) this.#down(LOADING)
    else if (this.redis.status !== 'ready' && !this.#isClosed) this.reconnect(this.#hasReason ? this.#fault : this.#wasCut ? CUT : 'no answer')
  }

  async #isLoading (): Promise<boolean> {
    const text = askOnce(this.#entry, this.#address, LOOK_AT_LOADING_MS, (redis) => redis.info('persistence'))
    return await text.then((text) => /^loading:1/m.test(text), () => false)
  }

  /** Whether a single REDIS_URL leads to a replica. Sentinels and a Cluster name the master themselves. */
  get #isAtReplica (): boolean {
    return this.#entry.place.kind === 'single' && this.#info !== undefined && this.#info.master !== ''
  }

  /**
   * Reconnects the ear if it is connected to another server than the commands, because the name has moved. A replica
   * passes on what its master publishes, so the ear hears it, but it is not counted as a receiver, and cannot tell when
   * something was not passed on. Checked once after each setup.
   */
  #checkEar (): void {
    if (!this.#isEarToCheck || this.ear.serverId === '') return
    this.#isEarToCheck = false
    if (this.ear.serverId !== this.#info?.runId) this.ear.reconnect()
  }

  reconnect (fault: string): void {
    this.#down(fault)
    this.#hasReason = this.#wasCut = false
    this.#isLeft = /^connect|^ready/.test(this.redis.status)
    const isSilent = this.redis.status === 'ready'
    this.redis.disconnect(true)
    // Who does not answer does not take leave either, and nobody shall wait for the answers meanwhile.
    if (isSilent) this.redis.stream.destroy()
  }

  #down (fault: string): void {
    const text = fault === '' ? 'no connection' : fault
    const wasUp = this.#fault === ''
    if (wasUp || this.#fault === NOT_CONNECTED || (text !== this.#fault && text !== 'the command connection closed')) {
      this.#log.warn(`Redis: ${text}; trying again until it answers`)
    }
    // If the connection closes after an error, the error stays the reason.
    if (wasUp || text !== 'the command connection closed') this.#fault = text
    if (wasUp) this.emit('down')
  }

  /** Runs at every connect, since the Redis that came back may be another one or empty. Never rejects. */
  async setup (): Promise<void> {
    this.#setup ??= this.#setUp().finally(() => { this.#setup = undefined })
    await this.#setup
  }

  async #setUp (): Promise<void> {
    try {
      await this.#confirm?.()
      if (this.#isClosed) return
      await selectDatabase(this.redis, this.#entry.place)
      const info = await this.#readInfo()
      const fault = placeFault(info, this.#entry.place.kind)
      if (fault !== undefined) throw new Error(fault)
      const hasReplacedOld = await loadLibrary({ redis: this.redis, entry: this.#entry, onLoading: (nonce) => { this.emit('loading', nonce) } })
      this.#fault = ''
      this.#isEarToCheck = true
      this.ear.compare()
      this.emit('up', hasReplacedOld)
    } catch (error) {
      if (isClosed(error as Error)) return
      const fault = explain((error as Error).message)
      // While commands are refused there may be no canary, so nothing else notices that nobody answers any more.
      if (isUnanswered(error as Error) && this.redis.status === 'ready') this.reconnect(fault)
      else this.#down(fault)
    }
  }

  async #readInfo (): Promise<ServerInfo> {
    this.#info = readInfo(await this.redis.info())
    return this.#info
  }

  close (): void {
    this.#isClosed = true
    this.ear.close()
    this.redis.removeAllListeners('close')
    this.redis.disconnect()
    this.#fault = 'closed'
  }
}
