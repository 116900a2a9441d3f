// SESSION_POLICY=single, one stream for each user over all nodes: takes the session at connect, ends streams that lose
// it, and verifies it at each heartbeat.
import { randomUUID } from 'node:crypto'
import type { Session, Sessions as Broker } from '../broker/broker.ts'
import type { Exits } from './exits.ts'
import type { Stream } from './stream.ts'

/**
 * How many seconds a stream must have had all its history before its fence is raised. What was written may still be on
 * its way through buffers of the system and of proxies.
 */
const RAISE_SECONDS = 30

export class Sessions {
  readonly #broker: Broker
  readonly #exits: Exits
  readonly #held = new WeakMap<Stream, Session>()
  /** Streams whose fence was lowered, and for how many seconds they have had all their history. */
  readonly #lowered = new Map<Stream, number>()

  constructor (broker: Broker, exits: Exits) {
    this.#broker = broker
    this.#exits = exits
  }

  /** Takes the session for a new stream. Resolves with false if the stream was replaced, and so was ended. */
  async take (stream: Stream): Promise<boolean> {
    if (this.#held.has(stream)) return true
    const { userId, reconnectsFrom, admittedAt } = stream.owner
    const session = await this.#broker.takeSession(userId, randomUUID(), reconnectsFrom === 'foreign' ? 'fresh' : reconnectsFrom, admittedAt)
    if (session === undefined) {
      this.#exits.endForGood(stream, 'replaced', {})
      return false
    }
    this.#held.set(stream, session)
    if (session.isLowered) this.#lowered.set(stream, 0)
    return true
  }

  /**
   * Asks the broker whether the stream still owns the session, and ends it if not.
   * `oldest`: the id that it will be written next. A new page may bring a position, and then has history from before
   * its own fence. If it loses its line there, its reconnect must not be taken for that of a replaced tab. So the fence
   * stands below that history until the page has it, also over reconnects, and a tab with a position amid it may come
   * back meanwhile.
   */
  async keeps (stream: Stream, oldest = Infinity): Promise<void> {
    const session = this.#held.get(stream)
    if (session !== undefined && oldest <= session.fence) {
      this.#held.set(stream, { ...session, fence: oldest - 1 })
      this.#lowered.set(stream, 0)
    }
    await this.#check([stream])
  }

  /**
   * Whether a message says that another stream took the session later. It is only a hint, since anyone who may PUBLISH
   * can send one.
   */
  seemsLost (stream: Stream, takenAt: number, tag: string): boolean {
    const session = this.#held.get(stream)
    return session !== undefined && tag !== session.tag && takenAt > session.takenAt
  }

  /** Called once a second. Raises lowered fences. */
  tick (): void {
    const raised: Stream[] = []
    for (const [stream, seconds] of this.#lowered) {
      const session = this.#held.get(stream)!
      if (stream.hasEnded) this.#lowered.delete(stream)
      else if (seconds < RAISE_SECONDS) this.#lowered.set(stream, stream.takenTo >= session.takenAt ? seconds + 1 : 0)
      else {
        this.#lowered.delete(stream)
        this.#held.set(stream, { ...session, fence: session.takenAt })
        raised.push(stream)
      }
    }
    if (raised.length > 0) void this.verify(raised)
  }

  /**
   * Repairs lost takeover messages: asks the broker which of these streams no longer own their session, and ends them.
   */
  async verify (streams: Iterable<Stream>): Promise<void> {
    await this.#check([...streams]).catch(() => {}) // the broker is away; the next heartbeat asks again
  }

  async #check (streams: readonly Stream[]): Promise<void> {
    const owned = streams.flatMap((stream) => {
      const session = this.#held.get(stream)
      return session === undefined ? [] : [{ stream, userId: stream.owner.userId, session }]
    })
    const lost = new Set(await this.#broker.verifySessions(owned))
    for (const { stream, session } of owned) if (lost.has(session.tag)) this.#exits.endForGood(stream, 'replaced', {})
  }
}
