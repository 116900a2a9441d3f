// The account of a run: what publishers had acknowledged, who was a member of what and when, and what was published
// twice.

/** By how much replicas may be behind their master, in microseconds. */
const LAG_US = 10_000_000

export interface Told {
  /** 0: a plain PUBLISH, which has none. */
  readonly id: number
  /** What the publisher wrote into it, -1 where nobody did. */
  readonly mark: number
  /** The client's connection, counted from 1. */
  readonly connection: number
  readonly event: string
}

export interface Sync {
  readonly id: number
  readonly resume: 'fresh' | 'complete' | 'incomplete'
  /** Milliseconds of `performance.now()`. */
  readonly atMs: number
  readonly replayed: number
  readonly connection: number
  /** How many notifications the client had been told of when it came. */
  readonly toldBefore: number
  /**
   * Said before the history that it is about (`more`): the newest id that anybody had acknowledged by then. Whoever is
   * told fetches anew what was published until then.
   */
  readonly newest?: number
}

/** One publish to one or more addresses. */
export interface Sent {
  readonly mark: number
  readonly to: readonly string[]
  readonly kind: 'durable' | 'plain'
  /** When it was asked for and answered, in milliseconds of `performance.now()`. */
  readonly askedMs: number
  answeredMs: number
  /** Data losses that had happened when it was first asked for. */
  readonly lossesBefore: number
  /** As acknowledged, one for all addresses (more than one is a fault of the service); none while nobody has. */
  ids: readonly number[]
  lossesAfter: number
  /** Changes of masters that had begun or ended when it was asked for, and answered. */
  readonly changesBefore: number
  changesAfter: number
}

/**
 * Asked for or answered while masters changed: of two masters at once nobody can say which one took it, and a copy that
 * was heard may be lost and made again. What is lost of it must be told, whenever that is.
 */
export function isUnsettled ({ changesBefore, changesAfter }: Sent): boolean {
  return changesBefore !== changesAfter || changesBefore % 2 === 1
}

/**
 * A time in which a user was in a group that is joined and left on the way. In ids of the user's partition, whose order
 * no clock can disturb.
 */
export interface Stay {
  /** Asked to join: may be one from here on. */
  readonly asked: number
  /** Joined, acknowledged: is one from here on. */
  since: number
  /** Asked to leave, or the data was lost: need not be one any more. */
  until: number
  /** Left, acknowledged: must not be one any more. */
  gone: number
  /** The times of `since` and `until`, in milliseconds of `performance.now()`. */
  sinceMs: number
  untilMs: number
}

export class Ledger {
  readonly sent: Sent[] = []
  /** When faults began, in milliseconds of `performance.now()`: what is told to people counts from here. */
  beganMs = 0
  /** `<user> <group>` → stays. */
  readonly #stays = new Map<string, Stay[]>()
  /** The greatest id that was acknowledged. */
  newest = 0
  /** How often Redis has lost everything, or something. */
  losses = 0
  /** How often masters began to change, and had changed. */
  changes = 0
  /** From the beginning of each loss until every node had heard of it, in milliseconds of `performance.now()`. */
  readonly #lossTimes: Array<{ readonly beganMs: number, untilMs: number }> = []
  /**
   * When masters changed, and when all was well again after that; as ids have it: in microseconds of the wall clock.
   */
  readonly #changeTimes: Array<{ readonly from: number, until: number, healed: number }> = []

  loses (): void {
    this.losses++
    this.#lossTimes.push({ beganMs: performance.now(), untilMs: Infinity })
  }

  /** Masters begin to change. What it returns is to be called when they have changed. */
  mastersChange (): () => void {
    const time = { from: Date.now() * 1000, until: Infinity, healed: Infinity }
    this.#changeTimes.push(time)
    this.losses++
    this.changes++
    return () => {
      time.until = Date.now() * 1000
      this.losses++
      this.changes++
    }
  }

  /**
   * Whether masters changed between the first and the last of these, the ids of one notification in one partition, and
   * it was not long before, nor after all was well again. A master that was stopped runs what it had been sent before,
   * until it hears that it is a master no more; and what replicas did not have yet is copied again: a copy that was
   * owed then is told again, whenever it was published.
   */
  isOverChange (ids: Iterable<number>): boolean {
    const [first, last] = [Math.min(...ids), Math.max(...ids)]
    return this.#changeTimes.some(({ from, until, healed }) => first <= until && last >= from && first >= from - LAG_US && last <= healed)
  }

  /** Every node is ready again, and every client live. */
  healed (): void {
    for (const time of this.#lossTimes) time.untilMs = Math.min(time.untilMs, performance.now())
    for (const time of this.#changeTimes) if (time.until < Infinity) time.healed = Math.min(time.healed, Date.now() * 1000)
  }

  /**
   * A Redis that lost everything knows from its nodes how far ids had come. Until the first of them has told, it gives
   * ids that are smaller, or were given before.
   */
  mayHaveOldId ({ askedMs, answeredMs }: Sent): boolean {
    return this.#lossTimes.some(({ beganMs, untilMs }) => askedMs < untilMs && answeredMs > beganMs)
  }

  /** To be entered before it is sent. */
  publishes (to: readonly string[], kind: Sent['kind'] = 'durable'): Sent {
    const { losses, changes } = this
    const sent: Sent = {
      mark: this.sent.length,
      to,
      kind,
      lossesBefore: losses,
      lossesAfter: losses,
      ids: [],
      askedMs: performance.now(),
      answeredMs: Infinity,
      changesBefore: changes,
      changesAfter: changes
    }
    this.sent.push(sent)
    return sent
  }

  acknowledged (sent: Sent, ids: readonly number[]): void {
    sent.ids = [...new Set(ids)]
    sent.lossesAfter = this.losses
    sent.answeredMs = performance.now()
    sent.changesAfter = this.changes
    this.newest = Math.max(this.newest, ...ids)
  }

  /** A publish, for people: where to, and when by the clock that the faults are told by. */
  tell ({ mark, to, kind, askedMs, answeredMs, ids, changesBefore, changesAfter }: Sent): string {
    const at = (ms: number): string => Number.isFinite(ms) ? `${((ms - this.beganMs) / 1000).toFixed(2)} s` : 'never'
    const changes = changesBefore === changesAfter && changesBefore % 2 === 0 ? '' : ', while masters changed'
    return `${kind} ${mark} to ${to.join(', ')}, asked at ${at(askedMs)}, answered ${ids.join(', ') || 'nothing'} at ${at(answeredMs)}${changes}`
  }

  stays (userId: string, group: string): Stay[] {
    const key = `${userId} ${group}`
    let stays = this.#stays.get(key)
    if (stays === undefined) this.#stays.set(key, stays = [])
    return stays
  }

  /** `asked`: an id that was given before. */
  asksToJoin (userId: string, group: string, asked: number): Stay {
    const stay: Stay = { asked, since: Infinity, until: Infinity, gone: Infinity, sinceMs: Infinity, untilMs: Infinity }
    this.stays(userId, group).push(stay)
    return stay
  }

  /** All that were acknowledged, by address, in the order in which they were asked for. */
  byAddress (): Map<string, Array<{ id: number, sent: Sent }>> {
    const byAddress = new Map<string, Array<{ id: number, sent: Sent }>>()
    for (const sent of this.sent) {
      for (const id of sent.ids) {
        for (const to of sent.to) {
          const list = byAddress.get(to)
          if (list === undefined) byAddress.set(to, [{ id, sent }])
          else list.push({ id, sent })
        }
      }
    }
    return byAddress
  }
}
