// One open SSE connection of one user: what it was sent, what waits for it, and how it ends.
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Identity, Session } from '../broker/broker.ts'
import type { Batch } from './batch.ts'
import { type Frame, pingFrame } from './frame.ts'
import type { Topic } from './topics.ts'

/** Why a stream ended; logged and counted. */
export type EndReason =
  | 'client' // the client went, or the line broke
  | 'slow' // more than STREAM_BUFFER_BYTES unsent
  | 'age' // MAX_STREAM_SECONDS
  | 'expired' // the token's exp
  | 'drain' // the node shuts down
  | 'replaced' // another stream of the user took over (SESSION_POLICY=single); for good
  | 'closed' // logout; for good
  | 'unavailable' // Redis could not be reached while the stream opened

const nothing = Buffer.alloc(0)

export interface StreamOwner extends Identity {
  /** The groups that the token claims; needed again when the stream is refilled. */
  readonly groups: readonly string[] | undefined
  /** The id of the visit that let it in. */
  readonly admittedAt: number
  /** When the token expires. */
  readonly expiresAtMs: number
  /** Where its own reconnect resumes from; decides, with SESSION_POLICY=single, whether it still holds the session. */
  readonly sessionCursor?: number | 'fresh' | undefined
}

/** A notification that waits, and where it came from. */
interface Held {
  readonly frame: Frame
  readonly topic: Topic
}

export interface StreamLimits {
  /** Unsent bytes before the stream is cut. */
  readonly bufferBytes: number
}

export class Stream {
  readonly owner: StreamOwner
  readonly openedAtMs = Date.now()
  /** The greatest id written; what is not greater is a duplicate. */
  cursor = 0
  /** Whose notifications it gets. Kept by the hub's topics. */
  readonly topics: Topic[] = []
  /** What to write next, in the batch under way. Kept by the hub. */
  pending: Batch | undefined
  /** Being refilled from the logs; an answer of the broker from before `staleUntil` asks for one more round: something changed meanwhile. */
  refilling = false
  staleUntil = 0
  /** The position of the last refill: what happened until then is known. */
  filledTo = 0
  /** The user's one session, if it has claimed it (SESSION_POLICY=single). */
  session: Session | undefined
  /** The newest claim of another stream that it has heard of. */
  takeoverId = 0
  /** Something may be missing, and no `sync` has said so yet. */
  gap = false
  /** Has had its first `sync`. */
  isLive = false
  delivered = 0

  readonly #response: ServerResponse
  readonly #socket: Socket
  readonly #chunked: boolean
  readonly #limits: StreamLimits
  #held: Held[] | undefined = []
  #heldBytes = 0
  /** Bytes that the socket has not taken whole and, since they went past its queue, does not count. */
  #underway = 0
  #wasDropped = false
  #endReason: EndReason | undefined

  /** `response` has sent its headers. `onEnd` is called once, when the connection is done with. */
  constructor (response: ServerResponse, owner: StreamOwner, limits: StreamLimits, onEnd: (stream: Stream, reason: EndReason) => void) {
    this.owner = owner
    this.#limits = limits
    this.#response = response
    this.#socket = response.socket!
    this.#chunked = response.chunkedEncoding
    response.once('close', () => {
      this.#endReason ??= 'client'
      onEnd(this, this.#endReason)
    })
  }

  get hasEnded (): boolean {
    return this.#endReason !== undefined || this.#socket.destroyed
  }

  get isHeld (): boolean {
    return this.#held !== undefined
  }

  /** From here on notifications wait, until `release`. What was under way goes out first: order is by id. */
  hold (): void {
    this.flush()
    this.#held ??= []
  }

  /** Keeps a notification that came, on a topic, while the stream is held. */
  keep (frame: Frame, topic: Topic): void {
    this.#held!.push({ frame, topic })
    this.#heldBytes += frame.chunked.length
    if (this.#heldBytes <= this.#limits.bufferBytes) return
    // Too much to keep. What has an id stands in the logs and is read from there; what has none was promised to nobody.
    this.#held = []
    this.#heldBytes = 0
    this.staleUntil = Infinity
  }

  /** Writes what was held and is newer than the cursor; the stream is live. Returns how many notifications that were. */
  release (): number {
    const held = this.#held ?? []
    const before = this.delivered
    this.#held = undefined
    this.#heldBytes = 0
    for (const { frame, topic } of held) {
      if (frame.id !== 0 && frame.id <= this.cursor) continue
      // Of a group that the user is not in (any more): the channels that a token claims are listened to before that is known.
      if (!this.topics.includes(topic)) continue
      this.write(frame)
      this.delivered++
    }
    this.isLive = true
    return this.delivered - before
  }

  /** Writes one frame at once. Live notifications go through the hub's batch instead. */
  write (frame: Frame): void {
    if (frame.id > this.cursor) this.cursor = frame.id
    this.#send(this.#chunked ? frame.chunked : frame.bare)
  }

  /** Writes the batch under way. */
  flush (): void {
    const batch = this.pending
    this.pending = undefined
    if (batch !== undefined) this.#send(batch.bytes(this.#chunked))
  }

  /** Reads what `flush` is going to read, and answers a number that means nothing. */
  warm (): number {
    if (this.pending === undefined || this.#endReason !== undefined) return 0
    // The descriptor stands in libuv's part of the socket, which no public property reads. Where there is none, less is read ahead.
    const { _handle: handle } = this.#socket as { _handle?: { fd?: number } | null }
    return this.#socket.writableLength + (handle?.fd ?? 0)
  }

  ping (): void {
    this.#send(this.#chunked ? pingFrame.chunked : pingFrame.bare)
  }

  /**
   * Writes at once where nothing waits: past the queue of the socket's Writable, whose bookkeeping costs as much as all that is ours (0.4 µs).
   * What `_write` does and calls back is laid down for those who write streams (https://nodejs.org/api/stream.html#writable_writechunk-encoding-callback);
   * with nothing in the queue or on its way, it is what the Writable would have done next. (Had the socket a timeout, Node would no longer see that
   * a slow client makes progress. It has none: MAX_STREAM_SECONDS ends a stream.)
   */
  #send (bytes: Buffer): void {
    // Not hasEnded, and no look at whether the socket is destroyed: this runs once a delivery, and such a socket answers with an error.
    if (this.#endReason !== undefined) return
    const socket = this.#socket
    if (this.#underway === 0 && socket.writableLength === 0 && socket.writableCorked === 0) {
      let wasTaken = false
      // Called late where the kernel did not take all of it at once: if it never does, nothing may follow.
      socket._write(bytes, 'buffer' as BufferEncoding, (error) => {
        wasTaken = true
        if (error !== undefined && error !== null) socket.destroy(error)
      })
      if (wasTaken) return
      // The kernel's buffer is full, and libuv keeps the rest. From here to its end the Writable queues what comes.
      this.#underway = bytes.length
      socket.write(nothing, () => { this.#underway = 0 })
    } else if (socket.write(bytes) && this.#underway === 0) return
    if (this.#unsent > this.#limits.bufferBytes) this.cut('slow')
  }

  get #unsent (): number {
    return this.#underway + this.#socket.writableLength
  }

  /** Whether a frame can be written now without going over the limit of unsent bytes. */
  hasRoomFor (frame: Frame): boolean {
    return this.#unsent + frame.chunked.length <= this.#limits.bufferBytes
  }

  /** From here to `uncork` what is written goes out as one write: history and sync cost one system call. */
  cork (): void {
    // Once it has ended, the socket is for the connection's next request, and nobody would uncork that.
    if (!this.hasEnded) this.#socket.cork()
  }

  uncork (): void {
    this.#socket.uncork()
  }

  /** Resolves when the socket has taken what was written so far, or is gone. */
  async drained (): Promise<void> {
    if (this.#unsent === 0 || this.hasEnded) return
    // Not 'drain': that is told only of what goes over the socket's own mark.
    await new Promise<void>((resolve) => { this.#socket.write(nothing, () => { resolve() }) })
  }

  /** Resolves when the connection is done with, or after a time. */
  async endsWithin (ms: number): Promise<void> {
    if (this.#response.closed) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#response.once('close', () => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  /** Whether the line broke, or was dropped with something unsent, rather than being closed by the client or by us. */
  get wasBroken (): boolean {
    return this.#wasDropped || (this.#socket.errored !== null && this.#socket.errored !== undefined)
  }

  /** Ends in good order, with last words (a `retry:`, a terminal event). */
  end (reason: EndReason, lastWords?: Frame): void {
    if (this.hasEnded) return
    this.flush()
    if (lastWords !== undefined) this.#send(this.#chunked ? lastWords.chunked : lastWords.bare)
    if (this.hasEnded) return
    this.#endReason = reason
    this.#response.end()
  }

  /** Drops the connection: the client is not reading, and would not read last words either. */
  cut (reason: EndReason): void {
    if (this.hasEnded) return
    this.#endReason = reason
    this.#drop()
  }

  /** After `end`: closes the socket even if the client has not taken its last words. */
  abandon (): void {
    this.#drop()
  }

  #drop (): void {
    this.#wasDropped = this.#unsent > 0
    this.#socket.destroy()
  }
}
