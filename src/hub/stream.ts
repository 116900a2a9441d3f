// One open SSE connection of one user: its state, what it was sent, what waits for it, and how it ends.
import type { Identity } from '../broker/broker.ts'
import type { ResumeFrom } from '../notification.ts'
import type { Batch } from './batch.ts'
import type { Channel } from './channels.ts'
import type { EndReason } from './exits.ts'
import { type Frame, pingFrame } from './frame.ts'
import { Hold } from './hold.ts'
import { type Connection, Line } from './line.ts'
import { type State, step } from './state.ts'

export interface StreamOwner extends Identity {
  /** The groups that the token claims, undefined if it has no claim; needed again when the stream is filled again. */
  readonly groups: readonly string[] | undefined
  /** The id of the visit that let it in. */
  readonly admittedAt: number
  /** Where the client's own reconnect says that it stood (`Last-Event-ID`); `fresh` if a page opened it. */
  readonly reconnectsFrom: ResumeFrom
}

/** What all streams of a node have in common. */
export interface StreamLimits {
  /** Unsent bytes before a stream is cut. */
  readonly bufferBytes: number
  /** Goes out before the first event: how long the browser is to wait before it reconnects. */
  readonly retryLine: Frame
}

/** Streams of one process are counted from here on: a node that starts again with its name does not begin anew. */
let lastSerial = Math.floor(Math.random() * 2 ** 30)

/** Extends its line rather than having one: one object less to fetch from memory at each delivery. */
export class Stream extends Line {
  readonly owner: StreamOwner
  /** Milliseconds of the clock that never steps. */
  readonly openedAtMs: number
  /** Whose notifications it gets. Kept by the hub's channels. */
  readonly channels: Channel[] = []

  readonly #serial = ++lastSerial

  readonly #limits: StreamLimits
  #state: State = 'opening'
  #hold: Hold | undefined = new Hold()
  #pending: Batch | undefined
  #cursor = 0
  #filledTo = 0
  #syncedTo = 0
  #once = ''
  #takenTo = 0
  #written = 0
  #isGreeted = false
  #endReason: EndReason | undefined

  /** `onEnd` is called once, when the connection is done with. */
  constructor (connection: Connection, owner: StreamOwner, limits: StreamLimits, openedAtMs: number, onEnd: (stream: Stream, reason: EndReason) => void) {
    super(connection, limits.bufferBytes)
    this.owner = owner
    this.openedAtMs = openedAtMs
    this.#limits = limits
    connection.response.once('close', () => {
      this.#state = step(this.#state, 'ended')
      this.#endReason ??= 'client'
      onEnd(this, this.#endReason)
    })
  }

  /** Names it in the log, and where it is told who got what. */
  get name (): string { return this.#serial.toString(36) }
  get state (): State { return this.#state }
  /** The greatest id written; what is not greater is a duplicate. */
  get cursor (): number { return this.#cursor }
  /** The position of the last fill: what happened until then is known. 0: it has never been live. */
  get filledTo (): number { return this.#filledTo }
  /** What is not greater was taken by the socket for sure, as of the last heartbeat or the end. */
  get takenTo (): number { return !this.hasEnded && this.unsent === 0 && this.#pending === undefined ? this.#cursor : this.#takenTo }
  /** Notifications written, live and from the logs. */
  get written (): number { return this.#written }
  /** What is written next, at `flush`. */
  get pending (): Batch | undefined { return this.#pending }
  get isHeld (): boolean { return this.#hold !== undefined }

  // — its states —

  /**
   * Something changed, at the id `since`: what comes is held until an answer of the broker is as new. What was under
   * way goes out first: order is by id. True: nobody fills the stream yet, it is for the caller to begin.
   */
  fill (since: number): boolean {
    const begins = this.#state === 'live' || this.#state === 'waiting'
    if (begins) this.#halt('filling')
    this.#hold!.needs(since)
    return begins
  }

  /** What comes is held, and nobody reads what is owed: `fill` is called when that can be done. */
  wait (): void {
    this.#halt('waiting')
  }

  #halt (state: 'filling' | 'waiting'): void {
    this.flush()
    this.#state = step(this.#state, state)
    this.#hold ??= new Hold()
  }

  /** The broker is asked now: its answer knows all for which the stream is held so far. */
  asks (): void {
    this.#hold!.asks()
  }

  /** Whether an answer of the broker knows all for which the stream is held. */
  isSatisfiedWith (position: number): boolean {
    return this.#hold!.isSatisfiedWith(position)
  }

  /**
   * Filled up to a position: writes what was held and is newer, and is live. Returns how many notifications that were.
   */
  release (position: number): number {
    this.#state = step(this.#state, 'live')
    const { frames } = this.#hold!
    const before = this.#written
    this.#hold = undefined
    this.#filledTo = position
    this.#cursor = Math.max(this.#cursor, position)
    for (const { frame, channel } of frames) {
      // Not of a group that the user is not in (any more): what a token claims is listened to before that is known.
      if (!this.channels.includes(channel) || !this.#enters(frame)) continue
      this.#write(frame)
    }
    return this.#written - before
  }

  // — what it is sent —

  /** Takes a live notification, to be written with the next `flush`. False: it is held, or the client has it. */
  takes (frame: Frame, channel: Channel, root: Batch): boolean {
    if (this.#hold !== undefined) {
      this.#hold.add(frame, channel, this.#limits.bufferBytes)
      return false
    }
    if (!this.#enters(frame)) return false
    this.#pending = (this.#pending ?? root).plus(frame)
    return true
  }

  /** Moves the cursor and counts. False: the client has it, or has newer. */
  #enters (frame: Frame): boolean {
    if (frame.id !== 0) {
      if (frame.id <= this.#cursor) return false
      this.#cursor = frame.id
    } else if (frame.once !== '') {
      if (frame.once === this.#once) return false // copies follow one another
      this.#once = frame.once
    } else if (frame.asOf !== 0 && frame.asOf <= this.#syncedTo) return false
    this.#written++
    return true
  }

  /** Writes a notification from the logs. */
  replay (frame: Frame): void {
    if (this.#enters(frame)) this.#write(frame)
  }

  /** Writes a `sync`. `resets`: the ids that follow may be smaller than what was written before. */
  sync (frame: Frame, resets: boolean): void {
    this.#cursor = resets ? frame.id : Math.max(this.#cursor, frame.id)
    this.#syncedTo = frame.id
    this.#write(frame)
  }

  /** Writes something that is no notification. `asOf`: what is told as of an earlier position is pointless after it. */
  say (frame: Frame, asOf = 0): void {
    this.#syncedTo = Math.max(this.#syncedTo, asOf)
    this.#write(frame)
  }

  ping (): void {
    this.#takenTo = this.takenTo
    this.#write(pingFrame)
  }

  #write (frame: Frame): void {
    if (!this.#isGreeted) this.#greet()
    this.send(this.isChunked ? frame.chunked : frame.bare)
  }

  /** In one block with the first event, whichever that is. */
  #greet (): void {
    this.#isGreeted = true
    const { retryLine } = this.#limits
    this.send(this.isChunked ? retryLine.chunked : retryLine.bare)
  }

  /** Writes the batch under way. */
  flush (): void {
    const batch = this.#pending
    this.#pending = undefined
    if (batch !== undefined) this.send(batch.bytes(this.isChunked))
  }

  /** Reads what `flush` is going to read, and answers a number that means nothing. */
  warm (): number {
    return this.#pending === undefined ? 0 : this.look()
  }

  // — its end —

  /** Ends in good order, with last words: when to come back, or a terminal event. */
  end (reason: EndReason, lastWords: Frame): void {
    if (this.hasEnded) return
    this.flush()
    this.send(this.isChunked ? lastWords.chunked : lastWords.bare)
    if (this.hasEnded) return
    this.#finish(reason)
    this.close()
  }

  /** Drops the connection: the client is not reading, and would not read last words either. */
  cut (reason: EndReason): void {
    if (this.hasEnded) return
    this.#finish(reason)
    this.drop()
  }

  protected override overflowed (): void {
    this.cut('slow')
  }

  #finish (reason: EndReason): void {
    this.#takenTo = this.takenTo
    this.#state = step(this.#state, 'ending')
    this.#endReason = reason
  }

  /** After `end`: closes the socket even if the client has not taken its last words. */
  abandon (): void {
    // Ended, the connection may carry another answer.
    if (this.#state === 'ending') this.drop()
  }
}
