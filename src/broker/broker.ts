// The port between nodes: what a broker promises. The adapters in memory/ and redis/ keep the promises.
import type { Address, Notification } from '../notification.ts'

/**
 * Ids are integers in microseconds, one strictly growing order over all addresses. Whatever an id was given to
 * is published in that order on every channel, so a position (cursor) in that order is a position in everything.
 */
export interface Broker {
  readonly kind: 'memory' | 'redis'

  /** Begins to work and keeps trying. Resolves at once; `state().up` tells when it is there. */
  start: (listener: BrokerListener) => void

  /**
   * Gives each address an id, appends to its log and publishes, all or nothing.
   * The same `idempotencyKey` within 24 h publishes nothing and returns the first answer.
   * Throws Unavailable (nothing was stored) or Uncertain (no answer; it may have been).
   */
  publish: (request: PublishRequest) => Promise<PublishAnswer>

  /** Resolves once the subscription is in force: what is published from then on reaches the listener. */
  subscribe: (addresses: readonly Address[]) => Promise<void>
  unsubscribe: (addresses: readonly Address[]) => void

  /** The groups of a user. */
  groups: (userId: string) => Promise<Membership>
  join: (userId: string, group: string) => Promise<void>
  leave: (userId: string, group: string) => Promise<void>
  replaceGroups: (userId: string, groups: readonly string[]) => Promise<void>

  /**
   * What a stream needs to go on from a cursor, as of one moment: the groups of its user, joined as the token claims (except those left at
   * or after it was issued and those beyond MAX_GROUPS), and one page of what stands in their logs. Throws Revoked if the user has logged
   * out since the token was issued.
   */
  resume: (query: ResumeQuery) => Promise<HistoryPage>

  /** Before a stream opens: whether its token and, where only one stream is allowed, its cursor still count. Counts the visit. */
  admit: (visitor: Visitor) => Promise<Admission>
  /** Ends every stream of the user, and refuses tokens issued up to now. */
  logout: (userId: string) => Promise<void>
  /**
   * Takes the user's one session for a stream; the holder so far hears `takeover`. Undefined: the cursor is that of a stream that was
   * replaced while it was away.
   */
  claimSession: (userId: string, tag: string, cursor: number | undefined) => Promise<Session | undefined>
  /** The tags of those that hold their session no more. */
  verifySessions: (sessions: ReadonlyArray<{ readonly userId: string, readonly session: Session }>) => Promise<string[]>

  /** Keeps a text for a while, for every node. */
  keep: (key: string, text: string, seconds: number) => Promise<void>
  /** Reads what was kept; `take` also forgets it, so that only one caller ever gets it. */
  read: (key: string) => Promise<string | undefined>
  take: (key: string) => Promise<string | undefined>
  /** Counts in a window that begins with its first hit. */
  hit: (key: string, windowMs: number, hits?: number) => Promise<{ count: number, restMs: number }>

  /** How many nodes are subscribed to the user's channel. */
  presence: (userId: string) => Promise<number>

  state: () => BrokerState
  close: () => Promise<void>
}

export interface BrokerListener {
  /** A notification arrived on the channel of an address. Order on all channels together is the order of ids. */
  notification: (address: Address, notification: Notification) => void
  /** Something for the streams of a user, in the same order. */
  control: (userId: string, control: Control) => void
  /** Messages may be missing from now on; hold the streams. */
  interrupted: () => void
  /** All channels are subscribed again; refill the streams from the logs. */
  restored: () => void
  /** A channel message was dropped: not JSON, too large, a reserved or malformed event name. */
  dropped: (address: Address, reason: DropReason) => void
}

export type DropReason = 'malformed' | 'oversized' | 'reserved'

export type Control =
  | { readonly control: 'join' | 'leave', readonly id: number, readonly group: string }
  /** Another stream holds the user's session now; `tag` names it. */
  | { readonly control: 'takeover', readonly id: number, readonly tag: string }
  | { readonly control: 'logout', readonly id: number }

export interface PublishRequest {
  readonly to: readonly Address[]
  readonly event: string
  /** The data, serialised as one line of JSON. */
  readonly json: string
  /** Already bound to the publisher; two publishers never share a key. */
  readonly idempotencyKey?: string | undefined
  /** Whose token it is. Throws Revoked if they have logged out since it was issued. */
  readonly publisher?: { readonly userId: string, readonly issuedAtSeconds: number }
}

export interface Visitor {
  readonly userId: string
  readonly issuedAtSeconds: number
  /** Where a stream resumes from, if only one a user is allowed; undefined otherwise, or when it is fresh. */
  readonly sessionCursor?: number | undefined
  /** Counted up by the visit, each in a window of VISIT_WINDOW_MS that begins with its first hit. */
  readonly counters?: readonly string[]
}

export interface Admission {
  readonly verdict: 'admitted' | 'revoked' | 'replaced'
  /** What the counters say now, in their order. */
  readonly counts: readonly number[]
}

export const VISIT_WINDOW_MS = 60_000

export interface Session {
  readonly tag: string
  /** When it was claimed, in the order of ids. */
  readonly claimId: number
  /** Cursors below this are those of replaced streams. */
  readonly fence: number
}

export interface PublishAnswer {
  /** True when an earlier call with the same key had published already. */
  readonly replayed: boolean
  readonly notifications: ReadonlyArray<{ readonly to: Address, readonly id: number, readonly receivers: number }>
}

export interface GroupClaim {
  readonly groups: readonly string[]
  /** Seconds since 1970, as in a token's `iat`; 0 when the token does not say. */
  readonly issuedAtSeconds: number
}

/** Group name → id at which the user joined. */
export type Membership = Map<string, number>

export interface ResumeQuery {
  readonly userId: string
  readonly claim: GroupClaim
  /** Read after this position; `undefined` reads no entries, only the clock and the unread count. */
  readonly cursor: number | undefined
  /** The page ends before its data exceeds this. At least one entry is returned if there is one. */
  readonly maxBytes: number
}

export interface HistoryPage {
  /** The position of this page: all that is addressed to the user with an id up to here is in the page or before it. */
  readonly position: number
  readonly membership: Membership
  /**
   * Something after the cursor may be missing: trimmed, expired, or lost. Also if `gap:<userId>` is kept as "<from> <to>" and the
   * cursor lies between: then a stream was cut off before it could be told.
   */
  readonly gap: boolean
  /** The page is full; read on from its last entry. */
  readonly more: boolean
  /** Oldest first. What several streams are owed may be the same objects. */
  readonly entries: readonly Notification[]
  /** Notifications that the user has not read, counted up to MAX_UNREAD. Of the last page; before it, it may be 0. */
  readonly unread: number
}

export interface BrokerState {
  /** Both ways work: publishing and hearing. */
  readonly up: boolean
  /** For a person: what is wrong and since when. */
  readonly detail: string
  readonly channels: number
  /** For how long in all, since the start, nothing was heard from the other nodes. */
  readonly deafSeconds: number
}

/** What a broker keeps. */
export interface HistoryLimits {
  /** Entries a log keeps, at least. */
  readonly historyLength: number
  readonly historySeconds: number
  readonly maxDataBytes: number
}

/** Groups that one user may be in. */
export const MAX_GROUPS = 1000

export class Unavailable extends Error {}
export class Uncertain extends Error {}
export class TooManyGroups extends Error {}
export class Revoked extends Error {}
