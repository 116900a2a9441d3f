// The way to live: subscribe, read the logs, write, sync, release. At connect, join, leave, and after the line broke.
import { type Broker, type HistoryPage, Revoked, type ResumeQuery } from '../broker/broker.ts'
import { ALL, groupAddress, type ResumeFrom, userAddress } from '../notification.ts'
import { fills, type FillTrace, type Node, resumes } from '../tracing.ts'
import type { Channels } from './channels.ts'
import type { Exits } from './exits.ts'
import { inboxData, readFrame, replayedFrame, type SyncData, syncFrame } from './frame.ts'
import type { Sessions } from './sessions.ts'
import type { Stats } from './stats.ts'
import type { Stream } from './stream.ts'

/** Data in one page of history; the next one is read when the socket has taken it. */
const PAGE_BYTES = 131_072

export interface FillerParts {
  readonly broker: Broker
  readonly channels: Channels
  readonly stats: Stats
  readonly exits: Exits
  /** Undefined: a user may have any number of streams. */
  readonly sessions: Sessions | undefined
  readonly node: Node
  readonly heartbeatSeconds: number
  /** Milliseconds of a clock that never steps. */
  readonly nowMs: () => number
  readonly log: { warn: (data: object, text: string) => void }
}

export class Filler {
  readonly #parts: FillerParts
  /** Streams that wait for the broker. */
  readonly #waiting = new Set<Stream>()
  /** Streams in whose history something is missing, and whose last `sync` has not said so yet. */
  readonly #gaps = new WeakSet<Stream>()
  /** Streams that may have missed what has no id. */
  readonly #deaf = new WeakSet<Stream>()
  #errors: unknown[] = []

  constructor (parts: FillerParts) {
    this.#parts = parts
  }

  /** Streams that wait for the broker: open, and silent. */
  get waiting (): number { return this.#waiting.size }

  /** Brings a new stream to live. Resolves when it is, or has ended. */
  async open (stream: Stream, from: ResumeFrom): Promise<void> {
    await this.#run(stream, from)
  }

  /**
   * Something changed: holds a stream until it has what it is owed. `since`: the id of the change; an answer of the
   * broker at a later position includes it.
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
    // A fill adds channels, also to a stream that has ended meanwhile.
    if (stream.hasEnded) this.forget(stream)
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
    this.#waiting.add(stream)
  }

  /** Messages for a stream may be missing from now on, until `restored`. `isLost`: for ever. */
  interrupted (stream: Stream, isLost: boolean): void {
    this.#deaf.add(stream)
    if (isLost) this.#gaps.add(stream)
    if (stream.state === 'live') this.#wait(stream)
    // Whoever fills it goes round once more. One that waits is filled by nobody, and waits on.
    else if (stream.isHeld && stream.state !== 'waiting') stream.fill(Infinity)
  }

  /** The channels of some streams are heard again. */
  restored (isAffected: (stream: Stream) => boolean): void {
    for (const stream of [...this.#waiting]) if (isAffected(stream)) this.fill(stream)
  }

  /** Once a second. */
  tick (): void {
    const { broker, log } = this.#parts
    // One line for all of them: when the broker is away, thousands fail alike.
    const [err] = this.#errors
    if (err !== undefined) log.warn({ err, streams: this.#errors.length }, 'streams could not be filled from the logs; live ones are tried again, new ones come back')
    this.#errors = []
    if (this.#waiting.size > 0 && broker.state().up) this.restored(() => true)
  }

  /** The stream has ended. */
  forget (stream: Stream): void {
    this.#parts.channels.removeAll(stream)
    this.#waiting.delete(stream)
  }

  /**
   * Writes what the stream is owed since `from`, oldest first, then lets it be live. A first `sync` is always written,
   * a later one only to say that something may be missing. Throws what the broker throws; the stream is then still
   * held.
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
      await channels.subscribed(stream)
      if (stream.hasEnded) return
      if (sessions !== undefined && !await sessions.own(stream)) return
      const page = await this.#read(stream, cursor)
      if (stream.hasEnded) return
      // What was published on a new channel since this page was read may have passed us by.
      if (channels.follow(stream, this.#channelsOf(stream, page.membership.keys())) > 0) stream.fill(Infinity)

      stream.cork()
      this.#tellGap(stream, page, replayed)
      await write(stream, page)
      if (stream.hasEnded) return
      replayed += page.entries.length
      stats.replayed += page.entries.length
      // Also without entries: all up to the position has been written, and the next round goes on from there.
      cursor = page.position
      if (!page.more && stream.isSatisfiedWith(page.position)) {
        const isDeaf = this.#deaf.delete(stream)
        const resume = this.#gaps.delete(stream) ? 'incomplete' : from === 'fresh' ? 'fresh' : 'complete'
        if (isFirst || resume === 'incomplete') {
          this.#sync(stream, page, page.position, { resume, replayed })
          stats.syncs[resume]++
        } else if (isDeaf) stream.say(readFrame(page.inbox), page.position)
        if (stream.hasEnded) return
        if (!isFirst) stats.refilled++
        if (fills.hasSubscribers) {
          const { owner: { userId }, name } = stream
          const { position } = page
          const told: FillTrace = { node, userId, stream: name, isFirst, from, position, resume, replayed, startedAtMs, filledAtMs: nowMs() }
          fills.publish(told)
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

  // Channels first: what comes on them from here on is held. The user's own, on which a join or leave is heard; and
  // those of the groups that the token claims, since most often these are all there are.
  #listen (stream: Stream): void {
    const groups = stream.state === 'opening' ? stream.owner.groups ?? [] : []
    for (const channel of this.#channelsOf(stream, groups)) this.#parts.channels.add(stream, channel)
  }

  #channelsOf ({ owner: { userId } }: Stream, groups: Iterable<string>): string[] {
    const { broker } = this.#parts
    return [userAddress(userId), ALL, ...[...groups].map(groupAddress)].map((address) => broker.channelOf(userId, address))
  }

  /**
   * Before what is left after a gap, an `incomplete` with the id just before it. Whoever receives one of the entries
   * has been told; a client that is cut off before that comes back from where it stood, and is told then. At the end it
   * is told again: a broker that is being failed over from may have acknowledged ids beyond the first entry of the new
   * one.
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
    // After a gap the ids that follow may be smaller than before: the clock of a broker that took over may be behind.
    stream.sync(syncFrame(id, data), resume === 'incomplete')
  }
}

async function write (stream: Stream, { entries }: HistoryPage): Promise<void> {
  for (const entry of entries) {
    const frame = replayedFrame(entry)
    // A client is not slow because we write ahead of it.
    if (!stream.hasRoomFor(frame.chunked.length)) {
      stream.uncork()
      await stream.drained()
      stream.cork()
    }
    if (stream.hasEnded) return
    stream.replay(frame)
  }
}
