// SESSION_POLICY=single, one stream for each user over all nodes: takes the session at connect, ends streams that lose
// it, and verifies it at each heartbeat.
import { randomUUID } from 'node:crypto'
import type { Session, Sessions as Broker } from '../broker/broker.ts'
import type { Exits } from './exits.ts'
import type { Stream } from './stream.ts'

export class Sessions {
  readonly #broker: Broker
  readonly #exits: Exits
  readonly #held = new WeakMap<Stream, Session>()

  constructor (broker: Broker, exits: Exits) {
    this.#broker = broker
    this.#exits = exits
  }

  /** Takes the session for a new stream. Resolves with false if the stream was replaced, and so was ended. */
  async take (stream: Stream): Promise<boolean> {
    if (this.#held.has(stream)) return true
    const { userId, reconnectsFrom, admittedAt } = stream.owner
    const session = await this.#broker.takeSession(userId, randomUUID(), reconnectsFrom === 'foreign' ? 'fresh' : reconnectsFrom, admittedAt)
    if (session !== undefined) this.#held.set(stream, session)
    else this.#exits.endForGood(stream, 'replaced', {})
    return session !== undefined
  }

  /**
   * Asks the broker whether the stream still owns the session. Resolves with false if not; then the stream was ended.
   */
  async keeps (stream: Stream): Promise<boolean> {
    return await this.#check([stream])
  }

  /**
   * Whether a message says that another stream took the session later. It is only a hint, since anyone who may PUBLISH
   * can send one.
   */
  seemsLost (stream: Stream, takenAt: number, tag: string): boolean {
    const session = this.#held.get(stream)
    return session !== undefined && tag !== session.tag && takenAt > session.takenAt
  }

  /**
   * Repairs lost takeover messages: asks the broker which of these streams no longer own their session, and ends them.
   */
  async verify (streams: Iterable<Stream>): Promise<void> {
    await this.#check([...streams]).catch(() => {}) // the broker is away; the next heartbeat asks again
  }

  async #check (streams: readonly Stream[]): Promise<boolean> {
    const owned = streams.flatMap((stream) => {
      const session = this.#held.get(stream)
      return session === undefined ? [] : [{ stream, userId: stream.owner.userId, session }]
    })
    const lost = new Set(await this.#broker.verifySessions(owned))
    for (const { stream, session } of owned) if (lost.has(session.tag)) this.#exits.endForGood(stream, 'replaced', {})
    return lost.size === 0
  }
}
