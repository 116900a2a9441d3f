// Group membership: who is or was in which group and when, and how a token's claim changes that. One record a user.
import { type Identity, MAX_GROUPS, type Membership, TooManyGroups } from '../broker.ts'
import { SECOND } from './clock.ts'

/** A past membership: ids in (from, to] were meant for the user. */
interface Span {
  readonly from: number
  readonly to: number
}

interface Mark {
  /** Undefined: not a member now. */
  joinedAt: number | undefined
  /** Joined through the API, so no claim takes it away. */
  byRoute: boolean
  /** The id at which the API took it away, so no older token brings it back; -1: never. */
  leftAt: number
  /** Earlier memberships, oldest first. */
  spans: Span[]
}

/** What is known of one user. */
export interface Member {
  /** The id of the first visit; undefined before a token of the user was seen. */
  firstVisit: number | undefined
  newestIssuedAtSeconds: number
  newestExpiresAtSeconds: number
  /** The `iat` of the newest claim; older ones change nothing. */
  claimIssuedAtSeconds: number
  readonly marks: Map<string, Mark>
  /** A cursor below this may lack notifications of a group whose past membership was forgotten. */
  forgottenTo: number
  /** When the record is removed (monotonic), unless the user is in a group by the API, or was just taken out of one. */
  expiresAtMs: number
}

/** How many past memberships of one group are remembered. */
const MAX_SPANS = 4
/** How many left groups of a user are remembered. */
const MAX_LEFT = 5000

export interface MembershipParts {
  readonly nextId: () => number
  readonly now: () => number
  /** Monotonic: if the wall clock leapt, records would expire while streams are open. */
  readonly steadyMs: () => number
  readonly historySeconds: number
  /** How long a left group is remembered, because an older token could bring it back. */
  readonly leftSeconds: () => number
  readonly tell: (userId: string, control: 'join' | 'leave', id: number, group: string) => void
}

function newMember (): Member {
  return {
    firstVisit: undefined,
    newestIssuedAtSeconds: -1,
    newestExpiresAtSeconds: 0,
    claimIssuedAtSeconds: -1,
    marks: new Map(),
    forgottenTo: 0,
    expiresAtMs: 0
  }
}

export class Memberships {
  readonly #parts: MembershipParts
  readonly #members = new Map<string, Member>()

  constructor (parts: MembershipParts) {
    this.#parts = parts
  }

  /** The record of a user, for reading. Undefined if there is none. */
  get (userId: string): Member | undefined {
    const member = this.#members.get(userId)
    return member === undefined || this.#isOver(member) ? undefined : member
  }

  #isOver ({ marks, expiresAtMs }: Member): boolean {
    const { now, steadyMs, leftSeconds } = this.#parts
    if (expiresAtMs > steadyMs()) return false
    const leftSince = now() - leftSeconds() * SECOND
    for (const { joinedAt, byRoute, leftAt } of marks.values()) if (joinedAt !== undefined ? byRoute : leftAt > leftSince) return false
    return true
  }

  /** The record of a user, for writing. */
  #touch (userId: string): Member {
    let member = this.get(userId)
    if (member === undefined) this.#members.set(userId, member = newMember())
    this.#extend(member)
    return member
  }

  #extend (member: Member): void {
    const { now, steadyMs, historySeconds } = this.#parts
    // A stream may live as long as its token, and come back within the history after that.
    const tokenSeconds = Math.max(0, member.newestExpiresAtSeconds - now() / SECOND)
    member.expiresAtMs = steadyMs() + (tokenSeconds + historySeconds) * 1000
  }

  /** Remembers a valid token of the user. */
  see ({ userId, issuedAtSeconds, expiresAtSeconds }: Identity): void {
    const member = this.#touch(userId)
    member.firstVisit ??= this.#parts.nextId()
    member.newestIssuedAtSeconds = Math.max(member.newestIssuedAtSeconds, issuedAtSeconds)
    member.newestExpiresAtSeconds = Math.max(member.newestExpiresAtSeconds, expiresAtSeconds)
    this.#extend(member)
  }

  groups (userId: string): Membership {
    const groups: Membership = new Map()
    for (const [group, { joinedAt }] of this.get(userId)?.marks ?? []) if (joinedAt !== undefined) groups.set(group, joinedAt)
    return groups
  }

  /** Throws TooManyGroups. */
  join (userId: string, group: string): void {
    const member = this.#touch(userId)
    if (member.marks.get(group)?.joinedAt === undefined && joinedOf(member) >= MAX_GROUPS) throw tooMany()
    this.#enter(userId, member, group, true)
  }

  /** Marks the group as left even if it was never joined, so that a token that claims it does not bring it in. */
  leave (userId: string, group: string): void {
    const member = this.#touch(userId)
    this.#exit(userId, member, group, true)
    this.#forgetOld(member)
  }

  /** Throws TooManyGroups; nothing has changed then. */
  replace (userId: string, wanted: readonly string[]): void {
    const kept = new Set(wanted)
    if (kept.size > MAX_GROUPS) throw tooMany()
    const member = this.#touch(userId)
    for (const [group, { joinedAt }] of member.marks) {
      if (joinedAt !== undefined && !kept.has(group)) this.#exit(userId, member, group, true)
    }
    for (const group of kept) this.#enter(userId, member, group, true)
    this.#forgetOld(member)
  }

  /**
   * Applies a token's claim. The newest claim replaces what older ones gave. Beyond MAX_GROUPS further groups are
   * ignored.
   */
  claim ({ userId, issuedAtSeconds }: Identity, groups: readonly string[]): void {
    const member = this.#touch(userId)
    if (issuedAtSeconds < member.claimIssuedAtSeconds) return
    if (issuedAtSeconds > member.claimIssuedAtSeconds) {
      const named = new Set(groups)
      for (const [group, { joinedAt, byRoute }] of member.marks) {
        if (joinedAt !== undefined && !byRoute && !named.has(group)) this.#exit(userId, member, group, false)
      }
      member.claimIssuedAtSeconds = issuedAtSeconds
    }
    let joined = joinedOf(member)
    for (const group of groups) {
      const mark = member.marks.get(group)
      const isLeft = mark !== undefined && issuedAtSeconds * SECOND <= mark.leftAt
      if (isLeft || mark?.joinedAt !== undefined || joined >= MAX_GROUPS) continue
      this.#enter(userId, member, group, false)
      joined++
    }
    this.#forgetOld(member)
  }

  #enter (userId: string, { marks }: Member, group: string, byRoute: boolean): void {
    let mark = marks.get(group)
    if (mark === undefined) marks.set(group, mark = { joinedAt: undefined, byRoute: false, leftAt: -1, spans: [] })
    mark.byRoute ||= byRoute
    if (mark.joinedAt !== undefined) return
    mark.joinedAt = this.#parts.nextId()
    this.#parts.tell(userId, 'join', mark.joinedAt, group)
  }

  #exit (userId: string, member: Member, group: string, byRoute: boolean): void {
    const id = this.#parts.nextId()
    const mark = member.marks.get(group) ?? { joinedAt: undefined, byRoute: false, leftAt: -1, spans: [] }
    if (mark.joinedAt !== undefined) mark.spans.push({ from: mark.joinedAt, to: id })
    if (mark.spans.length > MAX_SPANS) member.forgottenTo = Math.max(member.forgottenTo, mark.spans.shift()!.to)
    mark.joinedAt = undefined
    mark.byRoute = false
    if (byRoute) mark.leftAt = id
    // Moves it to the end, so that the group that was left last is forgotten last.
    member.marks.delete(group)
    member.marks.set(group, mark)
    this.#parts.tell(userId, 'leave', id, group)
  }

  /** Removes past memberships that no cursor or token can reach any more, and the oldest beyond MAX_LEFT. */
  #forgetOld (member: Member): void {
    const { now, historySeconds, leftSeconds } = this.#parts
    const spansSince = now() - historySeconds * SECOND
    const leftSince = now() - leftSeconds() * SECOND
    let left = 0
    for (const [group, mark] of member.marks) {
      mark.spans = mark.spans.filter(({ to }) => to > spansSince)
      if (mark.joinedAt !== undefined) continue
      if (mark.leftAt <= leftSince && mark.spans.length === 0) member.marks.delete(group)
      else left++
    }
    for (const [group, { joinedAt, spans }] of member.marks) {
      if (left <= MAX_LEFT) return
      if (joinedAt !== undefined) continue
      for (const { to } of spans) member.forgottenTo = Math.max(member.forgottenTo, to)
      member.marks.delete(group)
      left--
    }
  }

  sweep (): void {
    for (const [userId, member] of this.#members) {
      if (this.#isOver(member)) this.#members.delete(userId)
      else this.#forgetOld(member)
    }
  }
}

function joinedOf ({ marks }: Member): number {
  let count = 0
  for (const { joinedAt } of marks.values()) if (joinedAt !== undefined) count++
  return count
}

function tooMany (): TooManyGroups {
  return new TooManyGroups(`A user may be in at most ${MAX_GROUPS} groups; leave some before joining others`)
}
