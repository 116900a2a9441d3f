// Records for "why" on Redis: sends what a node records once a second in one library call, and reads the evidence.
import type { Address } from '../../notification.ts'
import type { Channel } from '../broker.ts'
import type { InboxMark } from '../inbox.ts'
import type { Evidence, Gone, Place, Receipt, Trail } from '../trail.ts'
import type { RedisCommands } from './commands.ts'

/** The most records that wait to be sent. Further ones are lost. */
const MAX_WAITING = 20_000
/** Receipts in one entry in Redis. why.lua reckons with 4 KB. */
const RECEIPTS_IN_BATCH = 256
/** Lines in one call, since Redis serves nobody else meanwhile. */
const LINES_AT_ONCE = 500

/** How often a node without receipts says so. Each time it holds for 15 s (why.lua). */
const SAY_NONE_EVERY_MS = 10_000

type PlaceReply = [to: string, state: '' | 'r' | 'p' | 'x', goneAt: string, expiresAt: string, isReplay: string, memberships: string]
type WhyReply = [
  id: string, position: string, historyFrom: string, places: PlaceReply[], trimmed: string[], isForgetful: number,
  seen: string, read: string, mark: '' | 'r' | 'u' | 'd', trail: string[], reads: string[], receipts: string[], written: string[],
  absent: string[], isUnnoted: number
]

/**
 * A group of which the user was no member at that time, with the times of membership. This partition may have no copy
 * of the notification.
 */
export type Absence = [to: Address, memberships: string]

const STATES: Readonly<Record<PlaceReply[1], 'kept' | Gone>> = { '': 'kept', r: 'retracted', p: 'replaced', x: 'expired' }
const MARKS: Readonly<Record<WhyReply[8], InboxMark | undefined>> = { '': undefined, r: 'read', u: 'unread', d: 'dismissed' }

/** What one node wrote since the last call. */
interface Waiting {
  upTo: number
  readonly receipts: Array<{ readonly id: number, readonly lateMs: number, readonly streams: number }>
}

export class RedisTrail implements Trail {
  readonly #commands: RedisCommands
  readonly #prefix: string
  #nodes = new Map<string, Waiting>()
  #lines: string[] = []
  #waiting = 0
  #flushing: Promise<void> | undefined
  /** When this node must say again that it keeps no receipts, in monotonic milliseconds. */
  #sayNoneAtMs = Infinity

  constructor (commands: RedisCommands, prefix: string) {
    this.#commands = commands
    this.#prefix = prefix
  }

  wrote (node: string, _channel: Channel, id: number, receipt?: { readonly atMs: number, readonly streams: number }): void {
    let waiting = this.#nodes.get(node)
    if (waiting === undefined) this.#nodes.set(node, waiting = { upTo: 0, receipts: [] })
    if (id > waiting.upTo) waiting.upTo = id
    if (receipt === undefined || this.#waiting >= MAX_WAITING) return
    this.#waiting++
    waiting.receipts.push({ id, lateMs: Math.round(receipt.atMs) - Math.round(id / 1000), streams: receipt.streams })
  }

  note (userId: string, line: string): void {
    if (this.#waiting >= MAX_WAITING) return
    this.#waiting++
    this.#lines.push(userId, line)
  }

  keepsNone (): void {
    this.#sayNoneAtMs = -Infinity
  }

  /** Also called once a second. */
  async flush (): Promise<void> {
    while (this.#flushing !== undefined) await this.#flushing
    if (this.#nodes.size === 0 && this.#lines.length === 0 && performance.now() < this.#sayNoneAtMs) return
    this.#flushing = this.#send().finally(() => { this.#flushing = undefined })
    await this.#flushing
  }

  async #send (): Promise<void> {
    const nodes = this.#nodes
    let lines = this.#lines
    this.#nodes = new Map()
    this.#lines = []
    this.#waiting = 0
    // Records must not make a node unready nor delay anything, so what Redis does not take is lost.
    const record = async (...args: Array<string | number>): Promise<unknown> => await this.#commands.call(this.#prefix, 'tidings_record', args).catch(() => {})
    if (performance.now() >= this.#sayNoneAtMs && await record('', 'none', 0) !== undefined) this.#sayNoneAtMs = performance.now() + SAY_NONE_EVERY_MS
    for (const [node, { upTo, receipts }] of nodes) {
      const batches: Array<string | number> = []
      for (let at = 0; at < receipts.length; at += RECEIPTS_IN_BATCH) batches.push(...batchOf(receipts.slice(at, at + RECEIPTS_IN_BATCH)))
      await record(node, upTo, batches.length / 2, ...batches, ...lines.slice(0, 2 * LINES_AT_ONCE))
      lines = lines.slice(2 * LINES_AT_ONCE)
    }
    for (; lines.length > 0; lines = lines.slice(2 * LINES_AT_ONCE)) await record('', '', 0, ...lines.slice(0, 2 * LINES_AT_ONCE))
  }

  async evidence (userId: string, id: number): Promise<Evidence> {
    return (await this.evidenceHere(userId, id)).evidence
  }

  /** The same, with the groups about which their home partition may know more. */
  async evidenceHere (userId: string, id: number): Promise<{ evidence: Evidence, absences: Absence[] }> {
    await this.flush()
    const [ownId, position, historyFrom, places, trimmed, isForgetful, seen, read, mark, trail, reads, receipts, written, absent, isUnnoted] =
      await this.#commands.call(this.#prefix, 'tidings_why', [userId, id]) as WhyReply
    const evidence = {
      id: Number(ownId),
      position: Number(position),
      historyFrom: Number(historyFrom),
      places: places.map(readPlace),
      trimmed: pairs(trimmed).map(([to, upTo]) => ({ to, upTo: Number(upTo) })),
      isForgetful: isForgetful === 1,
      isUnnoted: isUnnoted === 1,
      seen: Number(seen),
      read: Number(read),
      mark: MARKS[mark],
      trail,
      reads,
      receipts: readReceipts(receipts, Number(ownId)),
      written: new Map(pairs(written).map(([node, upTo]) => [node, Number(upTo)]))
    }
    return { evidence, absences: pairs(absent) as Absence[] }
  }

  /** Looks an id up in the logs of groups that have their home in this partition. */
  async stands (id: number, absences: readonly Absence[]): Promise<Place[]> {
    return (await this.#commands.call(this.#prefix, 'tidings_stands', [id, ...absences.flat()]) as PlaceReply[]).map(readPlace)
  }
}

// [first id, ";<id - first> <ms since its id> <streams>…"]
function batchOf (receipts: Waiting['receipts']): [first: number, text: string] {
  const first = receipts.reduce((least, { id }) => Math.min(least, id), Infinity)
  return [first, receipts.map(({ id, lateMs, streams }) => `;${id - first} ${lateMs} ${streams}`).join('')]
}

function readPlace ([to, state, goneAt, expiresAt, isReplay, memberships]: PlaceReply): Place {
  return {
    to,
    state: STATES[state],
    goneAt: Number(goneAt),
    keep: state !== '' ? undefined : isReplay === '1' ? 'replay' : 'inbox',
    expiresAt: expiresAt === '' ? undefined : Number(expiresAt),
    memberships: [...memberships.matchAll(/(\d+):(\d*)/g)].map(([, from, to]) => ({ from: Number(from), to: to === '' ? Infinity : Number(to) }))
  }
}

function readReceipts (flat: readonly string[], id: number): Receipt[] {
  const receipts: Receipt[] = []
  for (let i = 0; i < flat.length; i += 3) receipts.push({ node: flat[i]!, atMs: Math.round(id / 1000) + Number(flat[i + 1]), streams: Number(flat[i + 2]) })
  return receipts
}

function pairs (flat: readonly string[]): Array<[string, string]> {
  const all: Array<[string, string]> = []
  for (let i = 0; i < flat.length; i += 2) all.push([String(flat[i]), String(flat[i + 1])])
  return all
}
