// Decides whether there is room for one more stream (MAX_STREAMS, MAX_STREAMS_PER_USER), and whose place a reconnect
// takes.
import type { Stream, StreamOwner } from './stream.ts'

/** How long a displaced stream, and a client that came back from it, are remembered. */
const MEMORY_MS = 600_000
/** The most streams of one user that may be displaced in that time. */
const MAX_DISPLACED = 100
/** The longest time that a client without a place is told to wait. */
const MAX_WAIT_MS = 60_000
/** The most users that are remembered. Past that, the least recently touched one is forgotten. */
const MAX_REMEMBERED = 10_000

export interface PlacesOptions {
  /** 0: no limit. */
  readonly maxStreams: number
  /** Infinity: no limit. */
  readonly maxStreamsPerUser: number
  readonly retryMs: () => number
  readonly nowMs: () => number
}

export type Place =
  /** There is room. `instead`: the stream that must end for it. */
  | { readonly room: true, readonly instead?: Stream }
  /** No room now: the client shall come back after this time. */
  | { readonly room: false, readonly retryMs: number }
  /** Refused for good. */
  | { readonly room: false, readonly retryMs?: undefined }

/** What is remembered of a user whose streams were displaced. */
interface Displaced {
  /** The last id of each displaced stream, and how often a client came back from there without a place. */
  readonly comebacks: Map<number, number>
  /** When streams were displaced, in monotonic milliseconds. */
  times: number[]
  touchedAtMs: number
}

/**
 * The limit of streams for each user.
 *
 * A connection that breaks silently leaves its stream open until its age limit, so a user's own dead streams could lock
 * the user out. Therefore a reconnect takes the place of one of the user's streams. If that stream was alive after all,
 * its client comes back from exactly where it ended, which shows that there are more clients than places. Such a client
 * displaces nobody: it retries, less and less often, until a place is free. So 21 live pages do not displace each other
 * for ever.
 */
export class Places {
  readonly #options: PlacesOptions
  readonly #displaced = new Map<string, Displaced>()

  constructor (options: PlacesOptions) {
    this.#options = options
  }

  /**
   * Finds a place. `total`: open streams of the node; `streams`: those of the user. The answer holds until the next
   * await.
   */
  find ({ userId, reconnectsFrom }: StreamOwner, total: number, streams: ReadonlySet<Stream> | undefined): Place {
    const { maxStreams, maxStreamsPerUser, retryMs } = this.#options
    if (maxStreams > 0 && total >= maxStreams) return { room: false, retryMs: retryMs() }
    if (streams === undefined || streams.size < maxStreamsPerUser) return { room: true }
    const open = [...streams].filter(({ hasEnded }) => !hasEnded)
    if (open.length < maxStreamsPerUser) return { room: true }
    return reconnectsFrom === 'fresh' ? { room: false } : this.#takeOne(userId, reconnectsFrom === 'foreign' ? -1 : reconnectsFrom, open)
  }

  #takeOne (userId: string, from: number, open: readonly Stream[]): Place {
    const { nowMs } = this.#options
    const { comebacks, times } = this.#displacedOf(userId, nowMs())
    // A stream without an id is left alone: its client would come back as a fresh one and be refused.
    const candidates = open.filter(({ lastId }) => lastId > 0)
    // MAX_DISPLACED also bounds clients that make up their position and so are not recognised.
    if (candidates.length === 0 || times.length >= MAX_DISPLACED) return { room: false, retryMs: this.#waitMs(Infinity) }
    const comeback = comebacks.get(from)
    // The client that displaced that stream may stand at the same position, and come back from there if it lost its
    // connection before `sync`. Then its own stream is taken.
    const instead = comeback === undefined
      ? candidates.reduce((a, b) => isLikelier(b, a, from) ? b : a)
      : candidates.find(({ owner }) => owner.reconnectsFrom === from)
    if (instead === undefined) {
      comebacks.set(from, comeback! + 1)
      return { room: false, retryMs: this.#waitMs(comeback! + 1) }
    }
    times.push(nowMs())
    comebacks.set(instead.lastId, 0)
    if (comebacks.size > MAX_DISPLACED) comebacks.delete(comebacks.keys().next().value!)
    return { room: true, instead }
  }

  #waitMs (times: number): number {
    const retryMs = this.#options.retryMs()
    return Math.min(retryMs * 2 ** times, Math.max(retryMs, MAX_WAIT_MS))
  }

  /** What is remembered of a user. Moves the user to the end of the map, so that the oldest entry is the first. */
  #displacedOf (userId: string, nowMs: number): Displaced {
    const displaced = this.#displaced.get(userId) ?? { comebacks: new Map(), times: [], touchedAtMs: nowMs }
    displaced.touchedAtMs = nowMs
    displaced.times = displaced.times.filter((atMs) => nowMs - atMs < MEMORY_MS)
    this.#displaced.delete(userId)
    this.#displaced.set(userId, displaced)
    if (this.#displaced.size > MAX_REMEMBERED) this.#displaced.delete(this.#displaced.keys().next().value!)
    return displaced
  }

  /** Forgets users that were not touched for MEMORY_MS. */
  sweep (): void {
    const nowMs = this.#options.nowMs()
    for (const [userId, { touchedAtMs }] of this.#displaced) {
      if (nowMs - touchedAtMs < MEMORY_MS) return
      this.#displaced.delete(userId)
    }
  }
}

/** Whether the client of `a` has more likely gone than that of `b`, judged by a client that comes back from `from`. */
function isLikelier (a: Stream, b: Stream, from: number): boolean {
  // In this order: unsent bytes show a client that reads nothing; a stream that ended exactly at `from` is probably
  // this client's own; so may be one that was sent nothing newer.
  for (const sign of [(stream: Stream) => stream.unsent > 0, (stream: Stream) => stream.lastId === from, (stream: Stream) => stream.lastId <= from]) {
    if (sign(a) !== sign(b)) return sign(a)
  }
  return a.openedAtMs < b.openedAtMs
}
