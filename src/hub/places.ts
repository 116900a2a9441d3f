// Whether there is room for one more stream: MAX_STREAMS, MAX_STREAMS_PER_USER, and whose place a reconnect takes.
import type { Stream, StreamOwner } from './stream.ts'

/** How long it is remembered that a stream was displaced, or that its client came back. */
const MEMORY_MS = 600_000
/** Streams of one user that may be displaced in that time. */
const MAX_DISPLACED = 100
/** A client whose stream was displaced asks again at least so often. */
const MAX_WAIT_MS = 60_000
/** Users of whom that is remembered; beyond it the longest ago are forgotten. */
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
  /** `instead`: the stream whose place it is, which ends. */
  | { readonly room: true, readonly instead?: Stream }
  /** Not now: the client comes back after a time. */
  | { readonly room: false, readonly retryMs: number }
  /** Not at all. */
  | { readonly room: false, readonly retryMs?: undefined }

/** What is remembered of a user whose streams were displaced. */
interface Displaced {
  /** Where those streams ended, and how often a client has come back from there. */
  readonly comebacks: Map<number, number>
  /** When that was. */
  times: number[]
  touchedAtMs: number
}

/**
 * A line that is lost without a word leaves its stream behind until it is of age. So a reconnect never finds the limit
 * closed for good by streams that nobody reads: it takes the place of one of them. If that one was read after all, its
 * client comes back from exactly where it ended, which shows that there are more clients than places. Such a client
 * takes nobody's place: it asks again, less and less often, until one is free. So 21 pages that live never chase each
 * other.
 */
export class Places {
  readonly #options: PlacesOptions
  readonly #displaced = new Map<string, Displaced>()

  constructor (options: PlacesOptions) {
    this.#options = options
  }

  /** `total`: streams of the node. `streams`: of the user. To be acted upon at once, before anything is awaited. */
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
    // Without an id, its client would come back as a fresh one, and be refused.
    const candidates = open.filter(({ cursor }) => cursor > 0)
    // Clients that come back from a position of their own choice are not recognised, and are bounded all the same.
    if (candidates.length === 0 || times.length >= MAX_DISPLACED) return { room: false, retryMs: this.#waitMs(Infinity) }
    const comeback = comebacks.get(from)
    // Not if it was this client that displaced that stream: it comes back from there if its line is lost before its
    // `sync`.
    const instead = comeback === undefined
      ? candidates.reduce((a, b) => isLikelier(b, a, from) ? b : a)
      : candidates.find(({ owner }) => owner.reconnectsFrom === from)
    if (instead === undefined) {
      comebacks.set(from, comeback! + 1)
      return { room: false, retryMs: this.#waitMs(comeback! + 1) }
    }
    times.push(nowMs())
    comebacks.set(instead.cursor, 0)
    if (comebacks.size > MAX_DISPLACED) comebacks.delete(comebacks.keys().next().value!)
    return { room: true, instead }
  }

  #waitMs (times: number): number {
    const retryMs = this.#options.retryMs()
    return Math.min(retryMs * 2 ** times, Math.max(retryMs, MAX_WAIT_MS))
  }

  /** What is remembered of a user, who is the newest from here on. */
  #displacedOf (userId: string, nowMs: number): Displaced {
    const known = this.#displaced.get(userId)
    const displaced = known ?? { comebacks: new Map(), times: [], touchedAtMs: nowMs }
    displaced.touchedAtMs = nowMs
    displaced.times = displaced.times.filter((atMs) => nowMs - atMs < MEMORY_MS)
    this.#displaced.delete(userId)
    this.#displaced.set(userId, displaced)
    if (this.#displaced.size > MAX_REMEMBERED) this.#displaced.delete(this.#displaced.keys().next().value!)
    return displaced
  }

  /** Forgets what is long ago. */
  sweep (): void {
    const nowMs = this.#options.nowMs()
    for (const [userId, { touchedAtMs }] of this.#displaced) {
      if (nowMs - touchedAtMs < MEMORY_MS) return
      this.#displaced.delete(userId)
    }
  }
}

/** Whether the client of `a` has more likely gone than that of `b`, as seen by one that comes back from a position. */
function isLikelier (a: Stream, b: Stream, from: number): boolean {
  // What a client has not taken waits. The last stream of a client that comes back ended where it stands, if all that
  // was sent has arrived; and a stream that was sent nothing newer may be its.
  for (const sign of [(one: Stream) => one.unsent > 0, (one: Stream) => one.cursor === from, (one: Stream) => one.cursor <= from]) {
    if (sign(a) !== sign(b)) return sign(a)
  }
  return a.openedAtMs < b.openedAtMs
}
