// Brings streams to live: subscribes, reads the logs, writes what is owed and `sync`, then releases what was held. Runs
// at connect, join and leave, and after the broker's line broke.
import { type Broker, type HistoryPage, Revoked, type ResumeQuery } from '../broker/broker.ts'
import { ALL, groupAddress, type ResumeFrom, userAddress } from '../notification.ts'
import { fills, type FillTrace, type Node, resumes } from '../tracing.ts'
import type { Channels } from './channels.ts'
import type { Exits } from './exits.ts'
import { inboxData, replayedFrame, type SyncData, syncFrame } from './frame.ts'
import type { Sessions } from './sessions.ts'
import type { Stats } from './stats.ts'
import type { Stream } from './stream.ts'

/** Bytes of data in one page of history. The next page is read when the socket has taken this one. */
const PAGE_BYTES = 131_072

export interface FillerParts {
  readonly broker: Broker
  readonly channels: Channels
  readonly stats: Stats
  readonly exits: Exits
  /** Undefined unless SESSION_POLICY is `single`. */
  readonly sessions: Sessions | undefined
  readonly node: Node
  readonly heartbeatSeconds: number
  /** Monotonic milliseconds. */
  readonly nowMs: () => number
  readonly log: { warn: (data: object, text: string) => void }
}

export class Filler {
  readonly #parts: FillerParts
  /** Streams that wait for the broker. */
  readonly #waiting = new Set<Stream>()
  /** Streams whose history has a gap that no `sync` has told them of yet. */
  readonly #gaps = new WeakSet<Stream>()
  /** Streams that may have missed events without an id, such as `read` and `retracted`. */
  readonly #deaf = new WeakSet<Stream>()
  #errors: unknown[] = []

  constructor (parts: FillerParts) {
    this.#parts = parts
  }

  /** How many streams are open but wait for the broker. */
  get waiting (): number { return this.#waiting.size }

  /** Brings a new stream to live. Resolves when it is live or has ended. */
  async open (stream: Stream, from: ResumeFrom): Promise<void> {
    await this.#run(stream, from)
  }

  /**
   * Holds a live stream and fills it again after a change. `since`: the id of the change. An answer of the broker with
   * a position not below it includes the change; Infinity asks for a new answer.
   */
  fill (stream: Stream, since = Infinity): void {
    if (stream.hasEnded) return
    this.#waiting.delete(stream)
    if (stream.fill(since)) void this.#run(stream, stream.cursor)
  }

  async #run (stream: Stream, from: ResumeFrom): Promise<void> {
    try {
      await this.#bring(stream, from)
    } catch (error) {
      this.#failed(stream, error)
    }
  }

  #failed (stream: Stream, error: unknown): void {
    if (stream.hasEnded) return
    const { exits } = this.#parts
    if (error instanceof Revoked) {
      exits.endForGood(stream, 'closed', { reason: 'logout' })
      return
    }
    this.#errors.push(error)
    if (stream.state === 'opening') exits.end(stream, 'unavailable')
    else this.#wait(stream)
  }

  #wait (stream: Stream): void {
    stream.wait()
    if (!stream.hasEnded) this.#waiting.add(stream)
  }

  /** Messages for the stream may be missing until `restored`. `isLost`: they cannot be read from the logs either. */
  interrupted (stream: Stream, isLost: boolean): void {
    this.#deaf.add(stream)
    if (isLost) this.#gaps.add(stream)
    if (stream.state === 'live') this.#wait(stream)
    // The running fill makes another round. A waiting stream has no running fill, and goes on waiting.
    else if (stream.state !== 'waiting') stream.fill(Infinity)
  }

  /** Messages of these streams arrive again: fills those that wait. */
  restored (isAffected: (stream: Stream) => boolean): void {
    for (const stream of [...this.#waiting]) if (isAffected(stream)) this.fill(stream)
  }

  /** Called once a second. */
  tick (): void {
    const { broker, channels, log } = this.#parts
    // One log line for all of them, since thousands of streams fail together when the broker is away.
    const [err] = this.#errors
    if (err !== undefined) log.warn({ err, streams: this.#errors.length }, 'streams could not be filled from the logs; live ones are tried again, new ones come back')
    this.#errors = []
    // Of several partitions one may be away: whoever does not hear waits for `restored`.
    if (this.#waiting.size > 0 && broker.state().up) this.restored((stream) => !channels.areInterrupted(stream))
  }

  /** Removes a stream that has ended. */
  forget (stream: Stream): void {
    this.#parts.channels.removeAll(stream)
    this.#waiting.delete(stream)
  }

  /**
   * Writes what the stream is owed since `from`, oldest first, then makes it live. The first fill always writes a
   * `sync`; later ones only if a notification may be missing, or an event without an id: whoever shows a list asks for
   * it again at a `sync`. Rejects with what the broker rejects with; the stream is still held then.
   */
  async #bring (stream: Stream, from: ResumeFrom): Promise<void> {
    const { channels, stats, sessions, node, nowMs } = this.#parts
    const isFirst = stream.state === 'opening'
    let cursor = from === 'foreign' ? 'fresh' : from
    let replayed = 0
    const startedAtMs = fills.hasSubscribers ? nowMs() : 0
    if (from === 'foreign') this.#gaps.add(stream)
    for (;;) {
      stream.asks()
      this.#listen(stream)
      // A stream that was live and does not hear is silent, and counted so, until `restored` fills it.
      if (!isFirst && channels.areInterrupted(stream)) {
        this.#wait(stream)
        return
      }
      await channels.subscribed(stream)
      if (stream.hasEnded) return
      if (sessions !== undefined && !await sessions.take(stream)) return
      const page = await this.#read(stream, cursor)
      // Asked after the read. If another stream took the session before it, the page has ids above that one's fence,
      // and with such an id a replaced tab whose connection breaks now would take the session back.
      if (sessions !== undefined) await sessions.keeps(stream, page.entries[0]?.id)
      if (stream.hasEnded) return
      // Messages on a newly added channel may have been missed since this page was read, so one more round is needed.
      if (channels.follow(stream, this.#channelsOf(stream, page.membership.keys())) > 0) stream.fill(Infinity)

      stream.cork()
      this.#tellGap(stream, page, replayed)
      await write(stream, page)
      if (stream.hasEnded) return
      replayed += page.entries.length
      stats.replayed += page.entries.length
      // The position counts even without entries: everything up to it has been written.
      cursor = page.position
      if (!page.more && stream.isSatisfiedWith(page.position)) {
        const isDeaf = this.#deaf.delete(stream) || stream.wasCut
        const resume = this.#gaps.delete(stream) ? 'incomplete' : from === 'fresh' ? 'fresh' : 'complete'
        if (isFirst || resume === 'incomplete' || isDeaf) {
          this.#sync(stream, page, page.position, { resume, replayed })
          stats.syncs[resume]++
        }
        if (stream.hasEnded) return
        if (!isFirst) stats.refilled++
        if (fills.hasSubscribers) {
          const { owner: { userId }, name } = stream
          const { position } = page
          const trace: FillTrace = { node, userId, stream: name, isFirst, from, position, resume, replayed, startedAtMs, filledAtMs: nowMs() }
          fills.publish(trace)
        }
        stats.delivered += stream.release(page.position)
        stream.uncork()
        return
      }
      stream.uncork()
      await stream.drained()
      if (stream.hasEnded) return
    }
  }

  async #read (stream: Stream, cursor: number | 'fresh'): Promise<HistoryPage> {
    const { broker, node } = this.#parts
    const { groups, admittedAt } = stream.owner
    const query: ResumeQuery = { user: stream.owner, groups, admittedAt, cursor, maxBytes: PAGE_BYTES }
    return resumes.hasSubscribers
      ? await resumes.tracePromise(async () => await broker.resume(query), { query, node })
      : await broker.resume(query)
  }

  // Subscribes before the logs are read, so that newer messages are held: the user's own channel, which also carries
  // joins and leaves, `all`, and the groups that the token claims, since these are usually all groups of the user.
  #listen (stream: Stream): void {
    const groups = stream.state === 'opening' ? stream.owner.groups ?? [] : []
    for (const channel of this.#channelsOf(stream, groups)) this.#parts.channels.add(stream, channel)
  }

  #channelsOf ({ owner: { userId } }: Stream, groups: Iterable<string>): string[] {
    const { broker } = this.#parts
    return [userAddress(userId), ALL, ...[...groups].map(groupAddress)].map((address) => broker.channelOf(userId, address))
  }

  /**
   * After a gap, writes `sync` with `incomplete` before the first entry that is left, with the id just below it. A
   * client that is cut off before this comes back with its old position and is told then. The fill tells it again at
   * its end: a broker that is failed over from may have acknowledged ids above the first entry of its successor.
   */
  #tellGap (stream: Stream, page: HistoryPage, replayed: number): void {
    if (!page.gap) return
    this.#gaps.add(stream)
    const [first] = page.entries
    if (first !== undefined) this.#sync(stream, page, first.id - 1, { resume: 'incomplete', more: true, replayed })
  }

  #sync (stream: Stream, { inbox, membership }: HistoryPage, id: number, { resume, more, replayed }: Pick<SyncData, 'resume' | 'more' | 'replayed'>): void {
    const { heartbeatSeconds } = this.#parts
    const groups = [...membership.keys()].sort()
    const data = { resume, ...more && { more }, replayed, ...inboxData(inbox), groups, heartbeatSeconds }
    // After a gap, ids may be smaller than before, since the clock of the new broker may be behind.
    stream.sync(syncFrame(id, data), resume === 'incomplete')
  }
}

async function write (stream: Stream, { entries }: HistoryPage): Promise<void> {
  for (const entry of entries) {
    const frame = replayedFrame(entry)
    // Waits for the socket, so that a client is not cut as slow while history is written.
    if (!stream.hasRoomFor(frame.chunked.length)) {
      stream.uncork()
      await stream.drained()
      stream.cork()
    }
    if (stream.hasEnded) return
    stream.replay(frame)
  }
}
