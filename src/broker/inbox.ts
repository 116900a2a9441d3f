// The inbox part of the broker port.
import type { Address, Notification } from '../notification.ts'
import type { Reader } from './broker.ts'

/** The notifications of one user, and what the user has done with them. Counts and cursors are absolute. */
export interface Inbox {
  /** A page of the inbox, newest first. Throws Revoked. */
  list: (query: ListQuery) => Promise<InboxPage>
  /** The current position, cursors and counts. Throws Revoked. */
  position: (reader: Reader) => Promise<InboxState>
  /**
   * Moves a cursor forward to a position, never back. Moving `read` moves `seen` along, and removes the `unread` marks
   * that it passes. If anything changed, every stream of the user gets `read` with the counts. Throws FuturePosition,
   * Revoked.
   */
  moveCursor: (reader: Reader, cursor: 'seen' | 'read', upTo: number) => Promise<InboxCounts>
  /**
   * Marks one notification as read, unread again, or dismissed. If anything changed, every stream of the user gets
   * `read`, with the counts and `changed: [{ id, isRead?, dismissed? }]`. Throws NoNotification (it is not in this
   * user's inbox, for whatever reason), TooManyMarks, Revoked.
   */
  mark: (reader: Reader, id: number, as: InboxMark) => Promise<InboxCounts>
}

/**
 * What was published to `all` before the user's first visit is listed, but counts as seen and read unless marked
 * unread.
 */
export interface InboxCounts {
  /**
   * The cursors: up to where the list was shown, and up to where it was read; 0 at first. `read` is never above `seen`.
   */
  readonly seen: number
  readonly read: number
  /** Notifications above the cursor that are neither marked as read nor dismissed; counted up to MAX_UNREAD. */
  readonly unseen: number
  readonly unread: number
}

export interface InboxState extends InboxCounts {
  readonly position: number
}

export type InboxMark = 'read' | 'unread' | 'dismissed'

export interface ListQuery {
  readonly reader: Reader
  /** Only notifications with smaller ids. */
  readonly before?: number | undefined
  readonly limit: number
  readonly unreadOnly: boolean
}

export interface InboxPage extends InboxState {
  readonly notifications: readonly InboxItem[]
  /** The `before` of the next page; undefined at the end. Even a short or empty page may have one. */
  readonly next: number | undefined
  /** False: some notifications of this inbox were trimmed. */
  readonly complete: boolean
}

export interface InboxItem extends Notification {
  /** The address that it came by. If there are several: the user before groups before `all`, groups by name. */
  readonly to: Address
  readonly key: string | undefined
  readonly isRead: boolean
}

/** How many notifications a user may have marked one by one. */
export const MAX_MARKS = 1000
/** In addition: how many dismissed notifications below the `read` cursor. More of them count towards MAX_MARKS. */
export const MAX_OLD_DISMISSED = 10_000

export class FuturePosition extends Error {}
export class NoNotification extends Error {}
export class TooManyMarks extends Error {}
