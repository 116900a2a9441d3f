// How streams end: why, when, what the client is told, and how long it may take to receive that.
import { ends, type EndTrace, type Node } from '../tracing.ts'
import type { Clock } from './clock.ts'
import type { Clockwork, Due } from './clockwork.ts'
import { comeBackFrame, expiringFrame, type Frame, terminalFrame } from './frame.ts'
import type { Stream } from './stream.ts'

/** Why a stream ended; logged and counted. */
export type EndReason =
  | 'client' // the client left, or the connection broke
  | 'slow' // more than STREAM_BUFFER_BYTES unsent
  | 'age' // MAX_STREAM_SECONDS
  | 'expired' // the token's exp
  | 'drain' // the node shuts down
  | 'displaced' // a reconnect of the same user took its place (MAX_STREAMS_PER_USER)
  | 'replaced' // another stream of the user took over (SESSION_POLICY=single); for good
  | 'closed' // logout; for good
  | 'unavailable' // the broker could not be reached while the stream opened

/** How long a client has to take the last bytes of an ended stream. */
const LAST_WORDS_MS = 2000
/** When a stream that is not live yet is told again that its token expires. */
const NOTICE_AGAIN_MS = 1000

export interface ExitsOptions {
  readonly retryMs: number
  readonly maxStreamSeconds: number
  /** The longest time before its token expires that a stream gets `expiring`. */
  readonly expiringSeconds: number
}

export class Exits {
  readonly #options: ExitsOptions
  readonly #clockwork: Clockwork
  readonly #clock: Clock
  /** When a stream that is told of its token's end has to end, and why, in monotonic milliseconds. */
  readonly #lasts = new WeakMap<Stream, { readonly atMs: number, readonly why: 'age' | 'expired' }>()

  constructor (options: ExitsOptions, clockwork: Clockwork, clock: Clock) {
    this.#options = options
    this.#clockwork = clockwork
    this.#clock = clock
  }

  /** The value of `retry:`, jittered so that many clients do not reconnect at the same moment. */
  retryMs (): number {
    return Math.round(this.#options.retryMs * (0.5 + Math.random()))
  }

  /** Sets the first deadline of a new stream: its age limit, or when it is told that its token expires. */
  plan (stream: Stream): void {
    const { maxStreamSeconds, expiringSeconds } = this.#options
    // The wall clock is read only here, so setting it later does not change when the token expires.
    const expiresAtMs = stream.openedAtMs + stream.owner.expiresAtSeconds * 1000 - this.#clock.wallMs()
    const agesAtMs = stream.openedAtMs + maxStreamSeconds * 1000 * (0.8 + 0.2 * Math.random())
    // Jittered, so that pages opened in the same minute do not all ask for a token in the same second.
    const noticeMs = expiringSeconds * 1000 * (0.5 + 0.5 * Math.random())
    if (agesAtMs < expiresAtMs - noticeMs) {
      this.#clockwork.plan(stream, agesAtMs, 'age')
      return
    }
    this.#lasts.set(stream, agesAtMs < expiresAtMs ? { atMs: agesAtMs, why: 'age' } : { atMs: expiresAtMs, why: 'expired' })
    this.#clockwork.plan(stream, expiresAtMs - noticeMs, 'expiring')
  }

  /** Acts on a deadline of a stream. */
  due (stream: Stream, due: Due): void {
    switch (due) {
      case 'expiring': this.#sayExpiring(stream); break
      case 'abandon': stream.abandon(); break
      default: this.end(stream, due)
    }
  }

  #sayExpiring (stream: Stream): void {
    const last = this.#lasts.get(stream)!
    if (stream.filledTo > 0) stream.say(expiringFrame(stream.owner.expiresAtSeconds * 1000))
    else {
      // Nothing may stand before its first `sync`, which is still to come.
      const againAtMs = this.#clock.nowMs() + NOTICE_AGAIN_MS
      if (againAtMs < last.atMs) {
        this.#clockwork.plan(stream, againAtMs, 'expiring')
        return
      }
    }
    this.#clockwork.plan(stream, last.atMs, last.why)
  }

  /** Ends a stream so that the browser reconnects by itself, after a jittered time. */
  end (stream: Stream, reason: Exclude<EndReason, 'client' | 'slow' | 'closed' | 'replaced'>): void {
    this.#end(stream, reason, comeBackFrame(this.retryMs()))
  }

  /** Ends a stream so that the browser does not reconnect. */
  endForGood (stream: Stream, reason: 'closed' | 'replaced', data: object): void {
    this.#end(stream, reason, terminalFrame(reason, data))
  }

  #end (stream: Stream, reason: EndReason, lastWords: Frame): void {
    // A stream that is ending keeps its deadline: `verify` finds it again at each heartbeat.
    if (stream.hasEnded) return
    stream.end(reason, lastWords)
    this.#clockwork.plan(stream, this.#clock.nowMs() + LAST_WORDS_MS, 'abandon')
  }
}

/** Publishes on the diagnostics channel that a stream has ended, and up to which id it was written. */
export function tellEnd (node: Node, stream: Stream, reason: EndReason): void {
  if (!ends.hasSubscribers) return
  const { owner: { userId }, name, takenTo } = stream
  // A pending batch is not written any more.
  const writtenTo = stream.pending === undefined ? stream.cursor : takenTo
  const trace: EndTrace = { node, userId, stream: name, reason, writtenTo, takenTo }
  ends.publish(trace)
}
