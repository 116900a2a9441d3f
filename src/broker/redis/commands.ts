// The connection for commands: it brings the function library to Redis, calls it, and finds out when Redis is another one, or cannot be used.
import { EventEmitter } from 'node:events'
import { Redis } from 'ioredis'
import { type HistoryLimits, Uncertain, Unavailable } from '../broker.ts'
import { isAlreadyLoaded, isClosed, isMissing, isUnanswered, translate } from './answers.ts'
import { explain, readInfo, type ServerInfo } from './diagnosis.ts'
import { library, LIBRARY_VERSION, newNonce } from './library.ts'

const COMMAND_TIMEOUT_MS = 3000
/** Ticks (seconds) that a connection has to come up before another one is tried. */
const CONNECT_TICKS = 5
/** Ticks between two looks at Redis's memory. */
const MEMORY_TICKS = 10
/** From here on it is said that the memory ends. */
const MEMORY_WARNING = 0.9
/** Seconds by which two clocks may differ before it is said. */
const CLOCK_WARNING = 2

export type Args = ReadonlyArray<string | number>

export interface Log {
  readonly info: (text: string) => void
  readonly warn: (text: string) => void
}

export interface RedisCommandsOptions extends HistoryLimits {
  /** `redis://` or `rediss://`, with user, password and database as usual. */
  readonly url: string
  /** First part of every key and channel. */
  readonly prefix: string
  /** Names the connections in Redis's CLIENT LIST. */
  readonly nodeName: string
  readonly log: Log
}

/** How both connections are made. */
export function connectionOptions (nodeName: string) {
  return {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    connectTimeout: 5000,
    connectionName: `tidings:${nodeName.replace(/[^\x21-\x7e]/g, '_')}`,
    // Spread out, so that a hundred nodes do not knock in the same millisecond when Redis is back.
    retryStrategy: (times: number) => Math.min(times * 100, 1000) * (0.5 + Math.random())
  }
}

/** What a node knows of what stands under one prefix. */
interface Known {
  /** When the history began. */
  born: string
  nonce: string
  /** From Redis's own answers only: what stands in a channel message, anybody may have put there. */
  newestId: number
  /** The newest id of the Redis process before this one. */
  newestBefore: number
}

/**
 * `up`: commands can be given. `loading`: a library with this nonce may speak from now on; `library`: this one does. `anew`: the data went: the
 * live streams are to be refilled.
 */
interface Events {
  up: []
  loading: [nonce: string]
  library: [nonce: string]
  anew: []
}

export class RedisCommands extends EventEmitter<Events> {
  readonly #options: RedisCommandsOptions
  readonly #redis: Redis
  readonly #known: Known = { born: '', nonce: '', newestId: 0, newestBefore: 0 }
  /** Why no command can be given; empty if one can. */
  #fault = 'not connected yet'
  #ticks = 0
  #downTicks = 0
  #info: ServerInfo | undefined
  #setup: Promise<void> | undefined
  #clockDifferenceSeconds = 0
  #roundTripSeconds = 0
  #warnings: string[] = []

  constructor (options: RedisCommandsOptions) {
    super()
    this.#options = options
    this.#redis = new Redis(options.url, { ...connectionOptions(options.nodeName), commandTimeout: COMMAND_TIMEOUT_MS, enableAutoPipelining: true })
  }

  start (): void {
    this.#redis.on('ready', () => { void this.setup() })
    this.#redis.on('close', () => { this.#down('the command connection closed') })
    this.#redis.on('error', (error) => { this.#down(explain(error.message)) })
    this.#redis.connect().catch(() => {}) // told by 'error', tried again by retryStrategy
  }

  get fault (): string { return this.#fault }
  get warnings (): readonly string[] { return this.#warnings }
  get clockDifferenceSeconds (): number { return this.#clockDifferenceSeconds }
  get roundTripSeconds (): number { return this.#roundTripSeconds }

  get memoryUsed (): number {
    const { usedMemory = 0, maxMemory = 0 } = this.#info ?? {}
    return maxMemory > 0 ? usedMemory / maxMemory : 0
  }

  /** Once a second. */
  tick (): void {
    this.#ticks++
    // A server that accepts connections and answers nothing (stopped, or half-open) would be waited for without end.
    this.#downTicks = this.#fault === '' ? 0 : this.#downTicks + 1
    if (this.#redis.status === 'ready') {
      if (this.#fault !== '') void this.setup()
    } else if (this.#downTicks % CONNECT_TICKS === CONNECT_TICKS - 1) this.reconnect('no answer')
  }

  /**
   * Once a second while it is up, since it also finds out what a connection that answers does not tell: that a flushed Redis has lost our
   * settings or functions, that it takes no writes any more, or that another node has loaded another library.
   */
  async confirm (): Promise<void> {
    try {
      if (this.#ticks % MEMORY_TICKS === 0) await this.#readInfo()
      await this.#configure(false)
    } catch (error) {
      if (!isUnanswered(error as Error)) await this.setup() // no answer: the canary's business
    }
  }

  reconnect (fault: string): void {
    this.#down(fault)
    this.#redis.disconnect(true)
  }

  #down (fault: string): void {
    const text = fault === '' ? 'no connection' : fault
    if (this.#fault === '' || this.#fault === 'not connected yet' || (text !== this.#fault && text !== 'the command connection closed')) {
      this.#options.log.warn(`Redis: ${text}; trying again until it answers`)
    }
    // A connection that closes after it was refused has the refusal for its reason.
    if (this.#fault === '' || text !== 'the command connection closed') this.#fault = text
  }

  /** Runs at every connect: a Redis that came back may be another one, or an empty one. Never rejects. */
  async setup (): Promise<void> {
    this.#setup ??= this.#setUp().finally(() => { this.#setup = undefined })
    await this.#setup
  }

  async #setUp (): Promise<void> {
    try {
      const before = this.#info?.runId ?? ''
      const { fault, runId } = await this.#readInfo()
      if (fault !== undefined) throw new Error(fault)
      if (runId !== before) this.#known.newestBefore = this.#known.newestId
      const hasReplacedOld = await this.#loadLibrary()
      await this.#configure(true, hasReplacedOld)
      if (this.#fault === '') return
      this.#fault = ''
      this.#options.log.info('Redis: connected, functions loaded')
      this.emit('up')
    } catch (error) {
      if (!isClosed(error as Error)) this.#down(explain((error as Error).message))
    }
  }

  async #readInfo (): Promise<ServerInfo> {
    this.#info = readInfo(await this.#redis.info())
    return this.#info
  }

  async #configure (isStart: boolean, hasReplacedOld = false): Promise<void> {
    const { prefix, historyLength, groupHistoryLength, historySeconds, maxDataBytes } = this.#options
    const known = this.#known
    const startedMs = performance.now()
    const [version, born, id, timeUs, nonce] = await this.#redis.fcall('tidings_configure', 1, prefix,
      this.#redis.options.db ?? 0, historyLength, groupHistoryLength, historySeconds, maxDataBytes, this.#info?.runId ?? '', known.newestBefore,
      isStart ? 1 : 0, hasReplacedOld ? 1 : 0, this.#canEvict() ? 1 : 0) as [number, string, string, string, string]
    const tookMs = performance.now() - startedMs
    this.#roundTripSeconds = tookMs / 1000
    this.#clockDifferenceSeconds = (Date.now() - tookMs / 2) / 1000 - Number(timeUs) / 1e6
    // Somebody flushed the functions, and a node of an older version was the first to load its own.
    if (version < LIBRARY_VERSION) throw new Error('an older function library stands in Redis')
    this.saw(Number(id))
    const isEmptied = known.born !== '' && born !== known.born
    known.born = born
    if (nonce !== known.nonce) {
      known.nonce = nonce
      this.emit('library', nonce)
    }
    this.#warn()
    // Its data went (FLUSHALL), groups too, and the line that hears has not noticed.
    if (isEmptied) this.emit('anew')
  }

  #canEvict (): boolean {
    const policy = this.#info?.policy ?? ''
    return policy !== '' && policy !== 'noeviction'
  }

  #warn (): void {
    const warnings: string[] = []
    const { policy = '', maxMemory = 0 } = this.#info ?? {}
    if (maxMemory > 0 && this.#canEvict()) {
      warnings.push(`Redis evicts keys when it is full (maxmemory-policy ${policy}): history, groups and logouts may go; set noeviction`)
    }
    if (this.memoryUsed > MEMORY_WARNING) {
      warnings.push('Redis has used more than 90 % of its maxmemory; when it is full, nothing can be published')
    }
    const seconds = Math.abs(this.#clockDifferenceSeconds)
    if (seconds > CLOCK_WARNING) {
      warnings.push(`this node's clock is ${seconds.toFixed(0)} seconds ${this.#clockDifferenceSeconds > 0 ? 'ahead of' : 'behind'} Redis's; synchronise both`)
    }
    // Said once for as long as it holds, whatever its numbers do meanwhile.
    const kindOf = (text: string): string => text.replace(/\d+/g, '')
    for (const text of warnings) {
      if (!this.#warnings.some((said) => kindOf(said) === kindOf(text))) this.#options.log.warn(`Redis: ${text}`)
    }
    this.#warnings = warnings
  }

  /** True: an older one was there. */
  async #loadLibrary (): Promise<boolean> {
    const version = await this.#libraryVersion()
    if (version >= LIBRARY_VERSION) return false
    const nonce = newNonce()
    this.emit('loading', nonce)
    // Nodes that start together all find none. The first one's stays: each that replaced it would make what the others say a stranger's.
    const isLoaded = version === 0 && await this.#redis.function('LOAD', library(nonce)).then(() => true, (error: Error) => {
      if (isAlreadyLoaded(error)) return false
      throw error
    })
    if (!isLoaded && await this.#libraryVersion() < LIBRARY_VERSION) await this.#redis.function('LOAD', 'REPLACE', library(nonce))
    return version > 0
  }

  /** 0: there is none, or none that tells. */
  async #libraryVersion (): Promise<number> {
    return Number(await this.#redis.fcall_ro('tidings_version', 0).catch((error: Error) => {
      if (isMissing(error)) return 0
      throw error
    }))
  }

  /** An id that Redis answered with. */
  saw (id: number): void {
    if (id > this.#known.newestId) this.#known.newestId = id
  }

  /** Calls a function of the library. Throws the port's errors. */
  async call (prefix: string, name: string, args: Args): Promise<unknown> {
    if (this.#fault !== '') throw new Unavailable(this.#fault)
    const call = async (): Promise<unknown> => await this.#redis.fcall(name, 1, prefix, ...args)
    try {
      return await call().catch(async (error: Error) => {
        if (!isMissing(error)) throw error
        // Somebody flushed the functions of a running Redis. Nothing has run, so the call can be made again.
        await this.setup()
        if (this.#fault !== '') throw new Unavailable(this.#fault)
        return await call()
      })
    } catch (error) {
      if (isMissing(error as Error)) this.#down(`the function library in Redis is another one, and lacks ${name}; load that of this version (npm run -s functions)`)
      throw this.translate(error as Error)
    }
  }

  /** Gives a command. Throws the port's errors. */
  async ask<T> (command: (redis: Redis) => Promise<T>): Promise<T> {
    if (this.#fault !== '') throw new Unavailable(this.#fault)
    return await command(this.#redis).catch((error: Error) => { throw this.translate(error) })
  }

  /** Redis's error as one of the port's; told, if nobody expects it. */
  translate (error: Error): Error {
    const known = translate(error)
    if (known instanceof Uncertain && !isUnanswered(error)) this.#options.log.warn(`Redis: ${error.message}`)
    return known
  }

  close (): void {
    this.#redis.removeAllListeners('close')
    this.#redis.disconnect()
    this.#fault = 'closed'
  }
}
