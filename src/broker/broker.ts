// The port that connects nodes: what every broker promises. Each adapter has a folder of its own.
import type { Address, Keep, Notification } from '../notification.ts'
import type { Inbox, InboxCounts } from './inbox.ts'
import type { BrokerListener } from './listener.ts'
import type { Meter } from './meters.ts'
import type { BrokerState } from './state.ts'
import type { Trail } from './trail.ts'

/**
 * Ids are integers in microseconds and grow strictly over all addresses. Every channel carries them in that order, so
 * one position (cursor) says up to where a client has seen everything. Any call rejects with Unavailable or Uncertain
 * when the broker cannot be reached; further errors are named at the call.
 */
export interface Broker extends Messages, Members, Sessions, Store, Inbox {
  /** The kind of broker, as `/readyz` shows it. */
  readonly name: string
  /** What nodes record about deliveries, for "why". */
  readonly trail: Trail
  /** Metrics of the adapter, under names of its own. */
  readonly meters: readonly Meter[]
  /** Starts to connect, and keeps trying. */
  start: (listener: BrokerListener) => void
  /** Resolves when it is up for the first time, or is `refused`: never to be used, or no more (`state().isRefused`). */
  readonly settled: Promise<void>
  readonly refused?: Promise<void> | undefined
  state: () => BrokerState
  close: () => Promise<void>
}

/** Publishing, subscribing, and reading history. */
export interface Messages {
  /**
   * Publishes under one id to all addresses (an address named twice counts once), all or nothing: appends to the log of
   * each and sends on its channel. The same `idempotencyKey` within 24 h publishes nothing and returns the first
   * answer. With `keep: 'none'` nothing is stored and there is no id. Throws Revoked (see `publisher`).
   */
  publish: (request: PublishRequest) => Promise<PublishAnswer>
  /**
   * Takes a notification back from an address: it is gone from replay, lists and counts, and every stream of the
   * address gets `retracted` with `{ to, id, key? }`. False if there is no such notification any more; nobody is told
   * then. Throws Revoked.
   */
  retract: (request: RetractRequest) => Promise<boolean>

  /** The channel that carries messages of an address to this user. Pure. */
  channelOf: (userId: string, address: Address) => Channel
  /** The address of a channel. Pure. */
  addressOf: (channel: Channel) => Address
  /**
   * Resolves once the subscription is in force: what is published from then on reaches the listener. Calls within one
   * turn of the event loop are combined.
   */
  subscribe: (channels: readonly Channel[]) => Promise<void>
  unsubscribe: (channels: readonly Channel[]) => void

  /**
   * Reads what a stream needs to go on from a cursor, as of one moment: its user's groups, after applying the token's
   * claim (see Reader), and one page of history. Throws Revoked if the user has logged out since the token was issued,
   * or since the stream was admitted.
   */
  resume: (query: ResumeQuery) => Promise<HistoryPage>
}

/** Group membership and presence. */
export interface Members {
  groups: (userId: string) => Promise<Membership>
  /** Throws TooManyGroups. */
  join: (userId: string, group: string) => Promise<void>
  leave: (userId: string, group: string) => Promise<void>
  /** Throws TooManyGroups. */
  replaceGroups: (userId: string, groups: readonly string[]) => Promise<void>
  /** How many nodes have a stream of the user: those that are subscribed to the user's channel. */
  presence: (userId: string) => Promise<number>
}

/** Revocation of tokens, and which stream holds a user's one session. */
export interface Sessions {
  /** Called before a stream opens: whether its token and, with SESSION_POLICY=single, its cursor are still valid. */
  visit: (visitor: Visitor) => Promise<Visit>
  /** Ends every stream of the user, and refuses tokens that were issued until now. */
  logout: (userId: string) => Promise<void>
  /**
   * Takes the user's one session for a stream; the previous holder hears `takeover`. Undefined: the cursor belongs to a
   * stream that was replaced while it was away, or the holder was admitted later (`admittedAt`: of the stream's visit).
   */
  takeSession: (userId: string, tag: string, cursor: number | 'fresh', admittedAt: number) => Promise<Session | undefined>
  /** The tags of those sessions that were taken over. Long lists are checked in parts, so that other calls go on. */
  verifySessions: (sessions: ReadonlyArray<{ readonly userId: string, readonly session: Session }>) => Promise<string[]>
}

/** Small values that every node can read, kept with all else of a user. `home`: the user's id, or what homeOf gave. */
export interface Store {
  /** A short name of the place where things of this user are kept. It does not reveal the user. Pure. */
  homeOf: (userId: string) => string
  put: (home: string, key: string, text: string, seconds: number) => Promise<void>
  get: (home: string, key: string) => Promise<string | undefined>
  /** Reads and deletes, so that only one caller gets the value. */
  take: (home: string, key: string) => Promise<string | undefined>
  /** Takes `key` and puts `kept`, both or neither. Undefined if `key` is not there. Only one caller gets it. */
  exchange: (home: string, key: string, kept: { readonly key: string, readonly text: string, readonly seconds: number }) => Promise<string | undefined>
  /** Counts up and returns the count. It starts again once `seconds` of every earlier call are over. */
  ordinal: (home: string, key: string, seconds: number) => Promise<number>
  /** Adds `hits` (default 1) in a window that begins with its first hit. `restMs`: until the window ends. */
  hit: (home: string, key: string, windowMs: number, hits?: number) => Promise<{ count: number, restMs: number }>
}

/** The name under which messages of an address arrive for the users of one partition. The hub only compares it. */
export type Channel = string

/** The user and the age of a token, by which revocation decides. */
export interface Identity {
  readonly userId: string
  /** Seconds since 1970, the token's `iat`; 0 if it has none. */
  readonly issuedAtSeconds: number
  /** Seconds since 1970, the token's `exp`. The user's records are kept at least until then. */
  readonly expiresAtSeconds: number
}

/**
 * Who reads. With a token, its claim is applied to the groups first. Only the newest claim (by `issuedAtSeconds`)
 * counts: its groups are joined, except beyond MAX_GROUPS and those that `leave` or `replaceGroups` took away in the
 * second of `iat` or later. Groups that an older claim gave and the newest lacks are left. Claims of the same age add
 * up; older ones change nothing. What `join` or `replaceGroups` gave stays. Without a claim (`groups` undefined)
 * nothing changes. Without `token` a back end reads for the user: nothing changes and nothing is refused.
 */
export interface Reader {
  readonly userId: string
  readonly token?: Identity & { readonly groups?: readonly string[] | undefined }
}

export interface PublishRequest {
  readonly to: readonly Address[]
  readonly event: string
  /** `data` as it was published, one line of JSON. */
  readonly json: string
  readonly keep: Keep
  /** After this time it is not replayed, listed or counted. HISTORY_SECONDS is the default and the maximum. */
  readonly ttlSeconds?: number | undefined
  /** Replaces the older notification with the same key and address. */
  readonly key?: string | undefined
  /** The W3C trace context of the publish, which travels in the message. */
  readonly traceparent?: string | undefined
  /** Already bound to the publisher, so that two publishers never share a key. */
  readonly idempotencyKey?: string | undefined
  /** If given, Revoked is thrown if this user has logged out since the token was issued. */
  readonly publisher?: Identity | undefined
}

export interface RetractRequest {
  readonly to: Address
  readonly what: { readonly id: number } | { readonly key: string }
  readonly publisher?: Identity | undefined
}

export interface Visitor extends Identity {
  /** With SESSION_POLICY=single, where the stream resumes from; undefined otherwise. */
  readonly sessionCursor?: number | 'fresh' | undefined
  /** Counters that the visit adds 1 to, each in a window of VISIT_WINDOW_MS that begins with its first hit. */
  readonly counters?: readonly string[]
}

export interface Visit {
  readonly verdict: 'admitted' | 'revoked' | 'replaced'
  /** The counters after the visit, in their order. A revoked visit is not counted: all are 0. */
  readonly counts: readonly number[]
  /** The id of the visit; 0 if revoked. A later logout ends the stream, whatever `iat` its token has. */
  readonly admittedAt: number
}

export const VISIT_WINDOW_MS = 60_000

export interface Session {
  readonly tag: string
  /** The id at which it was taken. */
  readonly takenAt: number
  /** Cursors below this belong to replaced streams. `isLowered`: an earlier stream of the holder has lowered it. */
  readonly fence: number
  readonly isLowered: boolean
}

export interface PublishAnswer {
  /** True if an earlier call with the same idempotency key had published. */
  readonly replayed: boolean
  /** Undefined for `keep: 'none'`. */
  readonly id: number | undefined
  readonly notifications: ReadonlyArray<{ readonly to: Address, readonly receivers: number }>
  /** How many partitions are away and get it later; undefined: none. */
  readonly pending?: number
}

/** Group name → id of the join. */
export type Membership = Map<string, number>

export interface ResumeQuery {
  readonly user: Identity
  /** The token's claim; undefined without one. */
  readonly groups: readonly string[] | undefined
  /** `admittedAt` of the visit that admitted the stream. */
  readonly admittedAt: number
  /** Entries with greater ids are read. `fresh`: no entries, only the position and the counts. */
  readonly cursor: number | 'fresh'
  /** In bytes of `data`. The page ends before it exceeds this, but has at least one entry if there is one. */
  readonly maxBytes: number
}

export interface HistoryPage {
  /** Everything for the user with an id up to here is in this page or an earlier one. */
  readonly position: number
  readonly membership: Membership
  /**
   * Something after the cursor may be missing: it was trimmed, is older than the history, was evicted or lost, or was
   * published to a group that the user has left since. (After a rejoin it is among the entries.) What was replaced,
   * retracted, dismissed, or outlived its `ttl` is not missing.
   */
  readonly gap: boolean
  /** The page is full: read on from its position. */
  readonly more: boolean
  /**
   * Oldest first. Several streams may be given the same objects, so that their frames are shared. They must not outlive
   * the page, since a frame lives as long as its notification.
   */
  readonly entries: readonly Notification[]
  /** Counts as of the position. They may be all 0, except on the last page and on one with a gap. */
  readonly inbox: InboxCounts
}

/** The limits of what a broker keeps. */
export interface HistoryLimits {
  /** How many entries the log of a user keeps at least. */
  readonly historyLength: number
  /** The same for a group and for `all`. */
  readonly groupHistoryLength: number
  readonly historySeconds: number
  readonly maxDataBytes: number
}

/** How many groups a user may be in. */
export const MAX_GROUPS = 1000

/** The broker could not be asked: nothing was changed. */
export class Unavailable extends Error {}
/** No answer came: the call may have taken effect. */
export class Uncertain extends Error {}
export class TooManyGroups extends Error {}
/** The user has logged out since the token was issued. */
export class Revoked extends Error {
  constructor () { super('The user has logged out since this token was issued; a new token is needed') }
}
