// Commands for the data of one prefix, sent to whichever Redis has it. Also detects when that data was lost.
import { EventEmitter } from 'node:events'
import type { Redis } from 'ioredis'
import { type HistoryLimits, Uncertain, Unavailable } from '../broker.ts'
import { isClosed, isMissing, isUnanswered, translate } from './answers.ts'
import { explain, NOT_CONNECTED, refusesWrites } from './diagnosis.ts'
import { Known, type Ears } from './known.ts'
import { LIBRARY_VERSION } from './library.ts'
import type { Link } from './link.ts'
import type { Links, Log } from './links.ts'
import { Seldom } from './seldom.ts'
import { canEvict } from './warnings.ts'

/** How long an unexpected error of Redis is not logged again. */
const UNEXPECTED_MS = 60_000
/** After a call that took longer it is not known when Redis read its clock. It may have waited for others before it. */
const MOST_UNCERTAIN_MS = 1000

export type Args = ReadonlyArray<string | number>

export interface RedisCommandsOptions extends HistoryLimits {
  /** First part of every key and channel. In a Cluster it has a hash tag, so that all of them share one slot. */
  readonly prefix: string
  readonly log: Log
}

/**
 * `up`: commands can be sent. `loading`: a library with this nonce may send messages from now on. `library`: the loaded
 * library has this nonce. `anew`: the data was lost, so live streams must be filled again and told.
 */
interface Events {
  up: []
  loading: [nonce: string]
  library: [nonce: string]
  anew: []
}

export class RedisCommands extends EventEmitter<Events> {
  readonly #options: RedisCommandsOptions
  readonly #links: Links
  readonly #unexpected: Seldom
  readonly #known: Known
  #nonce = ''
  #link: Link | undefined
  /** Why no command can be sent although the link is up; empty if one can. */
  #fault = NOT_CONNECTED
  #setup: Promise<void> | undefined
  #isClosed = false
  #clockDifferenceSeconds = 0
  #roundTripSeconds = 0
  readonly #onMoved = (): void => { this.#follow() }
  readonly #onUp = (hasReplacedOld: boolean): void => { void this.#setUp(hasReplacedOld) }
  readonly #onLoading = (nonce: string): void => { this.emit('loading', nonce) }
  readonly #onDown = (): void => { this.#fault = NOT_CONNECTED }

  /** `ears`: what was heard on the connection that hears the channels now. */
  constructor (options: RedisCommandsOptions, links: Links, ears: Ears) {
    super()
    this.#options = options
    this.#links = links
    this.#unexpected = new Seldom(options.log, UNEXPECTED_MS)
    this.#known = new Known(ears)
  }

  start (): void {
    this.#links.on('moved', this.#onMoved)
    this.#follow()
  }

  /** Switches to the link of the Redis that has the prefix now. */
  #follow (): void {
    const link = this.#links.of(this.#options.prefix)
    if (link === this.#link) return
    this.#leave()
    this.#link = link
    this.#fault = NOT_CONNECTED
    this.#known.leaves()
    link?.on('up', this.#onUp).on('loading', this.#onLoading).on('down', this.#onDown)
    if (link?.fault === '') void this.#setUp(false)
  }

  #leave (): void {
    this.#link?.off('up', this.#onUp).off('loading', this.#onLoading).off('down', this.#onDown)
  }

  /** Why no command can be sent; empty if one can. */
  get fault (): string {
    if (this.#isClosed) return 'closed'
    const { prefix } = this.#options
    const fault = this.#links.faultOf(prefix)
    return fault === '' ? this.#fault : fault
  }

  get clockDifferenceSeconds (): number { return this.#clockDifferenceSeconds }
  get roundTripSeconds (): number { return this.#roundTripSeconds }

  /** Called once a second. */
  tick (): void {
    if (this.#link?.fault === '' && this.#fault !== '') void this.setup()
  }

  /**
   * Called once a second while commands can be sent. Detects what an open connection does not show: a flushed Redis
   * lost our settings or functions, Redis takes no writes any more, or another node loaded another library.
   */
  async confirm (): Promise<void> {
    try {
      await this.#configure(false)
    } catch (error) {
      if (!isUnanswered(error as Error)) await this.setup() // the canary notices a missing answer
    }
  }

  /** Redis does not answer: opens a new connection. */
  reconnect (fault: string): void {
    if (this.#link?.fault === '') this.#link.reconnect(fault)
  }

  /** Sets up the link and what the prefix needs. Never rejects. */
  async setup (): Promise<void> {
    const link = this.#link
    await link?.setup() // emits 'up', which sets up the prefix too
    await this.#setup
  }

  async #setUp (hasReplacedOld: boolean): Promise<void> {
    this.#setup ??= this.#configureAnew(hasReplacedOld).finally(() => { this.#setup = undefined })
    await this.#setup
  }

  async #configureAnew (hasReplacedOld: boolean): Promise<void> {
    try {
      await this.#configure(true, hasReplacedOld)
      if (this.#fault === '') return
      this.#fault = ''
      this.#options.log.info('Redis: connected, functions loaded')
      this.emit('up')
    } catch (error) {
      if (!isClosed(error as Error)) this.#down(explain((error as Error).message))
    }
  }

  #down (fault: string): void {
    if (fault !== this.#fault) this.#options.log.warn(`Redis: ${fault}; trying again until it answers`)
    this.#fault = fault
  }

  async #configure (isStart: boolean, hasReplacedOld = false): Promise<void> {
    const { prefix, historyLength, groupHistoryLength, historySeconds, maxDataBytes } = this.#options
    const known = this.#known
    let link: Link
    let startedMs = 0
    const [version, born, id, timeUs, nonce] = await this.#links.give(prefix, (redis) => {
      // The prefix may have moved before this attempt.
      link = this.#links.of(prefix)!
      const { runId = '', replicationId = '', policy = '' } = link.info ?? {}
      known.meets(runId, replicationId)
      startedMs = performance.now()
      return redis.fcall('tidings_configure', 1, prefix, this.#links.database, historyLength, groupHistoryLength, historySeconds, maxDataBytes,
        runId, known.newestBefore, isStart ? 1 : 0, hasReplacedOld ? 1 : 0, canEvict(policy) ? 1 : 0, known.looked)
    }) as [number, string, string, string, string]
    const tookMs = performance.now() - startedMs
    this.#roundTripSeconds = tookMs / 1000
    if (tookMs <= MOST_UNCERTAIN_MS) this.#clockDifferenceSeconds = (Date.now() - tookMs / 2) / 1000 - Number(timeUs) / 1e6
    // The functions were flushed, and a node of an older version was the first to load its own.
    if (version < LIBRARY_VERSION) throw new Error('an older function library stands in Redis')
    const isEmptied = known.learns(Number(id), born, startedMs)
    if (nonce !== this.#nonce) {
      this.#nonce = nonce
      link!.warnings.meet(nonce)
      this.emit('library', nonce)
    }
    if (link!.info !== undefined) link!.warnings.look(link!.info, this.#clockDifferenceSeconds)
    // The data was lost (FLUSHALL), groups too, and the subscriber connection does not notice that.
    if (!isEmptied) return
    this.#options.log.warn('Redis: data was lost, or replaced by older data; clients are told that something may be missing')
    this.emit('anew')
  }

  /** Remembers an id that Redis answered. */
  saw (id: number): void {
    this.#known.saw(id)
  }

  /** Calls a function of the library. Rejects with the port's errors. */
  async call (prefix: string, name: string, args: Args): Promise<unknown> {
    this.#mustBeUp()
    const call = async (): Promise<unknown> => await this.#links.give(prefix, (redis) => redis.fcall(name, 1, prefix, ...args))
    try {
      return await call().catch(async (error: Error) => {
        if (!isMissing(error)) throw error
        // The functions of a running Redis were flushed. Nothing has run, so the call can be repeated.
        await this.setup()
        this.#mustBeUp()
        return await call()
      })
    } catch (error) {
      if (isMissing(error as Error)) this.#down(`the function library in Redis is another one, and lacks ${name}; load that of this version (npm run -s functions)`)
      throw this.translate(error as Error)
    }
  }

  /** Sends a command to the Redis that has the prefix. Rejects with the port's errors. */
  async ask<T> (command: (redis: Redis) => Promise<T>): Promise<T> {
    this.#mustBeUp()
    return await this.#give(command)
  }

  async #give<T> (command: (redis: Redis) => Promise<T>): Promise<T> {
    return await this.#links.give(this.#options.prefix, command).catch((error: Error) => { throw this.translate(error) })
  }

  #mustBeUp (): void {
    const { fault } = this
    if (fault !== '') throw new Unavailable(fault)
  }

  /** Whether `publish` may be called. Who refuses functions, or takes no writes, passes messages on all the same. */
  get canPublish (): boolean {
    const fault = this.#isClosed ? 'closed' : this.#links.faultOf(this.#options.prefix)
    return fault === '' || refusesWrites(fault)
  }

  /** Publishes on a channel. Rejects with the port's errors. */
  async publish (channel: string, payload: string): Promise<void> {
    await this.#give((redis) => this.#links.isCluster ? redis.spublish(channel, payload) : redis.publish(channel, payload))
  }

  /** How many connections are subscribed to a channel. */
  async subscribers (channel: string): Promise<number> {
    const reply = await this.ask((redis) => this.#links.isCluster ? redis.pubsub('SHARDNUMSUB', channel) : redis.pubsub('NUMSUB', channel))
    return Number(reply[1])
  }

  /** Maps an error of Redis to one of the port's. Unexpected ones are logged, each once a minute. */
  translate (error: Error): Error {
    const portError = translate(error)
    if (portError instanceof Uncertain && !isUnanswered(error)) this.#unexpected.warn(`Redis: ${portError.message}`)
    return portError
  }

  close (): void {
    this.#isClosed = true
    this.#links.off('moved', this.#onMoved)
    this.#leave()
  }
}
