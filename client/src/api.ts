// The public types: the options of connect(), the connection that it returns, and its inbox.
import type { State } from './line.ts'

/** What a handler gets besides the data. */
export interface Meta {
  /** Opaque. Undefined for a notification without an id: a plain PUBLISH, or `keep: none`. */
  readonly id: string | undefined
  readonly event: string
  /** It was published while there was no connection, and comes from the history. */
  readonly isReplay: boolean
}

export type Handler<Data = any> = (data: Data, meta: Meta) => unknown

/** Event name → type of its data. */
export type EventMap = Record<string, any>

/** Events that the service itself sends. */
export type OwnEvent = 'sync' | 'ping' | 'read' | 'retracted' | 'expiring' | 'replaced' | 'closed'

/** A Standard Schema (https://standardschema.dev), as far as it is used here. It must validate synchronously. */
export interface Schema<Data = unknown> {
  readonly '~standard': {
    readonly validate: (value: unknown) =>
      | { readonly value: Data, readonly issues?: undefined }
      | { readonly issues: readonly { readonly message: string }[] }
      | Promise<unknown>
  }
}

/** How the service knows the user: by a token or a ticket if one of these functions is given, else by a cookie. */
export interface Credentials {
  /** Resolves with a token (JWT). Called for every request; the token is sent as a header, to the stream too. */
  readonly token?: (() => Promise<string>) | undefined
  /**
   * Resolves with a one-time ticket, which your back end gets from POST /api/notifications/tickets. Called for every
   * connect.
   */
  readonly ticket?: (() => Promise<string>) | undefined
  /** With a cookie: puts a new token into it. Called some time before the old token expires. */
  readonly renew?: (() => unknown) | undefined
}

export interface ConnectOptions<Events extends EventMap = EventMap> extends Credentials {
  /** The service's origin, or the path under which it is mounted. Default: the page's own origin. */
  readonly url?: string | URL | undefined
  /** `browser`: all tabs share one stream. `tab`: each tab has its own. Default: `browser`. */
  readonly share?: 'browser' | 'tab' | undefined
  /**
   * The id of the user who is signed in (`sub` of the token). The service refuses this page the stream and the inbox of
   * anybody else. Tabs share a stream only with tabs of the same user. With `token` they share only if it is given.
   */
  readonly user?: string | undefined
  /**
   * Where to start: the answer of `GET /api/notifications/position`, taken before you read your own data. Default: now.
   */
  readonly position?: string | undefined
  /** Checks the data of events at run time. Invalid data is reported as an error and handed to no handler. */
  readonly schemas?: { readonly [Event in keyof Events]?: Schema<Events[Event]> } | undefined
}

export interface InboxItem<Data = any> {
  readonly id: string
  /** The address that it came by. */
  readonly to: string
  readonly event: string
  readonly data: Data
  /** An ISO time. */
  readonly at: string
  readonly key?: string
  readonly isRead: boolean
}

/** Immutable: a change makes a new object. */
export interface InboxState {
  /** Newest first. */
  readonly items: readonly InboxItem[]
  /** Counted up to 100; 100 may stand for more. */
  readonly unseen: number
  readonly unread: number
  /** The cursors: up to where the list was shown, and up to where it was read. */
  readonly seen: string
  readonly read: string
  /** The list has been fetched. */
  readonly isLoaded: boolean
  /** There are older notifications: call loadMore(). */
  readonly hasMore: boolean
  /** False: older notifications existed but have left the history. */
  readonly isComplete: boolean
}

export interface Inbox {
  readonly items: readonly InboxItem[]
  readonly unseen: number
  readonly unread: number
  readonly hasMore: boolean
  /** Everything above, as of this moment. */
  readonly state: InboxState
  /**
   * Calls `listener` when anything has changed. The first listener makes the list be fetched and kept up to date.
   * Returns a function that unsubscribes.
   */
  subscribe: (listener: () => void) => () => void
  loadMore: () => Promise<void>
  /** Marks everything in the list as seen. */
  see: () => Promise<void>
  /** Marks as read: one notification, everything up to an id, or without an argument everything in the list. */
  read: (...what: [] | [string | { readonly upTo: string }]) => Promise<void>
  /** Marks one notification as unread again. */
  markUnread: (id: string) => Promise<void>
  /** Removes one notification for this user, on every device. */
  dismiss: (id: string) => Promise<void>
}

export interface Tidings<Events extends EventMap = EventMap> {
  readonly state: State
  /** Calls `listener` when the state has changed. Returns a function that unsubscribes. */
  subscribe: (listener: () => void) => () => void
  /**
   * Calls `handler` for each notification with this event name (`message` if it was published without one), or for all
   * with `*`. Events of the service itself must be named: sync, ping, read, retracted, expiring, replaced, closed.
   * Returns a function that unsubscribes.
   */
  on: <Event extends (keyof Events & string) | '*' | 'message' | OwnEvent>(
    event: Event, handler: Handler<Event extends keyof Events ? Events[Event] : any>
  ) => () => void
  /** Calls `handler` when something may be missing: fetch your data again. Returns a function that unsubscribes. */
  onIncomplete: (handler: () => void) => () => void
  readonly inbox: Inbox
  /**
   * Of all tabs that ask for this id, one calls `fn`; without an id, the tab that holds the stream. Resolves with
   * whether it was this tab; with false once the connection has ended.
   */
  once: (id: string | undefined, fn: () => unknown) => Promise<boolean>
  /** After `replaced`, `closed` or `denied`: opens the stream again in this tab. */
  useHere: () => void
  /** Closes the connection for good. */
  close: () => void
}
