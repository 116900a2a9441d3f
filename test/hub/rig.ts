// A hub on an embedded broker whose answers a test can hold back, served to real clients over real sockets.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mock } from 'node:test'
import type { Test } from 'tap'
import type { HistoryPage, ResumeQuery } from '../../src/broker/broker.ts'
import type { BrokerState } from '../../src/broker/state.ts'
import type { BrokerListener } from '../../src/broker/listener.ts'
import { MemoryBroker } from '../../src/broker/memory/memory.ts'
import { MemoryBus, type MemoryBusOptions } from '../../src/broker/memory/bus.ts'
import { Hub, type HubOptions, type Opening } from '../../src/hub/hub.ts'
import type { Clock } from '../../src/hub/clock.ts'
import type { EndReason } from '../../src/hub/exits.ts'
import type { Stream } from '../../src/hub/stream.ts'
import { type Address, parsePosition, type ResumeFrom } from '../../src/notification.ts'
import { type Client, type ClientOptions, connect } from '../fixtures/client.ts'
import { Signal } from '../fixtures/wait.ts'

export type Step = 'subscribe' | 'resume'

/** An embedded broker that can be held up at each step of a stream's opening, and whose line can break. */
export class ScriptedBroker extends MemoryBroker {
  listener!: BrokerListener
  /** Awaited before the broker does its work, and after, before it answers. A test sets them; they may throw. */
  readonly before: Partial<Record<Step, () => Promise<unknown>>> = {}
  readonly after: Partial<Record<Step, () => Promise<unknown>>> = {}
  readonly subscribed: Address[][] = []
  readonly unsubscribed: Address[][] = []
  readonly queries: ResumeQuery[] = []
  /** Nothing is heard while it is. */
  isDeaf = false
  isUp = true

  override start (listener: BrokerListener): void {
    this.listener = listener
    super.start({
      notification: (address, notification) => { if (!this.isDeaf) listener.notification(address, notification) },
      control: (userId, control) => { if (!this.isDeaf) listener.control(userId, control) },
      dropped: (...what) => { listener.dropped(...what) },
      interrupted: (isAffected, isLost) => { listener.interrupted(isAffected, isLost) },
      restored: (isAffected) => { listener.restored(isAffected) }
    })
  }

  /** The line breaks, and the hub is told. */
  interrupt (): void {
    this.isDeaf = true
    this.isUp = false
    this.listener.interrupted(() => true)
  }

  /** The channels are heard again; `restore` tells the hub. */
  hear (): void {
    this.isDeaf = false
  }

  restore (): void {
    this.hear()
    this.isUp = true
    this.listener.restored(() => true)
  }

  override state (): BrokerState {
    return { ...super.state(), up: this.isUp }
  }

  override async subscribe (addresses: readonly Address[]): Promise<void> {
    this.subscribed.push([...addresses])
    await this.before.subscribe?.()
    await super.subscribe(addresses)
    await this.after.subscribe?.()
  }

  override unsubscribe (addresses: readonly Address[]): void {
    this.unsubscribed.push([...addresses])
    super.unsubscribe(addresses)
  }

  override async resume (query: ResumeQuery): Promise<HistoryPage> {
    this.queries.push(query)
    await this.before.resume?.()
    const page = await super.resume(query)
    await this.after.resume?.()
    return page
  }
}

/** A door that a step waits at: `reached` resolves when it stands there, `open()` lets it and all that follow through. */
export function door (): { reached: Promise<void>, open: () => void, pass: () => Promise<void> } {
  const reached = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<void>()
  return {
    reached: reached.promise,
    open: opened.resolve,
    pass: () => {
      reached.resolve()
      return opened.promise
    }
  }
}

export interface OpenOptions extends Partial<ClientOptions> {
  readonly userId?: string
  readonly groups?: readonly string[]
  /** When the token expires, in milliseconds since 1970. Default: never. */
  readonly expiresAtMs?: number
  /** Default: as the `Last-Event-ID` header says, which a page that opens a stream does not send. */
  readonly reconnectsFrom?: ResumeFrom
}

/** A client, and what the server has for it. */
export interface Line {
  readonly client: Client
  /** The server's side, as soon as the request is there. */
  readonly opened: Promise<{ stream: Stream, response: ServerResponse, attached: Promise<void> }>
  /** What the hub answered, where it opened none. */
  readonly refused: Promise<Exclude<Opening, { opened: Promise<void> }>>
}

export interface Rig {
  readonly hub: Hub
  readonly broker: ScriptedBroker
  /** Another node on the same bus, to publish from. */
  readonly other: MemoryBroker
  /** How streams ended, in order. */
  readonly ends: EndReason[]
  readonly warnings: string[]
  /** Resolves when so many warnings were logged. */
  warned: (count: number) => Promise<unknown>
  /** Resolves when so many streams have ended. */
  ended: (count: number) => Promise<unknown>
  open: (options?: OpenOptions) => Line
  /** Opens and waits until it is live. */
  live: (options?: OpenOptions) => Promise<{ client: Client, stream: Stream, response: ServerResponse }>
  publish: (to: Address | readonly Address[], data?: unknown) => Promise<number[]>
}

export interface RigOptions extends Partial<Omit<HubOptions, 'broker' | 'log'>> {
  readonly bus?: Partial<MemoryBusOptions>
}

export async function startHub (t: Test, { bus: busOptions = {}, ...options }: RigOptions = {}): Promise<Rig> {
  const bus = new MemoryBus({ historyLength: 1000, groupHistoryLength: 1000, historySeconds: 86_400, maxDataBytes: 65_536, ...busOptions })
  const broker = new ScriptedBroker(bus)
  const other = new MemoryBroker(bus)
  const warnings: string[] = []
  const ends: EndReason[] = []
  const changed = new Signal()
  const hub = new Hub({
    broker,
    node: { name: 'rig' },
    heartbeatSeconds: 15,
    maxStreamSeconds: 3600,
    maxStreams: 0,
    maxStreamsPerUser: 1000,
    bufferBytes: 1_048_576,
    retryMs: 100,
    expiringSeconds: 60,
    isSingleSession: false,
    coalesceMs: 5,
    ...options,
    log: {
      info: (data, text) => {
        if (text !== 'stream end') return
        ends.push((data as { reason: EndReason }).reason)
        changed.notify()
      },
      warn: (_data, text) => {
        warnings.push(text)
        changed.notify()
      }
    }
  })
  const plans = new Map<string, { options: OpenOptions, resolve: (side: Awaited<Line['opened']>) => void, refuse: (why: Awaited<Line['refused']>) => void }>()
  const server = createServer((request, response) => {
    const { options, resolve, refuse } = plans.get(request.url!)!
    const from = parsePosition(request.headers['last-event-id']?.toString())
    const owner = {
      userId: options.userId ?? '1',
      groups: options.groups,
      admittedAt: Number.MAX_SAFE_INTEGER,
      issuedAtSeconds: Math.floor(Date.now() / 1000),
      expiresAtSeconds: (options.expiresAtMs ?? Infinity) / 1000,
      reconnectsFrom: options.reconnectsFrom ?? from
    }
    const opening = hub.open(() => {
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
      response.flushHeaders()
      return response
    }, owner, from)
    if ('opened' in opening) resolve({ stream: opening.stream, response, attached: opening.opened })
    else {
      refuse(opening)
      response.writeHead(opening.refused === 'too many' ? 403 : 200).end()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  hub.start()
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  t.teardown(async () => {
    server.closeAllConnections()
    server.close()
    await hub.close()
    await other.close()
  })

  const open = (options: OpenOptions = {}): Line => {
    const { promise: opened, resolve } = Promise.withResolvers<Awaited<Line['opened']>>()
    const { promise: refused, resolve: refuse } = Promise.withResolvers<Awaited<Line['refused']>>()
    const path = `/${plans.size}`
    plans.set(path, { options, resolve, refuse })
    return { client: connect(t, { reconnect: false, ...options, url, path }), opened, refused }
  }
  return {
    hub,
    broker,
    other,
    ends,
    warnings,
    open,
    warned: (count) => changed.until(() => warnings.length >= count ? true : undefined, { what: `${count} warnings`, describe: () => warnings.join('\n') }),
    ended: (count) => changed.until(() => ends.length >= count ? true : undefined, { what: `${count} ends`, describe: () => ends.join() }),
    live: async (options) => {
      const { client, opened } = open(options)
      await client.live()
      return { client, ...await opened }
    },
    publish: async (to, data = 'x') => {
      const { id, notifications } = await other.publish({ to: typeof to === 'string' ? [to] : to, event: 'message', json: JSON.stringify(data), keep: 'inbox' })
      return notifications.map(() => id!)
    }
  }
}

/** The ids that a client has received with notifications, in order. */
export const idsOf = (client: Client): number[] => client.notifications.map(({ id }) => Number(id))

/** Resolves when a client has so many notifications. */
export const has = (client: Client, count: number): Promise<unknown> =>
  client.until(() => client.notifications.length >= count ? true : undefined, `${count} notifications`)

/** Resolves when a client has the notification with this id. */
export const hasId = (client: Client, id: number): Promise<unknown> =>
  client.until(() => client.notifications.some((one) => one.id === String(id)) ? true : undefined, `the notification ${id}`)

/** All streams and what belongs to them are gone from the hub's tables. */
export const isEmpty = (hub: Hub): boolean => hub.streams === 0 && hub.users === 0

export interface Time {
  /** For the hub. */
  readonly clock: Clock
  /** Lets seconds pass. */
  readonly seconds: (count: number) => void
  /** Somebody sets the wall clock, and no time passes. */
  readonly step: (seconds: number) => void
}

/** Both clocks and setInterval stand still; to be called before the hub is made, which takes the clock. */
export function stopTime (t: Test): Time {
  mock.timers.enable({ apis: ['Date', 'setInterval'], now: Date.now() })
  t.teardown(() => { mock.timers.reset() })
  let nowMs = 1_000_000
  let stepMs = 0
  return {
    clock: { nowMs: () => nowMs, wallMs: () => Date.now() + stepMs },
    seconds: (count) => {
      for (let i = 0; i < count; i++) {
        nowMs += 1000
        mock.timers.tick(1000)
      }
    },
    step: (seconds) => { stepMs += seconds * 1000 }
  }
}

/** A turn of the event loop in which sockets are served. */
export const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })
