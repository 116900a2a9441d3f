// The port's room for "why": what nodes note of streams and of what they wrote, and all that is known of one
// notification for one user.
import type { Address, Keep } from '../notification.ts'
import type { Channel } from './broker.ts'
import type { InboxMark } from './inbox.ts'

/** Notes live as long as the history, and are bounded. What a node notes, all nodes know within about a second. */
export interface Trail {
  /**
   * A node has written what came on a channel, up to this id, to its streams. With a receipt it is remembered when, and
   * to how many. Never throws and never waits: what cannot be kept is lost.
   */
  wrote: (node: string, channel: Channel, id: number, receipt?: { readonly atMs: number, readonly streams: number }) => void
  /** One line about a user's streams, or about what they read. Of each the newest MAX_TRAIL are kept. As `wrote`. */
  note: (userId: string, line: string) => void
  /** This node keeps no receipts: of what it writes from now on nobody knows, and no notification costs anything. */
  keepsNone: () => void
  /** Resolves when what was noted so far is where all nodes find it, or is lost. */
  flush: () => Promise<void>
  /** All that is known of a notification for a user. Changes nothing. Throws FuturePosition, Unavailable. */
  evidence: (userId: string, id: number) => Promise<Evidence>
}

/** Lines that are kept of one user's streams, and of their reads. */
export const MAX_TRAIL = 64
/** Of an address: how many that were taken out of its log are remembered. */
export const MAX_GONE = 128

export interface Evidence {
  /** Its id among what this user sees, which is not always the one that the publisher was answered. */
  readonly id: number
  /** As of when. */
  readonly position: number
  /** Nothing is kept of what is not above this. */
  readonly historyFrom: number
  /** Where it stands or stood, among the addresses that the user has or had. */
  readonly places: readonly Place[]
  /** Logs of the user's that were trimmed past it. Whether it stood there is not known. */
  readonly trimmed: ReadonlyArray<{ readonly to: Address, readonly upTo: number }>
  /** It may be one of many that were taken out and are not remembered any more. */
  readonly isForgetful: boolean
  readonly seen: number
  readonly read: number
  readonly mark: InboxMark | undefined
  /** Then or later there was a node that kept no receipts: it may have written it, and nobody knows. */
  readonly isUnnoted: boolean
  /** What was noted of the user's streams, newest first. */
  readonly trail: readonly string[]
  /** The same of what they read: lines that begin with `read `. */
  readonly reads: readonly string[]
  /** When nodes wrote it to their streams. */
  readonly receipts: readonly Receipt[]
  /** Node → up to which id it has written everything. */
  readonly written: ReadonlyMap<string, number>
}

export interface Receipt {
  readonly node: string
  /** Milliseconds since 1970, by the clock of the node. */
  readonly atMs: number
  readonly streams: number
}

/** One address's log, and what became of the notification in it. */
export interface Place {
  readonly to: Address
  readonly state: 'kept' | Gone
  /** When it was taken back, replaced or let go, in the order of ids; 0 if it is kept. */
  readonly goneAt: number
  readonly keep: Keep | undefined
  /** Undefined: it has no end of its own. */
  readonly expiresAt: number | undefined
  /** When the user was in the group: from < id ≤ to, `to` Infinity if they still are. Of other addresses: always. */
  readonly memberships: ReadonlyArray<{ readonly from: number, readonly to: number }>
}

export type Gone = 'retracted' | 'replaced' | 'expired'
