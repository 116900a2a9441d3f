// A hub whose clients, clock and broker a test moves step by step, and what each client must have got.
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Unavailable } from '../../src/broker/broker.ts'
import type { Control } from '../../src/broker/listener.ts'
import { MemoryBroker } from '../../src/broker/memory/memory.ts'
import { MemoryBus } from '../../src/broker/memory/bus.ts'
import { Hub } from '../../src/hub/hub.ts'
import type { Address, Keep, ResumeFrom } from '../../src/notification.ts'
import { type Affects, Broker, type Call, LINES } from './orders-broker.ts'
import { Page } from './orders-page.ts'

export const USERS = ['1', '2'] as const
export const GROUPS = ['a', 'b'] as const

export interface Options {
  readonly isSingleSession: boolean
  readonly isTls: boolean
  readonly coalesceMs: number
  readonly bufferBytes: number
  /** What the kernel takes for a client that does not read. */
  readonly kernelBytes: number
  readonly maxStreamsPerUser: number
}

export class World {
  readonly hub: Hub
  readonly broker: Broker
  readonly other: MemoryBroker
  readonly pages: Page[] = []
  readonly #options: Options
  readonly #published: Array<{ id: number | undefined, n: number, to: readonly Address[] }> = []
  /** By user and group: the newest id before the user joined, unless it has left since. */
  readonly #joined = new Map<string, number>()
  readonly #mayRead = new Set<string>()
  #nowMs = 1_000_000

  constructor (options: Options, failed: (error: unknown) => void) {
    this.#options = options
    const steadyMs = (): number => this.#nowMs
    const bus = new MemoryBus({ historyLength: 10_000, groupHistoryLength: 10_000, historySeconds: 86_400, maxDataBytes: 65_536, steadyMs })
    this.broker = new Broker(bus, failed)
    this.other = new MemoryBroker(bus)
    this.hub = new Hub({
      ...options,
      broker: this.broker,
      node: { name: 'orders' },
      heartbeatSeconds: 15,
      maxStreamSeconds: 60,
      maxStreams: 0,
      retryMs: 100,
      expiringSeconds: 10,
      log: { info: () => {}, warn: () => {} },
      clock: { nowMs: steadyMs, wallMs: () => Date.now() }
    })
    this.hub.start()
  }

  page (which: number): Page | undefined { return this.pages[this.pages.length - 1 - which % this.pages.length] }

  open (userId: string, { groups = [], seconds = Infinity, isChunked = true, isReading = true, from = 'fresh' }: {
    groups?: readonly string[], seconds?: number, isChunked?: boolean, isReading?: boolean, from?: ResumeFrom
  } = {}): void {
    const page = new Page(userId, from, this.#options, isChunked)
    if (!isReading) page.pause()
    const nowSeconds = Date.now() / 1000
    const owner = {
      userId, groups, admittedAt: Number.MAX_SAFE_INTEGER, issuedAtSeconds: Math.floor(nowSeconds), expiresAtSeconds: nowSeconds + seconds, reconnectsFrom: from
    }
    const opening = this.hub.open(() => page.answer(), owner, from)
    if (!('opened' in opening)) return
    for (const group of groups) this.#mayRead.add(`${userId} group:${group}`)
    page.stream = opening.stream
    this.pages.push(page)
  }

  comeBack (page: Page): void {
    page.lose(false)
    this.open(page.userId, { from: page.lastId ?? page.from })
  }

  async publish (to: readonly Address[], bytes: number, keep: Keep): Promise<void> {
    const n = this.#published.length
    const { id } = await this.other.publish({ to, event: 'message', json: JSON.stringify({ n, text: 'x'.repeat(bytes) }), keep })
    this.#published.push({ id, n, to })
  }

  async join (user: string, group: string): Promise<void> {
    this.#mayRead.add(`${user} group:${group}`)
    await this.other.join(user, group)
    const key = `${user} group:${group}`
    if (!this.#joined.has(key)) this.#joined.set(key, this.#published.findLast(({ id }) => id !== undefined)?.id ?? 0)
  }

  async leave (user: string, group: string): Promise<void> {
    this.#joined.delete(`${user} group:${group}`)
    await this.other.leave(user, group)
  }

  async logout (user: string): Promise<void> {
    await this.other.logout(user)
    this.pass(1000) // tokens made from now on are newer
  }

  forge (user: string, control: Control): void { this.broker.hears.control(user, control) }

  interrupt (affects: Affects, isLost: boolean): void {
    this.broker.deaf.push(affects)
    this.broker.isUp = affects !== LINES[0]
    this.broker.hears.interrupted(affects, isLost)
  }

  restore (): void {
    const { broker } = this
    broker.isUp = true
    const lines = broker.deaf.splice(0)
    for (const { resolve } of broker.mended.splice(0)) resolve()
    for (const affects of lines) broker.hears.restored(affects)
  }

  answers (stage: 'before' | 'after', call: Call, isFailing: boolean): void { this.broker.plans.push({ at: `${stage} ${call}`, isFailing }) }

  letGo (isFailing = false): void {
    for (const { resolve, reject } of this.broker.gates.splice(0)) isFailing ? reject(new Unavailable('late')) : resolve()
  }

  drain (): void { void this.hub.drain(0) }

  pass (ms: number): void {
    this.#nowMs += ms
    mock.timers.tick(ms)
  }

  async turns (count: number): Promise<void> { for (let i = 0; i < count; i++) await turn() }

  /** Everything is well again: every page that is open must be live and have all. Then all end. */
  async ends (): Promise<void> {
    const { hub, broker, pages } = this
    broker.plans = []
    this.letGo()
    this.restore()
    for (const page of pages) if (!page.stream.hasEnded) page.resume()
    this.pass(100) // what is gathered is written
    const isBusy = ({ stream }: Page): boolean => !stream.hasEnded && (stream.state !== 'live' || stream.unsent > 0)
    for (let i = 1; i < 100 && pages.some(isBusy); i++) {
      await this.turns(2)
      if (i % 20 === 0) this.pass(1000)
    }
    await this.turns(2)
    const open = pages.filter(({ stream }) => !stream.hasEnded)
    for (const { stream } of open) if (stream.state !== 'live') throw new Error(`stream ${stream.name} is ${stream.state} for ever`)
    for (const page of pages) this.#check(page, open.includes(page))
    open[0]?.pause() // it takes no last words
    const drained = hub.drain(0)
    for (let i = 0; i < 9; i++) {
      await this.turns(2)
      this.pass(1000)
    }
    const { streams, users, channels, waiting, gathered } = hub
    const left = JSON.stringify({ streams, users, channels, waiting, gathered, unsent: hub.unsent().bytes })
    if (left !== '{"streams":0,"users":0,"channels":0,"waiting":0,"gathered":0,"unsent":0}') throw new Error(`left: ${left}`)
    if (pages.some(({ stream }) => stream.channels.length > 0 || stream.state !== 'ended')) throw new Error('an ended stream has channels')
    await drained
    await hub.close()
  }

  #check ({ userId, from, client: { events }, kernel, lastId = 0, stream }: Page, isOpen: boolean): void {
    const say = (what: string): never => {
      const got = events.map(({ id, event, json: { n } }) => [id, event, n])
      throw new Error(`stream ${stream.name} of user ${userId} from ${from}: ${what}\n${JSON.stringify(got)}`)
    }
    const notifications = events.filter(({ event }) => event === 'message')
    const seen = new Set<number>()
    let last = typeof from === 'number' ? from : 0
    for (const { id, json: { n } } of notifications) {
      if (seen.has(n!)) say(`${n} twice`)
      seen.add(n!)
      const { to } = this.#published[n!]!
      if (!to.some((to) => to === 'all' || to === `user:${userId}` || this.#mayRead.has(`${userId} ${to}`))) say(`${n} is not for this user`)
      if (id === undefined) continue
      if (id <= last) say(`${id} after ${last}`)
      last = id
    }
    const start = typeof from === 'number' ? from : events.find(({ event }) => event === 'sync')?.id
    if (start === undefined) {
      if (isOpen) say('no sync')
      return
    }
    const end = isOpen ? Infinity : lastId
    // What the node records for "why" as certainly taken.
    const taken = new Set(kernel.events.map(({ json: { n } }) => n))
    for (const { id, n, to } of this.#published) {
      if (id === undefined || id <= start) continue
      const isMissing = id <= end && !seen.has(n)
      const isUntaken = id <= stream.takenTo && !taken.has(n)
      if (!isMissing && !isUntaken) continue
      if (to.some((to) => to === 'all' || to === `user:${userId}` || id > (this.#joined.get(`${userId} ${to}`) ?? Infinity))) say(`${id} (${n}) to ${to.join()} is ${isMissing ? 'missing' : 'recorded as taken'}`)
    }
  }
}
