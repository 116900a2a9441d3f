// Takes one durable notification out of what Redis sends a subscriber, so that the check can be shown to notice.

/** How RESP3 and RESP2 begin a Pub/Sub message. */
const heads = ['>3\r\n$7\r\nmessage\r\n', '*3\r\n$7\r\nmessage\r\n'].map((text) => Buffer.from(text))

export class PushFilter {
  readonly #after: number
  #isDone = false

  /** `after`: how many reads with a notification to all pass on a connection first. */
  constructor (after: number) {
    this.#after = after
  }

  /** For what comes on one connection. */
  connection (): (piece: Buffer) => Buffer {
    let passed = 0
    let isTaken = false
    return (piece) => {
      const found = this.#isDone ? undefined : find(piece)
      if (found === undefined) return piece
      // Only with a newer one behind it is it gone: had the connection ended before, everybody would have been refilled from the log.
      if (isTaken) this.#isDone = true
      if (this.#isDone || passed++ < this.#after) return piece
      isTaken = true
      return Buffer.concat([piece.subarray(0, found.start), piece.subarray(found.end)])
    }
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
