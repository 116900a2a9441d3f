// The broker on Redis: implements the port with one connection for commands and one subscriber connection. The atomic
// operations are Lua functions in functions/.
import type { Redis } from 'ioredis'
import { userAddress } from '../../notification.ts'
import { parseRedisUrl } from '../../redis-url.ts'
import type { Broker, RetractRequest, Session } from '../broker.ts'
import type { BrokerState } from '../state.ts'
import type { BrokerListener } from '../listener.ts'
import { isUnanswered } from './answers.ts'
import { RedisCommands, type RedisCommandsOptions } from './commands.ts'
import { Division } from './partitions/division.ts'
import { RedisInbox } from './inbox.ts'
import { Links } from './links.ts'
import { type Measured, metersOf } from './meters.ts'
import { readMembership, RedisRequests } from './requests.ts'
import { RedisSubscriber } from './subscriber.ts'
import { RedisTrail } from './trail.ts'

/** Sessions that one call checks, since Redis serves nobody else meanwhile. */
const VERIFIED_AT_ONCE = 500

export interface RedisBrokerOptions extends RedisCommandsOptions {
  /** REDIS_URL. */
  readonly url: string
  readonly nodeName: string
  /** Connections shared with others. Default: its own. */
  readonly links?: Links
  /** Called whenever commands can be sent again, and when the data was lost. */
  readonly onUp?: () => void
}

export class RedisBroker implements Broker {
  readonly name = 'redis'
  readonly trail: RedisTrail
  readonly meters: Broker['meters']
  readonly measured: Measured
  readonly settled: Promise<void>
  readonly refused: Promise<void> | undefined
  readonly #prefix: string
  readonly #links: Links
  /** Set if the links are its own, so that it must start, tick and close them. */
  readonly #ownLinks: Links | undefined
  readonly #commands: RedisCommands
  readonly #subscriber: RedisSubscriber
  readonly #requests: RedisRequests
  readonly #inbox: RedisInbox
  readonly #onUp: () => void
  /**
   * Checks that Redis is not divided otherwise. Undefined if this is one of several partitions, which their owner
   * checks.
   */
  readonly #division: Division | undefined
  #ticker: NodeJS.Timeout | undefined

  constructor (options: RedisBrokerOptions) {
    const links = options.links ?? new Links({ place: parseRedisUrl(options.url), nodeName: options.nodeName, lockPrefix: options.prefix, log: options.log })
    this.#links = links
    this.#ownLinks = options.links === undefined ? links : undefined
    this.#prefix = options.prefix
    this.#division = options.onUp === undefined ? new Division({ root: options.prefix, partitions: [this], tags: [''], links, log: options.log }) : undefined
    this.#onUp = options.onUp ?? (() => { this.#division?.check() })
    this.#subscriber = new RedisSubscriber(options, links)
    this.#commands = new RedisCommands(options, links, this.#subscriber)
    this.#requests = new RedisRequests(this.#commands, options.prefix)
    this.#inbox = new RedisInbox(this.#commands, options.prefix)
    this.trail = new RedisTrail(this.#commands, options.prefix)
    this.measured = { commands: this.#commands, requests: this.#requests }
    this.meters = metersOf(links, [this.measured])
    const { heard } = this.#subscriber
    this.refused = this.#division?.refused
    this.settled = this.#division === undefined ? heard : Promise.race([this.#division.refused, Promise.all([this.#division.agreed, heard]).then(() => {})])
  }

  start (listener: BrokerListener): void {
    this.#commands.on('loading', (nonce) => { this.#subscriber.expect(nonce) })
    this.#commands.on('library', (nonce) => { this.#subscriber.meet(nonce) })
    this.#commands.on('anew', () => {
      this.#subscriber.startOver(true)
      this.#onUp()
    })
    this.#commands.on('up', () => {
      this.#publishCanary()
      this.#onUp()
    })
    this.#subscriber.on('subscribed', () => { this.#publishCanary() })
    this.#subscriber.start(listener)
    this.#commands.start()
    this.#ownLinks?.start()
    this.#ticker = setInterval(() => { this.#tick() }, 1000)
  }

  #tick (): void {
    this.#ownLinks?.tick()
    this.#subscriber.tick()
    this.#commands.tick()
    if (this.#commands.fault === '') void this.#commands.confirm()
    // Also while commands are refused: that may be why.
    this.#division?.check()
    this.#publishCanary()
    void this.trail.flush()
  }

  #publishCanary (): void {
    if (!this.#commands.canPublish) return
    this.#commands.publish(this.#subscriber.canaryChannel, '').catch((error: Error) => {
      if (isUnanswered(error)) this.#commands.reconnect('no answer')
      else if (/NOPERM|unknown command/.test(error.message) && !this.#subscriber.isRefused) this.#subscriber.refused(error)
    })
  }

  readonly publish: Broker['publish'] = (request) => this.#requests.publish(request)

  async retract ({ to, what, publisher }: RetractRequest): Promise<boolean> {
    const which = 'id' in what ? ['id', what.id] : ['key', what.key]
    return await this.call('tidings_retract_one', publisher?.userId ?? '', publisher?.issuedAtSeconds ?? 0, to, ...which) === 1
  }

  readonly channelOf: Broker['channelOf'] = (_userId, address) => address
  readonly addressOf: Broker['addressOf'] = (channel) => channel
  readonly subscribe: Broker['subscribe'] = (channels) => this.#subscriber.subscribe(channels)
  readonly unsubscribe: Broker['unsubscribe'] = (channels) => { this.#subscriber.unsubscribe(channels) }
  readonly resume: Broker['resume'] = (query) => this.#requests.resume(query)

  readonly groups: Broker['groups'] = async (userId) => readMembership(await this.call('tidings_groups', userId) as string[])
  readonly join: Broker['join'] = async (userId, group) => { await this.call('tidings_join', userId, group) }
  readonly leave: Broker['leave'] = async (userId, group) => { await this.call('tidings_leave', userId, group) }
  readonly replaceGroups: Broker['replaceGroups'] = async (userId, groups) => { await this.call('tidings_replace_groups', userId, ...groups) }
  readonly presence: Broker['presence'] = async (userId) => await this.#commands.subscribers(`${this.#prefix}:${userAddress(userId)}`)

  readonly visit: Broker['visit'] = (visitor) => this.#requests.visit(visitor)
  readonly logout: Broker['logout'] = async (userId) => { await this.call('tidings_logout', userId) }

  async takeSession (userId: string, tag: string, cursor: number | 'fresh', admittedAt: number): Promise<Session | undefined> {
    const [holds, takenAt, fence, keptAt = 0] = await this.call('tidings_claim', userId, tag, cursor === 'fresh' ? '' : cursor, admittedAt) as [number, string, string, string?]
    return holds === 1 ? { tag, takenAt: Number(takenAt), fence: Number(fence), isLowered: Number(fence) < Number(keptAt) } : undefined
  }

  async verifySessions (sessions: ReadonlyArray<{ readonly userId: string, readonly session: Session }>): Promise<string[]> {
    const lost: string[] = []
    for (let from = 0; from < sessions.length; from += VERIFIED_AT_ONCE) {
      const some = sessions.slice(from, from + VERIFIED_AT_ONCE)
      lost.push(...await this.call('tidings_verify', ...some.flatMap(({ userId, session: { tag, fence } }) => [userId, tag, fence])) as string[])
    }
    return lost
  }

  readonly list: Broker['list'] = (query) => this.#inbox.list(query)
  readonly position: Broker['position'] = (reader) => this.#inbox.position(reader)
  readonly moveCursor: Broker['moveCursor'] = (reader, cursor, upTo) => this.#inbox.moveCursor(reader, cursor, upTo)
  readonly mark: Broker['mark'] = (reader, id, as) => this.#inbox.mark(reader, id, as)

  readonly homeOf: Broker['homeOf'] = () => '0'
  readonly put: Broker['put'] = async (_home, key, text, seconds) => { await this.#commands.ask((redis) => redis.set(this.#kept(key), text, 'EX', seconds)) }
  readonly get: Broker['get'] = async (_home, key) => await this.#commands.ask((redis) => redis.get(this.#kept(key))) ?? undefined
  readonly take: Broker['take'] = async (_home, key) => await this.#commands.ask((redis) => redis.getdel(this.#kept(key))) ?? undefined
  readonly exchange: Broker['exchange'] = async (_home, key, kept) =>
    await this.call('tidings_exchange', key, kept.key, kept.text, kept.seconds) as string | null ?? undefined

  readonly ordinal: Broker['ordinal'] = async (_home, key, seconds) => await this.call('tidings_ordinal', key, seconds) as number

  async hit (_home: string, key: string, windowMs: number, hits = 1): Promise<{ count: number, restMs: number }> {
    const [count, restMs] = await this.call('tidings_hit', key, windowMs, hits) as [number, number]
    return { count, restMs }
  }

  #kept (key: string): string {
    return `${this.#prefix}:kept:${key}`
  }

  /** Puts a value unless the key exists. Resolves with the value that is there afterwards. */
  async claim (key: string, text: string, seconds: number): Promise<string> {
    return await this.#commands.ask((redis) => redis.set(this.#kept(key), text, 'EX', seconds, 'NX', 'GET')) ?? text
  }

  /** Calls a function of the library with this prefix. Rejects with the port's errors. */
  call (name: string, ...args: Array<string | number>): Promise<unknown> {
    return this.#commands.call(this.#prefix, name, args)
  }

  /** Sends a command. Rejects with the port's errors. */
  ask<T> (command: (redis: Redis) => Promise<T>): Promise<T> {
    return this.#commands.ask(command)
  }

  /** Maps an error that a function answered to one of the port's. */
  translate (why: string): Error {
    return this.#commands.translate(new Error(why))
  }

  /** Remembers an id that Redis answered. */
  saw (id: number): void {
    this.#commands.saw(id)
  }

  state (): BrokerState {
    const fault = this.#commands.fault === '' ? this.#subscriber.fault : this.#commands.fault
    const { channels, deafSeconds } = this.#subscriber
    const { clockDifferenceSeconds } = this.#commands
    const { warnings } = this.#links
    const refusal = this.#division?.isRefused === true ? { up: false, detail: this.#division.fault, isRefused: true } : {}
    return { up: fault === '', detail: fault === '' ? 'connected' : fault, channels, deafSeconds, warnings, clockDifferenceSeconds, ...refusal }
  }

  async close (): Promise<void> {
    clearInterval(this.#ticker)
    this.#subscriber.close()
    await this.trail.flush()
    this.#commands.close()
    this.#ownLinks?.close()
  }
}
