// Takes some durable notifications out of what Redis sends a subscriber, so that the check can be shown to notice.

/** How RESP3 and RESP2 begin a Pub/Sub message. */
const heads = ['>3\r\n$7\r\nmessage\r\n', '*3\r\n$7\r\nmessage\r\n'].map((text) => Buffer.from(text))

export class PushFilter {
  readonly #each: number
  #seen = 0
  #left = 8

  /**
   * `each`: of so many reads that have a notification to all, the last loses it. Some times, since a fault soon after
   * heals it; not for ever, or nothing would settle.
   */
  constructor (each: number) {
    this.#each = each
  }

  pass (piece: Buffer): Buffer {
    const found = find(piece)
    if (found === undefined || this.#left === 0 || ++this.#seen % this.#each !== 0) return piece
    this.#left--
    return Buffer.concat([piece.subarray(0, found.start), piece.subarray(found.end)])
  }
}

// Only a message that came whole, in one piece: there are plenty of those.
function find (piece: Buffer): { start: number, end: number } | undefined {
  for (const head of heads) {
    for (let start = piece.indexOf(head); start !== -1; start = piece.indexOf(head, start + 1)) {
      const channel = bulk(piece, start + head.length)
      const payload = channel && bulk(piece, channel.end)
      if (payload === undefined || payload.end > piece.length) continue
      if (channel!.text.endsWith(':all') && payload.text.startsWith('{"tidings":1,')) return { start, end: payload.end }
    }
  }
  return undefined
}

/** The bulk string at a place: `$<bytes>\r\n<text>\r\n`. */
function bulk (piece: Buffer, at: number): { text: string, end: number } | undefined {
  const line = piece.indexOf('\r\n', at)
  if (line === -1 || piece[at] !== 36) return undefined
  const end = line + 2 + Number(piece.toString('latin1', at + 1, line)) + 2
  return { text: piece.toString('utf8', line + 2, end - 2), end }
}
