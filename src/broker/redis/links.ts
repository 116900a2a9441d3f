// All Redis servers of this node: finds the master of a key, and keeps the connections, which all prefixes share.
import { EventEmitter } from 'node:events'
import type { Redis } from 'ioredis'
import type { RedisAddress } from '../../redis-url.ts'
import { Unavailable } from '../broker.ts'
import { isElsewhere, translate } from './answers.ts'
import { Spread } from '../meters.ts'
import { type Entry, nameOf } from './connection.ts'
import { Link } from './link.ts'
import { CALL_BOUNDS } from './meters.ts'
import { keySlot } from './slot.ts'
import { whereaboutsOf, type Whereabouts } from './whereabouts.ts'

/** How long a call waits while its slot moves to another master. */
const PATIENCE_MS = 1000
const PAUSE_MS = 50

export interface Log {
  readonly info: (text: string) => void
  readonly warn: (text: string) => void
}

export interface LinksOptions extends Entry {
  readonly log: Log
}

/** `moved`: some slots may have another master now. */
export class Links extends EventEmitter<{ moved: [] }> {
  readonly isCluster: boolean
  readonly database: number
  /** How long commands take, in seconds, including those that fail. */
  readonly times = new Spread(CALL_BOUNDS)
  readonly #options: LinksOptions
  readonly #where: Whereabouts
  readonly #links = new Map<string, Link>()
  #looking: Promise<void> | undefined
  #nextLook: Promise<void> | undefined
  #isClosed = false
  #waiting = 0

  constructor (options: LinksOptions) {
    super()
    this.setMaxListeners(0) // each partition adds two
    this.#options = options
    this.isCluster = options.place.kind === 'cluster'
    this.database = options.place.database
    this.#where = whereaboutsOf(options, () => [...this.#links.values()].filter(({ fault }) => fault === '').map(({ redis }) => redis))
  }

  start (): void {
    void this.look()
  }

  /** Called once a second. */
  tick (): void {
    for (const link of this.#links.values()) link.tick()
    const isDue = this.#where.isDue([...this.#links.values()].some(({ fault }) => fault !== ''))
    if (isDue && this.#looking === undefined) void this.look()
  }

  /**
   * Finds out which master has which slots. A lookup that is under way may have been answered before the caller's news,
   * so another one follows it, shared by all who ask meanwhile. Never rejects.
   */
  async look (): Promise<void> {
    if (this.#looking === undefined) {
      this.#looking = this.#look().finally(() => { this.#looking = undefined })
      await this.#looking
      return
    }
    this.#nextLook ??= this.#looking.then(async () => {
      this.#nextLook = undefined
      await this.look()
    })
    await this.#nextLook
  }

  async #look (): Promise<void> {
    const before = this.#where.fault
    const hasChanged = await this.#where.look()
    if (this.#isClosed) return
    const { fault } = this.#where
    if (fault !== '' && fault !== before) this.#options.log.warn(`Redis: ${fault}; looking again until it is found`)
    if (!hasChanged) return
    this.emit('moved')
    const masters = new Set(this.#where.masters().map(nameOf))
    for (const [name, link] of this.#links) {
      if (masters.has(name)) continue
      this.#links.delete(name)
      link.close()
    }
  }

  /** The link to the master of a key; undefined while the master is unknown. */
  of (key: string): Link | undefined {
    const address = this.#where.masterOf(this.isCluster ? keySlot(key) : 0)
    return address === undefined || this.#isClosed ? undefined : this.#open(address)
  }

  #open (address: RedisAddress): Link {
    const name = nameOf(address)
    const open = this.#links.get(name)
    if (open !== undefined) return open
    // A master that was killed may be back at its address after another took over, as a master with old data, until the
    // Sentinels reach it. A Cluster's takes no writes at first.
    const confirm = this.#options.place.kind === 'sentinel' ? () => this.look() : undefined
    const link = new Link(this.#options, address, this.#options.log, confirm)
    this.#links.set(name, link)
    link.on('down', () => { if (this.#options.place.kind !== 'single') void this.look() })
    link.ear.onMoved(() => { void this.look().then(() => { link.ear.audit() }) })
    link.start()
    return link
  }

  /** Why no command can be sent for a key; empty if one can. */
  faultOf (key: string): string {
    const link = this.of(key)
    return link?.fault ?? (this.#isClosed ? 'closed' : this.#where.fault)
  }

  /** Sends a command to the master of a key. Rejects with the port's errors. */
  async ask<T> (key: string, command: (redis: Redis) => Promise<T>): Promise<T> {
    const fault = this.faultOf(key)
    if (fault !== '') throw new Unavailable(fault)
    return await this.give(key, command).catch((error: Error) => { throw translate(error) })
  }

  /**
   * The same, but rejects with Redis's own errors. A master that answers that the key is elsewhere has done nothing, so
   * the new master is asked. While a slot moves nobody is asked: a function would see half of the data and take the
   * rest for lost.
   */
  async give<T> (key: string, command: (redis: Redis) => Promise<T>): Promise<T> {
    const end = performance.now() + PATIENCE_MS
    for (;;) {
      const link = this.of(key)
      if (link === undefined) throw new Unavailable(this.#where.fault)
      try {
        return await this.#timed(link.send(command))
      } catch (error) {
        if (!isElsewhere(error as Error)) throw error
        // A lookup that is under way may know the new master already.
        await this.#looking
        if (this.of(key) === link) await this.look()
        if (!this.isCluster || performance.now() > end || this.#isClosed) throw error
        await new Promise((resolve) => { setTimeout(resolve, PAUSE_MS) })
      }
    }
  }

  async #timed<T> (answer: Promise<T>): Promise<T> {
    const givenAtMs = performance.now()
    this.#waiting++
    try {
      return await answer
    } finally {
      this.#waiting--
      this.times.add((performance.now() - givenAtMs) / 1000)
    }
  }

  /** How many commands wait for an answer. */
  get waiting (): number { return this.#waiting }

  /** The highest share of any Redis. */
  get memoryUsed (): number {
    return Math.max(0, ...[...this.#links.values()].map(({ memoryUsed }) => memoryUsed))
  }

  get warnings (): readonly string[] {
    return [...new Set([...this.#links.values()].flatMap(({ warnings }) => warnings.sentences))]
  }

  close (): void {
    this.#isClosed = true
    for (const link of this.#links.values()) link.close()
  }
}
