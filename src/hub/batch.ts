// The bytes that a stream gets in its next write, shared by all streams that get the same sequence of frames.
import type { Frame } from './frame.ts'

/**
 * A node in a tree of sequences. The root is the empty sequence, and each step adds a frame. Streams that get the same
 * frames stand on the same node, so a message costs each of them one pointer, and the bytes are joined once for all.
 */
export class Batch {
  readonly #parent: Batch | undefined
  readonly #frame: Frame | undefined
  #next: Batch | undefined
  #chunked: Buffer | undefined
  #bare: Buffer | undefined

  constructor (parent?: Batch, frame?: Frame) {
    this.#parent = parent
    this.#frame = frame
  }

  /**
   * This sequence with one more frame. One successor is cached, since the coalescer hands a frame to all its streams
   * before the next frame.
   */
  plus (frame: Frame): Batch {
    if (this.#next === undefined || this.#next.#frame !== frame) this.#next = new Batch(this, frame)
    return this.#next
  }

  bytes (isChunked: boolean): Buffer {
    if (isChunked) this.#chunked ??= this.#join((frame) => frame.chunked)
    else this.#bare ??= this.#join((frame) => frame.bare)
    return (isChunked ? this.#chunked : this.#bare)!
  }

  #join (encoding: (frame: Frame) => Buffer): Buffer {
    const buffers: Buffer[] = []
    for (let batch: Batch | undefined = this; batch !== undefined; batch = batch.#parent) {
      if (batch.#frame !== undefined) buffers.push(encoding(batch.#frame))
    }
    return buffers.length === 1 ? buffers[0]! : Buffer.concat(buffers.reverse())
  }
}
