// The part of the broker port for "why": what nodes record about streams and deliveries, and all that is known of one
// notification for one user.
import type { Address, Keep } from '../notification.ts'
import type { Channel } from './broker.ts'
import type { InboxMark } from './inbox.ts'

/** Records live as long as the history, and are bounded. All nodes see what one recorded within about a second. */
export interface Trail {
  /**
   * Records that a node has written everything from a channel up to this id to its streams; with `receipt`, also when
   * and to how many streams. Never throws and never waits: what cannot be kept is lost.
   */
  wrote: (node: string, channel: Channel, id: number, receipt?: { readonly atMs: number, readonly streams: number }) => void
  /**
   * Records one line about a user's streams or reads. The newest MAX_TRAIL of each are kept. Never throws, as `wrote`.
   */
  note: (userId: string, line: string) => void
  /** Records that this node keeps no receipts, so that nobody can tell what it wrote. It then records no deliveries. */
  keepsNone: () => void
  /** Resolves when everything recorded so far is visible to all nodes, or is lost. */
  flush: () => Promise<void>
  /** Everything that is known of a notification for a user. Changes nothing. Throws FuturePosition, Unavailable. */
  evidence: (userId: string, id: number) => Promise<Evidence>
}

/** How many lines are kept about one user's streams, and how many about their reads. */
export const MAX_TRAIL = 64
/** How many removed notifications are remembered for each address. */
export const MAX_GONE = 128

export interface Evidence {
  /** Its id in the user's partition, which may differ from the id that the publisher was answered. */
  readonly id: number
  /** The moment of the answer, as an id. */
  readonly position: number
  /** Nothing is kept about notifications with ids up to this one. */
  readonly historyFrom: number
  /** The logs that have or had it, among the addresses that the user has or had. */
  readonly places: readonly Place[]
  /** Logs of the user that were trimmed past it, so that it is unknown whether it was there. */
  readonly trimmed: ReadonlyArray<{ readonly to: Address, readonly upTo: number }>
  /** It may be one of so many removed notifications that not all are remembered. */
  readonly isForgetful: boolean
  readonly seen: number
  readonly read: number
  readonly mark: InboxMark | undefined
  /** A node without receipts was running then or later. It may have written the notification. */
  readonly isUnnoted: boolean
  /** Lines about the user's streams, newest first. */
  readonly trail: readonly string[]
  /** Lines about the user's reads, newest first; each begins with `read `. */
  readonly reads: readonly string[]
  /** When nodes wrote it to their streams. */
  readonly receipts: readonly Receipt[]
  /** Node → up to which id it has written everything to its streams. */
  readonly written: ReadonlyMap<string, number>
}

export interface Receipt {
  readonly node: string
  /** Milliseconds since 1970, by the clock of the node. */
  readonly atMs: number
  readonly streams: number
}

/** The log of one address, and what became of the notification in it. */
export interface Place {
  readonly to: Address
  readonly state: 'kept' | Gone
  /** The id at which it was retracted, replaced or expired; 0 if it is kept. */
  readonly goneAt: number
  readonly keep: Keep | undefined
  /** Undefined if it has no `ttl`. */
  readonly expiresAt: number | undefined
  /**
   * When the user was a member of the group: from < id ≤ to, with `to` Infinity if still a member. Always, for other
   * addresses.
   */
  readonly memberships: ReadonlyArray<{ readonly from: number, readonly to: number }>
}

export type Gone = 'retracted' | 'replaced' | 'expired'
