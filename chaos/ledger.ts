// The account of a run: what publishers had acknowledged, who was a member of what and when, and what was published twice.

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
  readonly replayed: number
  readonly connection: number
  /** How many notifications the client had been told of when it came. */
  readonly toldBefore: number
  readonly afterMs: number
}

/** One publish to one or more addresses. */
export interface Sent {
  readonly mark: number
  readonly to: readonly string[]
  readonly kind: 'durable' | 'plain'
  /** Data losses that had happened when it was first asked for. */
  readonly lossesBefore: number
  /** The id as acknowledged, and the addresses that have it; none while nobody has. */
  ids: ReadonlyMap<number, readonly string[]>
  lossesAfter: number
}

/** A time in which a user was in a group that is joined and left on the way, in milliseconds since 1970. */
export interface Stay {
  /** Asked to join: may be one from here on. */
  readonly askedMs: number
  /** Joined, acknowledged: is one from here on. */
  sinceMs: number
  /** Asked to leave, or the data was lost: need not be one any more. */
  untilMs: number
  /** Left, acknowledged: must not be one any more. */
  goneMs: number
  /** The position of each of the user's clients when it was asked to leave: what was still under way then need not arrive. */
  readonly positions: Map<string, number>
}

export class Ledger {
  readonly sent: Sent[] = []
  /** `<user> <group>` → stays. */
  readonly #stays = new Map<string, Stay[]>()
  /** How often Redis has lost everything. */
  losses = 0

  /** To be entered before it is sent. */
  publishes (to: readonly string[], kind: Sent['kind'] = 'durable'): Sent {
    const sent: Sent = { mark: this.sent.length, to, kind, lossesBefore: this.losses, lossesAfter: this.losses, ids: new Map() }
    this.sent.push(sent)
    return sent
  }

  acknowledged (sent: Sent, answers: ReadonlyArray<{ readonly to: string, readonly id: number }>): void {
    const ids = new Map<number, string[]>()
    for (const { to, id } of answers) ids.set(id, [...ids.get(id) ?? [], to])
    sent.ids = ids
    sent.lossesAfter = this.losses
  }

  stays (userId: string, group: string): Stay[] {
    const key = `${userId} ${group}`
    let stays = this.#stays.get(key)
    if (stays === undefined) this.#stays.set(key, stays = [])
    return stays
  }

  asksToJoin (userId: string, group: string): Stay {
    const stay: Stay = { askedMs: Date.now(), sinceMs: Infinity, untilMs: Infinity, goneMs: Infinity, positions: new Map() }
    this.stays(userId, group).push(stay)
    return stay
  }

  /** `clients`: those of the user. */
  asksToLeave (stay: Stay, clients: ReadonlyArray<{ readonly options: { readonly name: string }, readonly position: number }>): void {
    if (stay.untilMs !== Infinity) return
    stay.untilMs = Date.now()
    for (const { options: { name }, position } of clients) stay.positions.set(name, position)
  }

  /** All that were acknowledged, by address, in id order. */
  owedByAddress (): Map<string, Array<{ id: number, sent: Sent }>> {
    const byAddress = new Map<string, Array<{ id: number, sent: Sent }>>()
    for (const sent of this.sent) {
      for (const [id, addresses] of sent.ids) {
        for (const to of addresses) {
          const list = byAddress.get(to)
          if (list === undefined) byAddress.set(to, [{ id, sent }])
          else list.push({ id, sent })
        }
      }
    }
    return byAddress
  }
}
