// Who a user should be in the model: the groups that they are and were in, by route and by claim, and what they have said of their inbox.
import type { InboxMark } from '../../src/broker/inbox.ts'

export const SECOND = 1_000_000
const MAX_SPANS = 4

/** From a join to a leave. */
interface Stay { readonly from: number, to: number | undefined, byRoute: boolean }

export interface User {
  readonly stays: Map<string, Stay[]>
  readonly leftByRoute: Map<string, number>
  claimIat: number
  firstVisit: number | undefined
  seen: number
  read: number
  marks: Map<number, InboxMark>
  /** When the cursors or marks changed last. */
  changedAt: number
  forgottenTo: number
}

export class Members {
  readonly #users = new Map<string, User>()

  protected user (userId: string): User {
    let user = this.#users.get(userId)
    if (user === undefined) {
      user = { stays: new Map(), leftByRoute: new Map(), claimIat: -1, firstVisit: undefined, seen: 0, read: 0, marks: new Map(), changedAt: 0, forgottenTo: 0 }
      this.#users.set(userId, user)
    }
    return user
  }

  groups (userId: string): string[] {
    return [...this.user(userId).stays].filter(([, stays]) => stays.at(-1)?.to === undefined).map(([group]) => group).sort()
  }

  protected current (user: User, group: string): Stay | undefined {
    const last = user.stays.get(group)?.at(-1)
    return last?.to === undefined ? last : undefined
  }

  join (userId: string, group: string, at: number, byRoute = true): void {
    const user = this.user(userId)
    const current = this.current(user, group)
    if (current === undefined) user.stays.set(group, [...user.stays.get(group) ?? [], { from: at, to: undefined, byRoute }])
    else current.byRoute ||= byRoute
  }

  leave (userId: string, group: string, at: number, byRoute = true): void {
    const user = this.user(userId)
    const current = this.current(user, group)
    if (byRoute) user.leftByRoute.set(group, at)
    if (current === undefined) return
    current.to = at
    const stays = user.stays.get(group)!
    if (stays.length > MAX_SPANS) user.forgottenTo = Math.max(user.forgottenTo, stays.shift()!.to!)
  }

  replaceGroups (userId: string, groups: readonly string[], at: number): void {
    for (const group of this.groups(userId)) if (!groups.includes(group)) this.leave(userId, group, at)
    for (const group of groups) this.join(userId, group, at)
  }

  claim (userId: string, iat: number, groups: readonly string[], at: number): void {
    const user = this.user(userId)
    if (iat < user.claimIat) return
    for (const group of this.groups(userId)) {
      if (iat > user.claimIat && !groups.includes(group) && !this.current(user, group)!.byRoute) this.leave(userId, group, at, false)
    }
    user.claimIat = iat
    for (const group of groups) if (iat * SECOND > (user.leftByRoute.get(group) ?? -1)) this.join(userId, group, at, false)
  }
}
