// One open SSE connection of one user: its state, its cursor, what it is sent, and how it ends.
import type { Batch } from './batch.ts'
import type { Channel } from './channels.ts'
import type { EndReason } from './exits.ts'
import { type Frame, pingFrame } from './frame.ts'
import { Hold } from './hold.ts'
import { type Connection, Line } from './line.ts'
import type { StreamOwner } from './owner.ts'
import { type State, step } from './state.ts'

export type { StreamOwner }

/** What all streams of a node share. */
export interface StreamLimits {
  /** Unsent bytes before a stream is cut. */
  readonly bufferBytes: number
  /** Goes out before the first event. */
  readonly retryLine: Frame
}

/** Numbers the streams of this process. It starts at random, so that a restarted node does not reuse names. */
let lastSerial = Math.floor(Math.random() * 2 ** 30)

/** Extends Line instead of holding one: that saves a memory access at each delivery. */
export class Stream extends Line {
  readonly owner: StreamOwner
  /** Monotonic milliseconds. */
  readonly openedAtMs: number
  /** The channels whose messages it gets. Managed by Channels. */
  readonly channels: Channel[] = []

  readonly #serial = ++lastSerial

  readonly #limits: StreamLimits
  #state: State = 'opening'
  #hold: Hold | undefined = new Hold()
  #pending: Batch | undefined
  #cursor = 0
  /** The last id that the client was sent before a fill without a `sync` moved the cursor. */
  #saidTo = 0
  #filledTo = 0
  #syncedTo = 0
  #once = ''
  #takenTo = 0
  #written = 0
  #isGreeted = false
  #endReason: EndReason | undefined

  /** `onEnd` is called once, when the connection has closed. */
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

  /** The name of the stream in logs, traces and receipts. */
  get name (): string { return this.#serial.toString(36) }
  get state (): State { return this.#state }
  /** The greatest id written. A notification whose id is not greater is a duplicate. */
  get cursor (): number { return this.#cursor }
  /** The last id that the client was sent, with which it comes back. */
  get lastId (): number { return this.#cursor === this.#filledTo && this.#syncedTo !== this.#filledTo ? this.#saidTo : this.#cursor }
  /** The position of the last fill, which included all changes until then. 0: it was never live. */
  get filledTo (): number { return this.#filledTo }
  /** Everything up to this id was certainly taken by the socket, as of the last heartbeat or the end. */
  get takenTo (): number { return !this.hasEnded && this.unsent === 0 && this.#pending === undefined ? this.#cursor : this.#takenTo }
  /** Notifications written, live and from the logs. */
  get written (): number { return this.#written }
  /** The batch that `flush` will write. */
  get pending (): Batch | undefined { return this.#pending }
  get isHeld (): boolean { return this.#hold !== undefined }
  /** Events without an id were dropped while it was held. */
  get wasCut (): boolean { return this.#hold?.wasCut === true }

  // — its states —

  /**
   * Something changed at the id `since`: holds messages until an answer of the broker is as new. A pending batch is
   * written first, to keep the order of ids; if the client is too slow for that, the stream is cut. Returns true if no
   * fill runs yet, so that the caller must start one.
   */
  fill (since: number): boolean {
    const begins = this.#state === 'live' || this.#state === 'waiting'
    if (begins) this.#halt('filling')
    this.#hold!.needs(since)
    return begins && !this.hasEnded
  }

  /** Holds messages without a running fill, until `fill` is called. It may cut the stream, see `fill`. */
  wait (): void {
    this.#halt('waiting')
  }

  #halt (state: 'filling' | 'waiting'): void {
    this.flush()
    if (this.#state === 'ending') return // that was too much for a client that does not read
    this.#state = step(this.#state, state)
    this.#hold ??= new Hold()
  }

  /** The broker is asked now, so its answer includes all changes so far. */
  asks (): void {
    this.#hold!.asks()
  }

  /** Whether an answer of the broker at this position includes all changes. */
  isSatisfiedWith (position: number): boolean {
    return this.#hold!.isSatisfiedWith(position)
  }

  /** Ends a fill: writes held notifications above `position` and becomes live. Returns how many were written. */
  release (position: number): number {
    this.#state = step(this.#state, 'live')
    const { frames } = this.#hold!
    const before = this.#written
    this.#hold = undefined
    this.#saidTo = this.lastId
    this.#filledTo = position
    this.#cursor = Math.max(this.#cursor, position)
    for (const { frame, channel } of frames) {
      if (this.hasEnded) break // too slow for the one before
      // Skips groups that the user is not in: claimed groups are subscribed before membership is known.
      if (!this.channels.includes(channel) || !this.#enters(frame)) continue
      this.#write(frame)
    }
    return this.#written - before
  }

  // — what it is sent —

  /** Takes a live notification, to be written by the next `flush`. Returns false if it was held, or is a duplicate. */
  takes (frame: Frame, channel: Channel, root: Batch): boolean {
    if (this.#hold !== undefined) {
      if (!this.hasEnded) this.#hold.add(frame, channel, this.#limits.bufferBytes)
      return false
    }
    if (!this.#enters(frame)) return false
    this.#pending = (this.#pending ?? root).plus(frame)
    return true
  }

  /** Moves the cursor and counts the notification. Returns false if the client has it or has newer. */
  #enters (frame: Frame): boolean {
    if (frame.id !== 0) {
      if (frame.id <= this.#cursor) return false
      this.#cursor = frame.id
    } else if (frame.once !== '') {
      if (frame.once === this.#once) return false // copies arrive one after the other
      this.#once = frame.once
    } else if (frame.asOf !== 0 && frame.asOf <= this.#syncedTo) return false
    this.#written++
    return true
  }

  /** Writes a notification from the logs, which may be from before the limits were lowered. */
  replay (frame: Frame): void {
    if (!this.#enters(frame)) return
    const { length } = frame.chunked
    if (length > this.#limits.bufferBytes) this.allow(length)
    this.#write(frame)
  }

  /** Writes a `sync`, which names all groups. `resets`: ids that follow may be smaller than those written before. */
  sync (frame: Frame, resets: boolean): void {
    this.#cursor = resets ? frame.id : Math.max(this.#cursor, frame.id)
    this.#syncedTo = frame.id
    this.allow(frame.chunked.length)
    this.#write(frame)
  }

  /** Writes an event that is no notification. */
  say (frame: Frame): void {
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

  /** Writes `retry:` as the first line of the first event's block. */
  #greet (): void {
    this.#isGreeted = true
    const { retryLine } = this.#limits
    this.send(this.isChunked ? retryLine.chunked : retryLine.bare)
  }

  /** Writes the pending batch. */
  flush (): void {
    const batch = this.#pending
    this.#pending = undefined
    if (batch !== undefined) this.send(batch.bytes(this.isChunked))
  }

  /** Reads the memory that `flush` will read. The result has no meaning. */
  warm (): number {
    return this.#pending === undefined ? 0 : this.look()
  }

  // — its end —

  /** Ends the stream in good order with a last frame: when to come back, or a terminal event. */
  end (reason: EndReason, lastWords: Frame): void {
    if (this.hasEnded) return
    this.flush()
    // If nothing was sent yet, a terminal event is the first one. A hint to come back has its own `retry:`.
    if (!this.#isGreeted && (reason === 'closed' || reason === 'replaced')) this.#greet()
    this.send(this.isChunked ? lastWords.chunked : lastWords.bare)
    if (this.hasEnded) return
    this.#finish(reason)
    this.close()
  }

  /** Drops the connection, since the client does not read and would not read a last frame either. */
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
    // Takes nothing more, or it would count as written. The connection may close seconds later.
    this.#hold = new Hold()
    this.#state = step(this.#state, 'ending')
    this.#endReason = reason
  }

  /** After `end`: drops the socket if the client has not taken the last bytes. */
  abandon (): void {
    // Once ended, the connection may carry another response.
    if (this.#state === 'ending') this.drop()
  }
}
