// The subscriber connection to one Redis, shared by all prefixes that are there.
import type { Redis } from 'ioredis'
import type { RedisAddress } from '../../redis-url.ts'
import { type Entry, openConnection } from './connection.ts'
import { explain, readInfo } from './diagnosis.ts'
import type { Log } from './links.ts'

/** Channels in one SUBSCRIBE. More would keep Redis busy for long; fewer would cost round trips. */
const BATCH = 500
/**
 * Ticks (seconds) without a message after which the connection counts as deaf. Ticks are counted instead of time,
 * because a busy process is not a deaf one.
 */
export const DEAF_TICKS = 3
/** Ticks that a connection may take to come up before another one is tried. */
const CONNECT_TICKS = 5

/** Receives the messages of one prefix. */
export interface Hearer {
  /** Ends with a colon. */
  readonly prefix: string
  readonly isUp: boolean
  /** Redis refuses its subscriptions, so the connection is not to blame. */
  readonly isRefused: boolean
  /** The connection is there, and nothing is subscribed on it yet. */
  connected: () => void
  /** In a Cluster: the run id of the server that this and the commands are connected to; '' while that is not known. */
  listenTo: (runId: string) => void
  hear: (channel: string, payload: string) => void
  interrupt: () => void
  /** Some subscriptions were taken away; it should look whether its own are there. */
  audit: () => void
}

export class Ear {
  readonly redis: Redis
  readonly #isCluster: boolean
  readonly #log: Log
  readonly #hearers = new Map<string, Hearer>()
  /** The hearer, if there is only one. */
  #only: Hearer | undefined
  #silentTicks = 0
  #unheardTicks = 0
  /** SUBSCRIBEs without an answer yet, and the ticks since one was answered. */
  #unanswered = 0
  #unansweredTicks = 0
  readonly #onMoved: Array<() => void> = []
  #isMoved = false
  #serverId = ''
  readonly #commandsAt: () => string
  #reason = ''

  /** `commandsAt`: the run id of the server that takes the commands; '' while that is not known. */
  constructor (entry: Entry, address: RedisAddress, log: Log, commandsAt: () => string) {
    this.#commandsAt = commandsAt
    this.#isCluster = entry.place.kind === 'cluster'
    this.#log = log
    this.redis = openConnection(entry, address, { autoResubscribe: false })
  }

  start (): void {
    const hear = (channel: string, payload: string): void => {
      this.#silentTicks = this.#unheardTicks = 0
      // REDIS_PREFIX may end in a brace itself.
      const hearer = this.#only ?? this.#hearers.get(channel.slice(0, channel.indexOf('}:', channel.indexOf(':{')) + 2))
      if (hearer !== undefined && channel.startsWith(hearer.prefix)) hearer.hear(channel.slice(hearer.prefix.length), payload)
    }
    this.redis.on(this.#isCluster ? 'smessage' : 'message', hear)
    this.redis.on('ready', () => {
      this.#reason = ''
      // Sent before anything is subscribed.
      this.redis.info('server').then((text) => { this.#isAt(readInfo(text).runId) }, () => {})
      for (const hearer of this.#hearers.values()) hearer.connected()
    })
    this.redis.on('close', () => {
      this.#isAt('')
      this.#interrupt('its connection closed')
    })
    this.redis.on('error', ({ message }) => { this.#reason = message === '' ? '' : `: ${explain(message)}` }) // the command connection reports the same
    this.redis.on('moved', () => { this.#moved() })
    this.redis.connect().catch(() => {})
  }

  /**
   * The Cluster took away or refused a subscription. It says so for each channel; those of one turn are reported once.
   */
  #moved (): void {
    if (this.#isMoved) return
    this.#isMoved = true
    setImmediate(() => {
      this.#isMoved = false
      for (const tell of this.#onMoved) tell()
    })
  }

  audit (): void {
    for (const hearer of this.#hearers.values()) hearer.audit()
  }

  /**
   * Whether Redis has confirmed a channel on this connection and has not taken it away since. The client library
   * records what Redis says of each channel. It cannot reliably match answers to commands once a Cluster sends unasked
   * ones.
   */
  isSubscribed (channel: string): boolean {
    const { subscriber = false } = this.redis.condition ?? {}
    if (subscriber === false) return false
    // The public `channels()` would copy all of them.
    const { set } = subscriber as unknown as { readonly set: Readonly<Record<'subscribe' | 'ssubscribe', Readonly<Record<string, true>>>> }
    return set[this.#isCluster ? 'ssubscribe' : 'subscribe'][channel] === true
  }

  onMoved (tell: () => void): void {
    this.#onMoved.push(tell)
  }

  #isAt (runId: string): void {
    this.#serverId = runId
    this.compare()
  }

  /**
   * Tells hearers whom they hear. Functions name the run id that commands see, so if this connection sees another one,
   * as it may through a proxy, nothing can be told apart.
   */
  compare (): void {
    if (this.#isCluster) for (const hearer of this.#hearers.values()) hearer.listenTo(this.#servedBy)
  }

  get #servedBy (): string { return this.#serverId === this.#commandsAt() ? this.#serverId : '' }

  add (hearer: Hearer): void {
    this.#hearers.set(hearer.prefix, hearer)
    this.#count()
    if (this.#isCluster) hearer.listenTo(this.#servedBy)
    if (this.isConnected) hearer.connected()
  }

  remove (hearer: Hearer): void {
    this.#hearers.delete(hearer.prefix)
    this.#count()
  }

  #count (): void {
    this.#only = this.#hearers.size === 1 ? [...this.#hearers.values()][0] : undefined
  }

  /** The run id of the server that it is connected to; '' until that is known. */
  get serverId (): string { return this.#serverId }

  /** Continues the sentence "the connection is not there": ': ' and the reason, or '' if it is unknown. */
  get reason (): string { return this.#reason }

  get isConnected (): boolean { return this.redis.status === 'ready' }

  /**
   * True if any hearer got a message recently, so that the silence of another is not the connection's fault. One tick
   * of tolerance, since hearers and connections tick in any order.
   */
  get isHearing (): boolean { return this.isConnected && this.#unheardTicks <= 1 }

  /** Called once a second. */
  tick (): void {
    const hearers = [...this.#hearers.values()]
    if (hearers.length === 0) return
    if (this.isConnected && hearers.every(({ isRefused }) => isRefused)) {
      this.#silentTicks = 0
      return
    }
    this.#silentTicks++
    this.#unheardTicks++
    this.#unansweredTicks = this.#unanswered === 0 ? 0 : this.#unansweredTicks + 1
    const patience = hearers.some(({ isUp }) => isUp) ? DEAF_TICKS : CONNECT_TICKS
    if (this.#silentTicks > patience) {
      this.#interrupt(`nothing was heard for ${this.#silentTicks} seconds`)
      this.reconnect()
    } else if (this.isConnected && this.#unansweredTicks > patience) {
      // What was subscribed before is still heard, but new streams would wait without end.
      this.#interrupt(`no new subscription was answered for ${this.#unansweredTicks} seconds`)
      this.reconnect()
      // It would go on hearing, and seem repaired, until it has taken leave of one that takes nothing.
      this.redis.stream.destroy()
    }
  }

  #interrupt (why: string): void {
    const hearing = [...this.#hearers.values()].filter(({ isUp }) => isUp)
    if (hearing.length > 0) this.#log.warn(`Redis: the subscriber is deaf, ${why}; streams stay open, a new connection is built`)
    for (const hearer of hearing) hearer.interrupt()
  }

  /** Starts the silence anew, since the connection has just been used. */
  rest (): void {
    this.#silentTicks = 0
  }

  reconnect (): void {
    this.#silentTicks = this.#unansweredTicks = 0
    this.redis.disconnect(true)
  }

  /** Rejects with Redis's error. */
  async subscribe (channels: readonly string[]): Promise<void> {
    await Promise.all(batches(channels).map((some) => this.#ask(some)))
  }

  async #ask (channels: readonly string[]): Promise<void> {
    this.#unanswered++
    try {
      await (this.#isCluster ? this.redis.ssubscribe(...channels) : this.redis.subscribe(...channels))
    } finally {
      this.#unanswered--
      this.#unansweredTicks = 0
    }
  }

  unsubscribe (channels: readonly string[]): void {
    // Without a connection the error means nothing.
    for (const some of batches(channels)) (this.#isCluster ? this.redis.sunsubscribe(...some) : this.redis.unsubscribe(...some)).catch(() => {})
  }

  close (): void {
    this.redis.removeAllListeners('close')
    this.redis.disconnect()
  }
}

function batches (channels: readonly string[]): string[][] {
  return Array.from({ length: Math.ceil(channels.length / BATCH) }, (_, i) => channels.slice(i * BATCH, (i + 1) * BATCH))
}
