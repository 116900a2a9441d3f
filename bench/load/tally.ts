// The ledger of load.ts: which stream received which message, whether it came whole, and how long it took. As tally.c
// keeps it.
import { Histogram } from '../harness/stats.ts'

const NEEDLE = Buffer.from('{"n":')

export interface Account {
  last: number
  seen: Uint8Array
}

export class Tally {
  readonly count = { messages: 0, duplicates: 0, late: 0, bytes: 0, pings: 0, refused: 0, ended: 0, syncs: 0, incomplete: 0, torn: 0 }
  readonly #accounts: readonly Account[]
  readonly #payloadBytes: number
  readonly #onReached: () => void
  #latency = new Histogram()
  #target = -1
  #reached = 0

  constructor (accounts: readonly Account[], payloadBytes: number, onReached: () => void) {
    this.#accounts = accounts
    this.#payloadBytes = payloadBytes
    this.#onReached = onReached
  }

  /** Counts our payload if there is one from `from` to `end`. */
  take (account: Account, bytes: Buffer, from: number, end: number): boolean {
    const payload = bytes.indexOf(NEEDLE, from)
    if (payload === -1 || payload >= end) return false
    let [n, t, at] = [0, 0, payload + NEEDLE.length]
    for (; bytes[at]! >= 48 && bytes[at]! <= 57; at++) n = n * 10 + bytes[at]! - 48
    for (at += 5; bytes[at]! >= 48 && bytes[at]! <= 57; at++) t = t * 10 + bytes[at]! - 48
    // Where it should end there must be its end, whatever a peer has wrapped it in; what is longer has it elsewhere.
    const last = payload + this.#payloadBytes - 1
    if (last >= end || bytes[last] !== 0x7d || bytes[last - 1] !== 0x22) this.count.torn++
    this.#count(account, n, t)
    return true
  }

  #count (account: Account, n: number, t: number): void {
    const byte = n >> 3
    if (byte >= account.seen.length) {
      const larger = new Uint8Array(2 * byte + 2)
      larger.set(account.seen)
      account.seen = larger
    }
    this.count.messages++
    if ((account.seen[byte]! & (1 << (n & 7))) !== 0) {
      this.count.duplicates++
      return
    }
    account.seen[byte]! |= 1 << (n & 7)
    this.#latency.add(Number(process.hrtime.bigint() / 1000n) - t)
    if (n < account.last) {
      this.count.late++
      return
    }
    if (this.#target >= 0 && account.last < this.#target && n >= this.#target && ++this.#reached === this.#accounts.length) {
      this.#target = -1
      this.#onReached()
    }
    account.last = n
  }

  reach (n: number): void {
    this.#reached = this.#accounts.filter(({ last }) => last >= n).length
    if (this.#reached === this.#accounts.length) this.#onReached()
    else this.#target = n
  }

  forget (): void {
    for (const key of Object.keys(this.count)) this.count[key as keyof typeof this.count] = 0
    for (const account of this.#accounts) [account.last] = [-1, account.seen.fill(0)]
    this.#latency = new Histogram()
    this.#target = -1
  }

  report (from: number, to: number): object {
    let [missing, losers, behind] = [0, 0, 0]
    for (const { seen, last } of this.#accounts) {
      let mine = 0
      const before = behind
      for (let n = from; n <= to; n++) {
        if (((seen[n >> 3] ?? 0) & (1 << (n & 7))) !== 0) continue
        if (n > last) behind++
        else mine++
      }
      missing += mine
      if (mine > 0 || behind > before) losers++
    }
    const { user, system } = process.cpuUsage()
    return { ...this.count, lost: missing, losers, behind, cpuSeconds: (user + system) / 1e6, awakeSeconds: 0, histogram: this.#latency.pairs() }
  }
}
