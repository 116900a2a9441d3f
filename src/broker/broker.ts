// The port between nodes: what a broker promises. The adapters, each in a folder, keep the promises.
import type { Address, Keep, Notification } from '../notification.ts'
import type { Inbox, InboxCounts } from './inbox.ts'
import type { BrokerListener } from './listener.ts'
import type { Meter } from './meters.ts'
import type { BrokerState } from './state.ts'
import type { Trail } from './trail.ts'

/**
 * Ids are integers in microseconds, one strictly growing order over all addresses. Whatever an id was given to
 * is published in that order on every channel, so a position (cursor) in that order is a position in everything.
 */
export interface Broker extends Messages, Members, Sessions, Store, Inbox {
  /** What it is, for a person: `/readyz` says it. */
  readonly name: string
  /** What nodes note of who got what. */
  readonly trail: Trail
  /** What it tells of itself to whoever watches, under names of its own. */
  readonly meters: readonly Meter[]

  /** Begins to work and keeps trying. */
  start: (listener: BrokerListener) => void
  /** Resolves when it is up for the first time, or can never be with these settings: `state()` says which. */
  readonly settled: Promise<void>
  state: () => BrokerState
  close: () => Promise<void>
}

/** Publishing, hearing, and reading what was published. */
export interface Messages {
  /**
   * Takes one id, whatever the number of addresses, appends to the log of each and publishes, all or nothing. An
   * address named twice is named once. The same `idempotencyKey` within 24 h publishes nothing and returns the first
   * answer. Of `keep: 'none'` nothing is stored and nothing has an id.
   * Throws Unavailable (nothing was stored) or Uncertain (no answer; it may have been).
   */
  publish: (request: PublishRequest) => Promise<PublishAnswer>
  /**
   * Takes a notification back from an address: it is gone from replay, lists and counts, and every stream of the
   * address hears `retracted` with `{ to, id, key? }`. False: there was none, or not any more; nobody hears anything.
   * Throws Revoked.
   */
  retract: (request: RetractRequest) => Promise<boolean>

  /** The channel on which a user hears what is published to an address. Pure. */
  channelOf: (userId: string, address: Address) => Channel
  /** What a channel is of. Pure. */
  addressOf: (channel: Channel) => Address
  /**
   * Resolves once the subscription is in force: what is published from then on reaches the listener. What is asked in
   * one turn of the event loop is asked together. Throws Unavailable.
   */
  subscribe: (channels: readonly Channel[]) => Promise<void>
  unsubscribe: (channels: readonly Channel[]) => void

  /**
   * What a stream needs to go on from a cursor, as of one moment: the groups of its user, which are made to follow the
   * token's claim (see Reader), and one page of what stands in their logs. Throws Revoked if the user has logged out
   * since the token was issued, or since the stream was let in.
   */
  resume: (query: ResumeQuery) => Promise<HistoryPage>
}

/** Who is in which group, and who is here. */
export interface Members {
  /** The groups of a user. */
  groups: (userId: string) => Promise<Membership>
  /** Throws TooManyGroups. */
  join: (userId: string, group: string) => Promise<void>
  leave: (userId: string, group: string) => Promise<void>
  /** Throws TooManyGroups. */
  replaceGroups: (userId: string, groups: readonly string[]) => Promise<void>
  /** How many nodes are subscribed to the user's channel. */
  presence: (userId: string) => Promise<number>
}

/** Whose token still counts, and which stream holds the one session of a user. */
export interface Sessions {
  /** Before a stream opens: whether its token and, where only one stream is allowed, its cursor still count. */
  visit: (visitor: Visitor) => Promise<Visit>
  /** Ends every stream of the user, and refuses tokens issued up to now. */
  logout: (userId: string) => Promise<void>
  /**
   * Takes the user's one session for a stream; the holder so far hears `takeover`. Undefined: the cursor is that of a
   * stream that was replaced while it was away.
   */
  takeSession: (userId: string, tag: string, cursor: number | 'fresh') => Promise<Session | undefined>
  /** The tags of those that hold their session no more. Of many too, nobody else waits for long. */
  verifySessions: (sessions: ReadonlyArray<{ readonly userId: string, readonly session: Session }>) => Promise<string[]>
}

/**
 * Small things that every node must find. `home` is a user's id, or what `homeOf` says of one: what is kept stands with
 * all else of that user.
 */
export interface Store {
  /** A short name that says nothing of the user but where things of them are kept. Pure. */
  homeOf: (userId: string) => string
  put: (home: string, key: string, text: string, seconds: number) => Promise<void>
  get: (home: string, key: string) => Promise<string | undefined>
  /** Reads and deletes, so that only one caller ever gets it. */
  take: (home: string, key: string) => Promise<string | undefined>
  /** Takes what is under `key` and puts `kept`; neither, and undefined, if nothing is there. One caller gets it. */
  exchange: (home: string, key: string, kept: { readonly key: string, readonly text: string, readonly seconds: number }) => Promise<string | undefined>
  /** Counts up. Each is remembered for as long as it says; when none is any more, the count begins anew. */
  ordinal: (home: string, key: string, seconds: number) => Promise<number>
  /** Counts in a window that begins with its first hit. */
  hit: (home: string, key: string, windowMs: number, hits?: number) => Promise<{ count: number, restMs: number }>
}

/** Where messages of an address arrive for the users of one partition. The hub compares it and never reads it. */
export type Channel = string

/** Whose token it is, and since when: what revocation looks at. */
export interface Identity {
  readonly userId: string
  /** Seconds since 1970, as in a token's `iat`; 0 when the token does not say. */
  readonly issuedAtSeconds: number
  /** Seconds since 1970, as in its `exp`. What the user leaves behind is kept at least until then. */
  readonly expiresAtSeconds: number
}

/**
 * Who reads. With a token, the groups follow its claim first. The newest claim counts, by `issuedAtSeconds`: what it
 * names is joined (except what `leave` or `replaceGroups` took away in its second or later, and beyond MAX_GROUPS),
 * what an older one gave and it does not name is left. Of several of one age each adds; an older one changes nothing.
 * What `join` or `replaceGroups` gave stays. Without a claim (`groups` undefined) nothing changes. Without `token` a
 * back end reads for the user: nothing changes and nothing is refused.
 */
export interface Reader {
  readonly userId: string
  readonly token?: Identity & { readonly groups?: readonly string[] | undefined }
}

export interface PublishRequest {
  readonly to: readonly Address[]
  readonly event: string
  /** The data as it came, one line of JSON. */
  readonly json: string
  readonly keep: Keep
  /** After this it is not replayed, listed or counted; at most, and by default, HISTORY_SECONDS. */
  readonly ttlSeconds?: number | undefined
  /** Of the same address, a newer one with the same key takes the older one's place. */
  readonly key?: string | undefined
  /** The W3C trace context of the publish; rides in the message. */
  readonly traceparent?: string | undefined
  /** Already bound to the publisher; two publishers never share a key. */
  readonly idempotencyKey?: string | undefined
  /** Throws Revoked if they have logged out since their token was issued. */
  readonly publisher?: Identity | undefined
}

export interface RetractRequest {
  readonly to: Address
  readonly what: { readonly id: number } | { readonly key: string }
  readonly publisher?: Identity | undefined
}

export interface Visitor extends Identity {
  /** Where a stream resumes from, if only one a user is allowed; undefined otherwise. */
  readonly sessionCursor?: number | 'fresh' | undefined
  /** Counted up by the visit, each in a window of VISIT_WINDOW_MS that begins with its first hit. */
  readonly counters?: readonly string[]
}

export interface Visit {
  readonly verdict: 'admitted' | 'revoked' | 'replaced'
  /** What the counters say now, in their order. A revoked visit is not counted: all are 0. */
  readonly counts: readonly number[]
  /** The id of the visit; 0 of a revoked one. A logout after it ends the stream, whatever its token says of its age. */
  readonly admittedAt: number
}

export const VISIT_WINDOW_MS = 60_000

export interface Session {
  readonly tag: string
  /** When it was taken, in the order of ids. */
  readonly takenAt: number
  /** Cursors below this are those of replaced streams. */
  readonly fence: number
}

export interface PublishAnswer {
  /** True when an earlier call with the same key had published already. */
  readonly replayed: boolean
  /** Undefined for `keep: 'none'`. */
  readonly id: number | undefined
  readonly notifications: ReadonlyArray<{ readonly to: Address, readonly receivers: number }>
  /** Partitions that are away and get it when they are back; undefined: none. */
  readonly pending?: number
}

/** Group name → id at which the user joined. */
export type Membership = Map<string, number>

export interface ResumeQuery {
  readonly user: Identity
  /** What the token claims; undefined if it has no claim. */
  readonly groups: readonly string[] | undefined
  /** From the visit that let the stream in. */
  readonly admittedAt: number
  /** Read after this position; `fresh` reads no entries, only the clock and the unread count. */
  readonly cursor: number | 'fresh'
  /** The page ends before its data exceeds this. At least one entry is returned if there is one. */
  readonly maxBytes: number
}

export interface HistoryPage {
  /** All that is addressed to the user with an id up to here is in the page or before it. */
  readonly position: number
  readonly membership: Membership
  /**
   * Something after the cursor may be missing: trimmed, older than the history, evicted or lost; or it was published to
   * a group while the user was in it, and they are not any more (if they are again, it is among the entries). What was
   * replaced, retracted, dismissed, or outlived its `ttl` is not missing.
   */
  readonly gap: boolean
  /** The page is full; read on from its position. */
  readonly more: boolean
  /**
   * Oldest first. What several streams are owed may be the same objects. They live as long as the page, since what is
   * made of one (a frame) lives as long as it does.
   */
  readonly entries: readonly Notification[]
  /** As of the position. Only the last page, and one with a gap, must have it; elsewhere it may be all 0. */
  readonly inbox: InboxCounts
}

/** What a broker keeps. */
export interface HistoryLimits {
  /** Entries that the log of a user keeps, at least. */
  readonly historyLength: number
  /** The same of a group and of `all`. */
  readonly groupHistoryLength: number
  readonly historySeconds: number
  readonly maxDataBytes: number
}

/** Groups that one user may be in. */
export const MAX_GROUPS = 1000

export class Unavailable extends Error {}
export class Uncertain extends Error {}
export class TooManyGroups extends Error {}
export class Revoked extends Error {}
