// The broker on several partitions. Each partition is a complete installation under its own prefix, and everything of a
// user is in one of them.
//
// Calls about a user go directly to the user's partition. A publish is committed in one partition (publishing.ts), by a
// call that also records what other partitions are owed. Then it is copied to them exactly once (copies.ts); what could
// not be copied is copied later (outboxes.ts).
import { parseRedisUrl } from '../../../redis-url.ts'
import { type Broker, type Channel, type HistoryPage, type Reader, type ResumeQuery, type Session, type Visit, VISIT_WINDOW_MS, type Visitor } from '../../broker.ts'
import type { BrokerState } from '../../state.ts'
import type { BrokerListener } from '../../listener.ts'
import { Links } from '../links.ts'
import { RedisBroker, type RedisBrokerOptions } from '../redis.ts'
import { addressAt, channelIn, partitionAt } from './channels.ts'
import { Directory } from './directory.ts'
import { Division } from './division.ts'
import { listenerOf, refill } from './listener.ts'
import { Outboxes } from './outboxes.ts'
import { Publishing } from './publishing.ts'
import { nameOf, partitionOf, tagsOf } from './slots.ts'
import { metersOf, stateOf } from './state.ts'
import { trailOf } from './trails.ts'

/** The channel on which a partition says that another service published in it. */
const OUTBOX = 'outbox'

/** Ticks (seconds) that a node waits for all partitions before it serves the users of those that are up. */
const BEGINNING_TICKS = 3

export interface PartitionedBrokerOptions extends RedisBrokerOptions {
  /** 1 (only in a Cluster, where all keys of a partition must share a slot), 2, 4, 8 … 256. */
  readonly partitions: number
}

export class PartitionedBroker implements Broker {
  readonly name = 'redis'
  readonly trail: Broker['trail']
  readonly meters: Broker['meters']
  readonly settled: Promise<void>
  readonly refused: Promise<void>
  readonly #tags: readonly string[]
  readonly #links: Links
  readonly #partitions: readonly RedisBroker[]
  readonly #directory: Directory
  readonly #division: Division
  readonly #outboxes: Outboxes
  readonly #publishing: Publishing
  #listener: BrokerListener | undefined
  /** Partitions whose outbox channel is subscribed, or is being subscribed. */
  readonly #nudged = new Set<number>()
  #ticks = 0
  /** All partitions were up once, or had enough time to come up. */
  #hasBegun = false
  #ticker: NodeJS.Timeout | undefined

  constructor (options: PartitionedBrokerOptions) {
    const { partitions: count, prefix, historySeconds, nodeName, log } = options
    const tags = this.#tags = tagsOf(count)
    const links = this.#links = new Links({ place: parseRedisUrl(options.url), nodeName, lockPrefix: `${prefix}:{${tags[0]!}}`, log })
    const partitions = this.#partitions = tags.map((tag) => new RedisBroker({ ...options, links, prefix: `${prefix}:{${tag}}`, onUp: () => { this.#isUp() } }))
    this.#directory = new Directory({
      partitions,
      tags,
      historySeconds,
      onLate: (partition, groups) => { if (this.#listener !== undefined) refill(this.#listener, partition, groups) }
    })
    this.trail = trailOf(partitions.map(({ trail }) => trail), (userId) => partitionOf(userId, count))
    this.#division = new Division({ root: prefix, partitions, tags, links, log })
    this.#outboxes = new Outboxes({ partitions, tags, nodeName })
    this.meters = metersOf(links, partitions, this.#outboxes)
    this.refused = this.#division.refused
    const allUp = Promise.all(partitions.map(({ settled }) => settled)).then(() => { this.#hasBegun = true })
    this.settled = Promise.race([this.refused, Promise.all([this.#division.agreed, allUp])]).then(() => {})
    this.#publishing = new Publishing({ partitions, tags, directory: this.#directory, outboxes: this.#outboxes })
  }

  start (listener: BrokerListener): void {
    this.#listener = listener
    for (const [i, partition] of this.#partitions.entries()) {
      partition.start(listenerOf(listener, i, (channel) => {
        if (channel !== OUTBOX) return false
        this.#outboxes.nudge(i)
        return true
      }))
    }
    this.#links.start()
    this.#ticker = setInterval(() => { this.#tick() }, 1000)
  }

  #tick (): void {
    if (++this.#ticks >= BEGINNING_TICKS) this.#hasBegun = true
    this.#links.tick()
    this.#division.check()
    if (!this.#division.isAgreed) return
    this.#outboxes.tick()
    this.#directory.tick()
    for (const [i, partition] of this.#partitions.entries()) {
      if (this.#nudged.has(i)) continue
      this.#nudged.add(i)
      partition.subscribe([OUTBOX]).catch(() => { this.#nudged.delete(i) })
    }
  }

  #isUp (): void {
    this.#directory.forget()
    this.#division.check()
  }

  #of (userId: string): RedisBroker {
    return this.#partitions[partitionOf(userId, this.#tags.length)]!
  }

  async #read<A> (reader: Reader, call: (partition: RedisBroker) => Promise<A>): Promise<A> {
    const { userId, token } = reader
    if (token !== undefined) await this.#directory.admit(userId, token.groups, token.expiresAtSeconds)
    const answer = await call(this.#of(userId))
    // Nobody waits for it: if it fails, the next call tries again, and what is entered lasts for days.
    if (token !== undefined && token.groups === undefined) this.#directory.prolong(userId, token.expiresAtSeconds).catch(() => {})
    return answer
  }

  readonly publish: Broker['publish'] = (request) => this.#publishing.publish(request)
  readonly retract: Broker['retract'] = (request) => this.#publishing.retract(request)
  readonly channelOf: Broker['channelOf'] = (userId, address) => channelIn(partitionOf(userId, this.#tags.length), address)
  readonly addressOf: Broker['addressOf'] = (channel) => addressAt(channel)

  async subscribe (channels: readonly Channel[]): Promise<void> {
    await Promise.all(this.#byPartition(channels).map(async ([partition, addresses]) => { await partition.subscribe(addresses) }))
  }

  unsubscribe (channels: readonly Channel[]): void {
    for (const [partition, addresses] of this.#byPartition(channels)) partition.unsubscribe(addresses)
  }

  #byPartition (channels: readonly Channel[]): Array<[RedisBroker, Channel[]]> {
    return [...Map.groupBy(channels, partitionAt)].map(([i, channels]) => [this.#partitions[i]!, channels.map(addressAt)])
  }

  async resume (query: ResumeQuery): Promise<HistoryPage> {
    const { userId, expiresAtSeconds } = query.user
    await this.#directory.admit(userId, query.groups, expiresAtSeconds)
    const page = await this.#of(userId).resume(query)
    if (page.gap) this.#directory.doubt(userId, page.membership.keys(), expiresAtSeconds)
    // A visit also prolongs older memberships.
    await this.#directory.admit(userId, [...page.membership.keys()], expiresAtSeconds)
    return page
  }

  readonly groups: Broker['groups'] = (userId) => this.#of(userId).groups(userId)

  async join (userId: string, group: string): Promise<void> {
    await this.#directory.enter(userId, [group])
    await this.#of(userId).join(userId, group)
  }

  readonly leave: Broker['leave'] = (userId, group) => this.#of(userId).leave(userId, group)

  async replaceGroups (userId: string, groups: readonly string[]): Promise<void> {
    await this.#directory.enter(userId, groups)
    await this.#of(userId).replaceGroups(userId, groups)
  }

  readonly presence: Broker['presence'] = (userId) => this.#of(userId).presence(userId)

  /** A counter that several users share, such as their address, lives in the partition of its own name. */
  async visit (visitor: Visitor): Promise<Visit> {
    const { userId, counters = [] } = visitor
    const own = this.#of(userId)
    const homes = counters.map((counter) => this.#of(nameOf(counter)))
    const visit = await own.visit({ ...visitor, counters: counters.filter((_, i) => homes[i] === own) })
    const counts = [...visit.counts]
    return {
      ...visit,
      counts: await Promise.all(counters.map(async (counter, i) => {
        if (homes[i] === own) return counts.shift()!
        if (visit.verdict === 'revoked') return 0
        // A partition that is away must not lock out users of another one.
        return await homes[i]!.hit(userId, counter, VISIT_WINDOW_MS).then(({ count }) => count, () => 0)
      }))
    }
  }

  readonly logout: Broker['logout'] = (userId) => this.#of(userId).logout(userId)
  readonly takeSession: Broker['takeSession'] = (userId, tag, cursor, admittedAt) => this.#of(userId).takeSession(userId, tag, cursor, admittedAt)

  /** Sessions of a partition that is away are checked again at the next heartbeat. Rejects if all are away. */
  async verifySessions (sessions: ReadonlyArray<{ readonly userId: string, readonly session: Session }>): Promise<string[]> {
    const groups = [...Map.groupBy(sessions, ({ userId }) => this.#of(userId))]
    const results = await Promise.allSettled(groups.map(async ([partition, some]) => await partition.verifySessions(some)))
    const failed = results.find((result) => result.status === 'rejected')
    const answers = results.filter((result) => result.status === 'fulfilled')
    if (failed !== undefined && answers.length === 0) throw failed.reason
    return answers.flatMap(({ value }) => value)
  }

  readonly list: Broker['list'] = (query) => this.#read(query.reader, (partition) => partition.list(query))
  readonly position: Broker['position'] = (reader) => this.#read(reader, (partition) => partition.position(reader))
  readonly moveCursor: Broker['moveCursor'] = (reader, cursor, upTo) => this.#read(reader, (partition) => partition.moveCursor(reader, cursor, upTo))
  readonly mark: Broker['mark'] = (reader, id, as) => this.#read(reader, (partition) => partition.mark(reader, id, as))

  /** A tag lies in its own partition, so it is a valid `home` just like a user's id. */
  readonly homeOf: Broker['homeOf'] = (userId) => this.#tags[partitionOf(userId, this.#tags.length)]!
  readonly put: Broker['put'] = (home, key, text, seconds) => this.#of(home).put(home, key, text, seconds)
  readonly get: Broker['get'] = (home, key) => this.#of(home).get(home, key)
  readonly take: Broker['take'] = (home, key) => this.#of(home).take(home, key)
  readonly exchange: Broker['exchange'] = (home, key, kept) => this.#of(home).exchange(home, key, kept)
  readonly ordinal: Broker['ordinal'] = (home, key, seconds) => this.#of(home).ordinal(home, key, seconds)
  readonly hit: Broker['hit'] = (home, key, windowMs, hits) => this.#of(home).hit(home, key, windowMs, hits)

  state (): BrokerState {
    const state = stateOf(this.#partitions.map((partition) => partition.state()), this.#division)
    return { ...state, up: state.up && this.#hasBegun, channels: state.channels - this.#nudged.size }
  }

  async close (): Promise<void> {
    clearInterval(this.#ticker)
    await Promise.all(this.#partitions.map((partition) => partition.close()))
    this.#links.close()
  }
}
