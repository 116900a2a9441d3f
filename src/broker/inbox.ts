// The port's room for the inbox: what a user has, and what they have done with it.
import type { Address, Notification } from '../notification.ts'
import type { Reader } from './broker.ts'

/** What the logs hold for one user, and what they have done with it. Counts and cursors are absolute. */
export interface Inbox {
  /** The inbox, newest first. Throws Revoked. */
  list: (query: ListQuery) => Promise<InboxPage>
  /** The position of now, with the counts. Throws Revoked. */
  position: (reader: Reader) => Promise<InboxState>
  /**
   * Moves a cursor to a position, never back; `read` moves `seen` along, and takes back each `unread` that it moves
   * over. A call that moves nothing changes nothing. Every stream of the user hears `read` if anything changed, with
   * the counts.
   * Throws FuturePosition, Revoked.
   */
  moveCursor: (reader: Reader, cursor: 'seen' | 'read', upTo: number) => Promise<InboxCounts>
  /**
   * One notification read, unread again, or dismissed for this user. Every stream of the user hears `read`, with the
   * counts and `changed: [{ id, isRead? , dismissed? }]`, unless it was so already.
   * Throws NoNotification (not in this user's inbox, whyever), TooManyMarks, Revoked.
   */
  mark: (reader: Reader, id: number, as: InboxMark) => Promise<InboxCounts>
}

/** What went to `all` before the user's first visit is listed, and neither unseen nor unread (unless marked so). */
export interface InboxCounts {
  /** Up to where the list was shown, and up to where it was read; 0 at first. `read` is never above `seen`. */
  readonly seen: number
  readonly read: number
  /** Above the cursor, not read one by one, not dismissed; counted up to MAX_UNREAD. */
  readonly unseen: number
  readonly unread: number
}

export interface InboxState extends InboxCounts {
  readonly position: number
}

export type InboxMark = 'read' | 'unread' | 'dismissed'

export interface ListQuery {
  readonly reader: Reader
  /** Only older ones than this. */
  readonly before?: number | undefined
  readonly limit: number
  readonly unreadOnly: boolean
}

export interface InboxPage extends InboxState {
  readonly notifications: readonly InboxItem[]
  /** The `before` of the next page; undefined at the end. A page may be short and still have one. */
  readonly next: number | undefined
  /** False: some that would be in this inbox were trimmed. */
  readonly complete: boolean
}

export interface InboxItem extends Notification {
  /** The address that it came by; of several: user before group before all, groups by name. */
  readonly to: Address
  readonly key: string | undefined
  readonly isRead: boolean
}

/** Notifications that one user may have marked one by one beside their cursors. */
export const MAX_MARKS = 1000
/** Beside them: dismissed notifications that the `read` cursor has passed. More of them count among the others. */
export const MAX_OLD_DISMISSED = 10_000

export class FuturePosition extends Error {}
export class NoNotification extends Error {}
export class TooManyMarks extends Error {}
