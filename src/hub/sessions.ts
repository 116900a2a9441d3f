// One stream a user, over all nodes (SESSION_POLICY=single): claimed at connect, taken over by message, verified at each heartbeat.
import { randomUUID } from 'node:crypto'
import type { Broker } from '../broker/broker.ts'
import type { Stream } from './stream.ts'

export class Sessions {
  readonly #broker: Broker
  readonly #replace: (stream: Stream) => void

  /** `replace` ends a stream for good. */
  constructor (broker: Broker, replace: (stream: Stream) => void) {
    this.#broker = broker
    this.#replace = replace
  }

  /** Claims the session for a stream that opens, or looks whether a live one still holds it. False: it was replaced. */
  async hold (stream: Stream): Promise<boolean> {
    if (stream.session !== undefined) return await this.#check([stream])
    const session = await this.#broker.takeSession(stream.owner.userId, randomUUID(), stream.owner.sessionCursor ?? 'fresh')
    stream.session = session
    if (session === undefined) {
      this.#replace(stream)
      return false
    }
    // The message of a later claim may have overtaken the answer to ours; so may that of our own.
    return session.takenAt >= stream.takeoverId || await this.#check([stream])
  }

  /** Another stream of the user says that it has claimed the session. No more than a hint: whoever may PUBLISH can say so. */
  heard (stream: Stream, takenAt: number, tag: string): void {
    if (tag === stream.session?.tag) return
    if (stream.session === undefined) stream.takeoverId = Math.max(stream.takeoverId, takenAt)
    else if (takenAt > stream.session.takenAt) void this.verify([stream])
  }

  /** The repair of a lost takeover message: asks the broker, for many streams at once, who holds what. */
  async verify (streams: Iterable<Stream>): Promise<void> {
    await this.#check([...streams]).catch(() => {}) // the broker is away: the next heartbeat asks again
  }

  async #check (streams: readonly Stream[]): Promise<boolean> {
    const held = streams.flatMap((stream) => stream.session === undefined ? [] : [{ stream, userId: stream.owner.userId, session: stream.session }])
    if (held.length === 0) return true
    const lost = new Set(await this.#broker.verifySessions(held))
    for (const { stream, session } of held) if (lost.has(session.tag)) this.#replace(stream)
    return lost.size === 0
  }
}
