// SESSION_POLICY=single, one stream for each user over all nodes: takes the session at connect, ends streams that lose
// it, and verifies it at each heartbeat.
import { randomUUID } from 'node:crypto'
import type { Session, Sessions as Broker } from '../broker/broker.ts'
import type { Exits } from './exits.ts'
import type { Stream } from './stream.ts'

/** A stream's own session, and the newest takeover by another stream that it heard of. */
interface Claim {
  session: Session | undefined
  takenOverAt: number
}

export class Sessions {
  readonly #broker: Broker
  readonly #exits: Exits
  readonly #claims = new WeakMap<Stream, Claim>()

  constructor (broker: Broker, exits: Exits) {
    this.#broker = broker
    this.#exits = exits
  }

  #claimOf (stream: Stream): Claim {
    let claim = this.#claims.get(stream)
    if (claim === undefined) this.#claims.set(stream, claim = { session: undefined, takenOverAt: 0 })
    return claim
  }

  /**
   * Takes the session for a new stream, or checks that a live one still owns it. Resolves with false if the stream was
   * replaced, and so was ended.
   */
  async own (stream: Stream): Promise<boolean> {
    const claim = this.#claimOf(stream)
    if (claim.session !== undefined) return await this.#check([stream])
    const { userId, reconnectsFrom } = stream.owner
    const session = claim.session = await this.#broker.takeSession(userId, randomUUID(), reconnectsFrom === 'foreign' ? 'fresh' : reconnectsFrom)
    if (session === undefined) {
      this.#exits.endForGood(stream, 'replaced', {})
      return false
    }
    // The message of a later takeover can arrive before our answer. Our own message can too, and changes nothing.
    return session.takenAt >= claim.takenOverAt || await this.#check([stream])
  }

  /**
   * Handles the message that another stream took the session. It is only a hint, since anyone who may PUBLISH can send
   * one.
   */
  heard (stream: Stream, takenAt: number, tag: string): void {
    const claim = this.#claimOf(stream)
    const { session } = claim
    if (tag === session?.tag) return
    if (session === undefined) claim.takenOverAt = Math.max(claim.takenOverAt, takenAt)
    else if (takenAt > session.takenAt) void this.verify([stream])
  }

  /**
   * Repairs lost takeover messages: asks the broker which of these streams no longer own their session, and ends them.
   */
  async verify (streams: Iterable<Stream>): Promise<void> {
    await this.#check([...streams]).catch(() => {}) // the broker is away; the next heartbeat asks again
  }

  async #check (streams: readonly Stream[]): Promise<boolean> {
    const owned = streams.flatMap((stream) => {
      const session = this.#claims.get(stream)?.session
      return session === undefined ? [] : [{ stream, userId: stream.owner.userId, session }]
    })
    const lost = new Set(await this.#broker.verifySessions(owned))
    for (const { stream, session } of owned) if (lost.has(session.tag)) this.#exits.endForGood(stream, 'replaced', {})
    return lost.size === 0
  }
}
