// The broker on Redis: one connection for commands, one that hears. The atomic parts stand in functions.lua.
import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import { type Address, userAddress } from '../../notification.ts'
import {
  type Broker, type BrokerListener, type BrokerState, type Channel, type HistoryLimits, type HistoryPage, type Membership,
  type PublishAnswer, type PublishRequest, type ResumeQuery, Revoked, type Session, TooManyGroups, Uncertain, Unavailable, type Visit,
  type Visitor
} from '../broker.ts'
import { readMembership, RedisRequests } from './requests.ts'
import { RedisSubscriber } from './subscriber.ts'

const library = readFileSync(new URL('functions.lua', import.meta.url), 'utf8')
const libraryVersion = Number(/local VERSION = (\d+)/.exec(library)![1])
const commandTimeoutMs = 3000
/** Ticks (seconds) that a connection has to come up before another one is tried. */
const CONNECT_TICKS = 5

export interface RedisBrokerOptions extends HistoryLimits {
  /** `redis://` or `rediss://`, with user, password and database as usual. */
  readonly url: string
  /** First part of every key and channel. */
  readonly prefix: string
  /** Names the connections in Redis's CLIENT LIST. */
  readonly nodeName: string
  readonly log: { info: (text: string) => void, warn: (text: string) => void }
}

export class RedisBroker implements Broker {
  readonly name = 'redis'
  readonly #options: RedisBrokerOptions
  readonly #redis: Redis
  readonly #subscriber: RedisSubscriber
  #ready = false
  #unreadyTicks = 0
  /** From Redis's own answers only: what stands in a channel message, anybody may have put there. */
  #newestId = 0
  /** Names the Redis process; and the newest id of the one before it. */
  #runId = ''
  #newestBefore = 0
  /** When the history began. */
  #born = ''
  #ticker: NodeJS.Timeout | undefined
  #fault = 'not connected yet'
  readonly #requests = new RedisRequests({
    call: (name, ...args) => this.#call(name, ...args),
    translate: (message) => this.#translate(new Error(message)),
    onId: (id) => { this.#newestId = Math.max(this.#newestId, id) }
  })

  constructor (options: RedisBrokerOptions) {
    this.#options = options
    const connection = {
      lazyConnect: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      connectTimeout: 5000,
      connectionName: `tidings:${options.nodeName.replace(/[^\x21-\x7e]/g, '_')}`,
      // Spread out, so that a hundred nodes do not knock in the same millisecond when Redis is back.
      retryStrategy: (times: number) => Math.min(times * 100, 1000) * (0.5 + Math.random())
    }
    this.#redis = new Redis(options.url, { ...connection, commandTimeout: commandTimeoutMs, enableAutoPipelining: true })
    this.#subscriber = new RedisSubscriber(new Redis(options.url, { ...connection, autoResubscribe: false }), options)
  }

  start (listener: BrokerListener): void {
    this.#redis.on('ready', () => { void this.#setup() })
    this.#redis.on('close', () => { this.#down('the command connection closed') })
    this.#redis.on('error', (error) => { this.#down(error.message) })
    this.#redis.connect().catch(() => {}) // told by 'error', tried again by retryStrategy
    this.#subscriber.start(listener, () => { this.#sing() })
    this.#ticker = setInterval(() => { this.#tick() }, 1000)
  }

  #tick (): void {
    this.#subscriber.tick()
    // A server that accepts connections and answers nothing (stopped, or half-open) would be waited for without end.
    this.#unreadyTicks = this.#ready ? 0 : this.#unreadyTicks + 1
    if (this.#unreadyTicks % CONNECT_TICKS === CONNECT_TICKS - 1) this.#redis.disconnect(true)
  }

  // Once a second, since it also finds out what a connection that answers does not tell: that a flushed Redis has lost our settings or
  // functions, or that a failover has made it a replica, which takes no writes.
  async #confirm (): Promise<void> {
    await this.#configure(false).catch(async (error: Error) => { if (!isUnanswered(error)) await this.#setup() })
  }

  #sing (): void {
    if (!this.#ready) return
    void this.#confirm() // no answer: the canary's business
    this.#redis.publish(this.#subscriber.canaryChannel, '').catch((error: Error) => {
      if (!isUnanswered(error)) return
      this.#down('no answer')
      this.#redis.disconnect(true)
    })
  }

  #down (fault: string): void {
    if (this.#ready || this.#fault === 'not connected yet') {
      this.#options.log.warn(`Redis: ${fault || 'no connection'}; trying again until it answers`)
    }
    this.#ready = false
    this.#fault = fault || 'no connection'
  }

  // Runs at every connect: a Redis that came back may be another one, or an empty one.
  async #setup (): Promise<void> {
    try {
      await this.#loadLibrary()
      const [, runId = ''] = /^run_id:(\w+)/m.exec(await this.#redis.info('server')) ?? []
      if (runId !== this.#runId) this.#newestBefore = this.#newestId
      this.#runId = runId
      await this.#configure(true)
      if (this.#ready) return
      this.#ready = true
      this.#fault = ''
      this.#sing()
      this.#options.log.info('Redis: connected, functions loaded')
    } catch (error) {
      this.#down(`cannot set up: ${(error as Error).message}`)
      setTimeout(() => { if (this.#redis.status === 'ready') void this.#setup() }, 1000).unref()
    }
  }

  async #configure (isStart: boolean): Promise<void> {
    const { prefix, historyLength, historySeconds, maxDataBytes } = this.#options
    const [version, born] = await this.#redis.fcall('tidings_setup', 1, prefix,
      historyLength, historySeconds, maxDataBytes, this.#runId, this.#newestBefore, isStart ? 1 : 0) as [number, string]
    // Somebody flushed the functions, and a node of an older version was the first to load its own.
    if (version < libraryVersion) await this.#loadLibrary()
    const isEmptied = this.#born !== '' && born !== this.#born
    this.#born = born
    // Its data went (FLUSHALL), groups too, and the line that hears may not have noticed: the live streams must be entered again, and told.
    if (isEmptied) this.#subscriber.startOver()
  }

  async #loadLibrary (): Promise<void> {
    const version = await this.#redis.fcall_ro('tidings_version', 0).catch(() => 0)
    if (Number(version) < libraryVersion) await this.#redis.function('LOAD', 'REPLACE', library)
  }

  async #call (name: string, ...args: Array<string | number>): Promise<Array<string | number>> {
    if (!this.#ready) throw new Unavailable(this.#fault)
    const call = async (): Promise<unknown> => await this.#redis.fcall(name, 1, this.#options.prefix, ...args)
    try {
      return await call().catch(async (error: Error) => {
        if (!error.message.includes('Function not found')) throw error
        // Somebody flushed the functions of a running Redis. Nothing has run, so the call can be made again.
        await this.#setup()
        if (!this.#ready) throw error
        return await call()
      }) as Array<string | number>
    } catch (error) {
      throw this.#translate(error as Error)
    }
  }

  #translate (error: Error): Error {
    const { message } = error
    if (message.startsWith('TIDINGS_TOO_MANY_GROUPS')) return new TooManyGroups(message)
    if (message.startsWith('TIDINGS_TOKEN_REVOKED')) return new Revoked(message)
    if (isRefusal.test(message)) return new Unavailable(message)
    if (!isUnanswered(error)) this.#options.log.warn(`Redis: ${message}`)
    return new Uncertain(message)
  }

  publish (request: PublishRequest): Promise<PublishAnswer> {
    return this.#requests.publish(request)
  }

  channelOf (_userId: string, address: Address): Channel {
    return address
  }

  subscribe (channels: readonly Channel[]): Promise<void> {
    return this.#subscriber.subscribe(channels)
  }

  unsubscribe (channels: readonly Channel[]): void {
    this.#subscriber.unsubscribe(channels)
  }

  async groups (userId: string): Promise<Membership> {
    return readMembership(await this.#call('tidings_groups', userId))
  }

  async join (userId: string, group: string): Promise<void> {
    await this.#call('tidings_join', userId, group)
  }

  async leave (userId: string, group: string): Promise<void> {
    await this.#call('tidings_leave', userId, group)
  }

  async replaceGroups (userId: string, groups: readonly string[]): Promise<void> {
    await this.#call('tidings_replace_groups', userId, ...groups)
  }

  resume (query: ResumeQuery): Promise<HistoryPage> {
    return this.#requests.resume(query)
  }

  visit (visitor: Visitor): Promise<Visit> {
    return this.#requests.visit(visitor)
  }

  async logout (userId: string): Promise<void> {
    await this.#call('tidings_logout', userId)
  }

  async takeSession (userId: string, tag: string, cursor: number | 'fresh'): Promise<Session | undefined> {
    const [holds, takenAt, fence] = await this.#call('tidings_claim', userId, tag, cursor === 'fresh' ? '' : cursor)
    return holds === 1 ? { tag, takenAt: Number(takenAt), fence: Number(fence) } : undefined
  }

  async verifySessions (sessions: ReadonlyArray<{ readonly userId: string, readonly session: Session }>): Promise<string[]> {
    return await this.#call('tidings_verify', ...sessions.flatMap(({ userId, session: { tag, fence } }) => [userId, tag, fence])) as string[]
  }

  homeOf (): string {
    return '0'
  }

  async put (_home: string, key: string, text: string, seconds: number): Promise<void> {
    await this.#ask((redis) => redis.set(this.#kept(key), text, 'EX', seconds))
  }

  async get (_home: string, key: string): Promise<string | undefined> {
    return await this.#ask((redis) => redis.get(this.#kept(key))) ?? undefined
  }

  async take (_home: string, key: string): Promise<string | undefined> {
    return await this.#ask((redis) => redis.getdel(this.#kept(key))) ?? undefined
  }

  async hit (_home: string, key: string, windowMs: number, hits = 1): Promise<{ count: number, restMs: number }> {
    const [count, restMs] = await this.#call('tidings_hit', key, windowMs, hits)
    return { count: Number(count), restMs: Number(restMs) }
  }

  async presence (userId: string): Promise<number> {
    const reply = await this.#ask((redis) => redis.pubsub('NUMSUB', `${this.#options.prefix}:${userAddress(userId)}`))
    return Number(reply[1])
  }

  #kept (key: string): string {
    return `${this.#options.prefix}:kept:${key}`
  }

  async #ask<T> (command: (redis: Redis) => Promise<T>): Promise<T> {
    if (!this.#ready) throw new Unavailable(this.#fault)
    return await command(this.#redis).catch((error: Error) => { throw this.#translate(error) })
  }

  state (): BrokerState {
    const { up, channels, deafSeconds } = this.#subscriber.state()
    const fault = this.#ready ? (up ? '' : 'the subscriber connection is not there') : this.#fault
    return { up: fault === '', detail: fault === '' ? 'connected' : fault, channels, deafSeconds }
  }

  close (): Promise<void> {
    clearInterval(this.#ticker)
    this.#redis.removeAllListeners('close')
    this.#subscriber.close()
    this.#redis.disconnect()
    return Promise.resolve()
  }
}

/** Redis's answers that it gives before it runs anything; and the library's, when there is no line to ask on. */
const isRefusal = /^(OOM|READONLY|LOADING|MASTERDOWN|NOREPLICAS|MISCONF|BUSY|NOPERM|NOAUTH|WRONGPASS|CLUSTERDOWN|Stream isn't writeable)/

/** Asked, but not answered: a time-out, or the connection broke underneath. */
function isUnanswered ({ name, message }: Error): boolean {
  return message.includes('timed out') || name === 'MaxRetriesPerRequestError' || message === 'Connection is closed.'
}
