// The embedded broker's records for "why", and the evidence read from its logs.
import { type Address, ALL, groupAddress, userAddress } from '../../notification.ts'
import type { Channel } from '../broker.ts'
import { FuturePosition, type InboxMark } from '../inbox.ts'
import { type Evidence, MAX_TRAIL, type Place, type Receipt, type Trail } from '../trail.ts'
import { SECOND } from './clock.ts'
import type { Log } from './log.ts'
import type { Logs } from './logs.ts'
import type { Member } from './membership.ts'

/** How many notifications have receipts at most. The oldest are dropped. */
const MAX_RECEIPTS = 100_000
/** How many receipts one notification has at most. No more nodes than this share a bus. */
const MAX_NODES = 64

interface Lines {
  /** Newest first. */
  lines: string[]
  expiresAt: number
}

export interface TrailParts {
  readonly now: () => number
  readonly born: number
  readonly historySeconds: number
  readonly logs: Logs
  readonly memberOf: (userId: string) => Member | undefined
  readonly cursorsOf: (userId: string, id: number) => { readonly seen: number, readonly read: number, readonly mark: InboxMark | undefined }
}

export class MemoryTrail implements Trail {
  readonly #parts: TrailParts
  readonly #lines = new Map<string, Lines>()
  readonly #reads = new Map<string, Lines>()
  readonly #receipts = new Map<number, Receipt[]>()
  readonly #written = new Map<string, number>()
  #isUnnoted = false

  constructor (parts: TrailParts) {
    this.#parts = parts
  }

  wrote (node: string, _channel: Channel, id: number, receipt?: { readonly atMs: number, readonly streams: number }): void {
    if (id > (this.#written.get(node) ?? 0)) this.#written.set(node, id)
    if (receipt === undefined) return
    const receipts = this.#receipts.get(id)
    if (receipts === undefined) this.#receipts.set(id, [{ node, ...receipt }])
    else if (receipts.length < MAX_NODES) receipts.push({ node, ...receipt })
    if (this.#receipts.size > MAX_RECEIPTS) this.#receipts.delete(this.#receipts.keys().next().value!)
  }

  note (userId: string, line: string): void {
    const expiresAt = this.#parts.now() + this.#parts.historySeconds * SECOND
    // Kept apart, so that many reads do not push out what is known of the user's streams.
    const all = line.startsWith('read ') ? this.#reads : this.#lines
    all.set(userId, { lines: [line, ...this.#linesOf(all, userId)].slice(0, MAX_TRAIL), expiresAt })
  }

  #linesOf (all: ReadonlyMap<string, Lines>, userId: string): string[] {
    const entry = all.get(userId)
    return entry !== undefined && entry.expiresAt > this.#parts.now() ? entry.lines : []
  }

  keepsNone (): void {
    this.#isUnnoted = true
  }

  async flush (): Promise<void> {}

  async evidence (userId: string, id: number): Promise<Evidence> {
    const { now, born, historySeconds, memberOf, cursorsOf } = this.#parts
    const position = now()
    if (id > position) throw new FuturePosition('this position lies in the future')
    const places: Place[] = []
    const trimmed: Array<{ to: Address, upTo: number }> = []
    let isForgetful = false
    for (const [to, memberships] of addressesOf(userId, memberOf(userId))) {
      const log = this.#parts.logs.get(to)
      const place = log && placeOf(log, to, id, memberships)
      if (place !== undefined) places.push(place)
      else if (log !== undefined && memberships.some((span) => id > span.from && id <= span.to)) {
        if (log.trimmedTo >= id) trimmed.push({ to, upTo: log.trimmedTo })
        isForgetful ||= log.isForgetful(id)
      }
    }
    return {
      id,
      position,
      historyFrom: Math.max(born - 1, position - historySeconds * SECOND),
      places,
      trimmed,
      isForgetful,
      isUnnoted: this.#isUnnoted,
      ...cursorsOf(userId, id),
      trail: this.#linesOf(this.#lines, userId),
      reads: this.#linesOf(this.#reads, userId),
      receipts: this.#receipts.get(id) ?? [],
      written: this.#written
    }
  }

  sweep (): void {
    const now = this.#parts.now()
    const since = now - this.#parts.historySeconds * SECOND
    for (const all of [this.#lines, this.#reads]) {
      for (const [userId, { expiresAt }] of all) if (expiresAt <= now) all.delete(userId)
    }
    for (const id of this.#receipts.keys()) {
      if (id > since) break
      this.#receipts.delete(id)
    }
    for (const [node, upTo] of this.#written) if (upTo <= since) this.#written.delete(node)
  }
}

type Memberships = Place['memberships']

const always: Memberships = [{ from: 0, to: Infinity }]

/** The addresses that a user has or had, with the times. */
function * addressesOf (userId: string, member: Member | undefined): Generator<[Address, Memberships]> {
  yield [userAddress(userId), always]
  yield [ALL, always]
  for (const [group, { joinedAt, spans }] of member?.marks ?? []) {
    const memberships = [...joinedAt === undefined ? [] : [{ from: joinedAt, to: Infinity }], ...spans]
    if (memberships.length > 0) yield [groupAddress(group), memberships]
  }
}

function placeOf (log: Log, to: Address, id: number, memberships: Memberships): Place | undefined {
  const entry = log.get(id)
  if (entry !== undefined) {
    const { keep, expiresAt } = entry
    return { to, state: 'kept', goneAt: 0, keep, expiresAt: expiresAt === Infinity ? undefined : expiresAt, memberships }
  }
  const buried = log.buried(id)
  return buried && { to, state: buried.state, goneAt: buried.at, keep: undefined, expiresAt: undefined, memberships }
}
