// What a page sees: the options of connect(), the connection that it returns, and the inbox of that.
import type { State } from './line.ts'

/** What a handler is told besides the data. */
export interface Meta {
  /** Opaque. Undefined for what has none: a plain PUBLISH, `keep: none`. */
  readonly id: string | undefined
  readonly event: string
  /** It was published while there was no line, and comes from the history. */
  readonly isReplay: boolean
}

export type Handler<Data = any> = (data: Data, meta: Meta) => unknown

/** The data of each event by its name. */
export type EventMap = Record<string, any>

/** What the service itself says. */
export type OwnEvent = 'sync' | 'ping' | 'read' | 'retracted' | 'expiring' | 'replaced' | 'closed'

/** https://standardschema.dev, as far as it is used here; it must answer at once. */
export interface Schema<Data = unknown> {
  readonly '~standard': {
    readonly validate: (value: unknown) =>
      | { readonly value: Data, readonly issues?: undefined }
      | { readonly issues: readonly { readonly message: string }[] }
      | Promise<unknown>
  }
}

/** How the service knows the user: by a token or a ticket if one of the functions is there, else by its cookie. */
export interface Credentials {
  /** A token (JWT), for every request: it goes as a header, to the stream as well. */
  readonly token?: (() => Promise<string>) | undefined
  /** A one-time ticket (your back end asks for it at POST /api/notifications/tickets), for each connect. */
  readonly ticket?: (() => Promise<string>) | undefined
  /** With a cookie: puts a fresh token into it; called a while before the old one ends. */
  readonly renew?: (() => unknown) | undefined
}

export interface ConnectOptions<Events extends EventMap = EventMap> extends Credentials {
  /** Where the service is: its origin, or the path that it is mounted under. Default: the page's own origin. */
  readonly url?: string | URL | undefined
  /** `browser`: all tabs share one stream. `tab`: one each. Default: `browser`. */
  readonly share?: 'browser' | 'tab' | undefined
  /**
   * Who is signed in. Tabs share a stream only with tabs of the same user. Give it if people can change without a
   * logout.
   */
  readonly user?: string | undefined
  /** Where to go on from: as `GET /api/notifications/position` gave it before you read your own data. Default: now. */
  readonly position?: string | undefined
  /** Checks the data of an event at run time; what does not pass is reported as an error and handed to nobody. */
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

/** Never changed, only replaced. */
export interface InboxState {
  /** Newest first. */
  readonly items: readonly InboxItem[]
  /** Up to 100, which stands for any more. */
  readonly unseen: number
  readonly unread: number
  /** Up to where the list was shown, and read. */
  readonly seen: string
  readonly read: string
  /** The list has come. */
  readonly isLoaded: boolean
  /** There are older ones: loadMore(). */
  readonly hasMore: boolean
  /** False: older ones existed, and have left the history. */
  readonly isComplete: boolean
}

export interface Inbox {
  readonly items: readonly InboxItem[]
  readonly unseen: number
  readonly unread: number
  readonly hasMore: boolean
  /** All of it, at this moment. */
  readonly state: InboxState
  /**
   * Called when anything has changed; from the first listener on the list is fetched and kept. Returns how to stop
   * that.
   */
  subscribe: (listener: () => void) => () => void
  loadMore: () => Promise<void>
  /** The list was shown: nothing of it is new any more. */
  see: () => Promise<void>
  /** One is read; or all up to an id, and nothing newer. Without anything: all that is in the list. */
  read: (...what: [] | [string | { readonly upTo: string }]) => Promise<void>
  /** One is unread again. */
  markUnread: (id: string) => Promise<void>
  /** Gone for this user, on every device. */
  dismiss: (id: string) => Promise<void>
}

export interface Tidings<Events extends EventMap = EventMap> {
  readonly state: State
  /** Called when the state has changed. Returns how to stop that. */
  subscribe: (listener: () => void) => () => void
  /**
   * Calls `handler` for each notification with that event name (`message` if it was published without one), or for all
   * with `*`. What the service itself says can be heard by its name: sync, ping, read, retracted, expiring, replaced,
   * closed.
   * Returns how to stop that.
   */
  on: <Event extends (keyof Events & string) | '*' | 'message' | OwnEvent>(
    event: Event, handler: Handler<Event extends keyof Events ? Events[Event] : any>
  ) => () => void
  /** Called when something may be missing: fetch your data anew. Returns how to stop that. */
  onIncomplete: (handler: () => void) => () => void
  readonly inbox: Inbox
  /**
   * Of all tabs that ask for this id, one calls `fn`; without an id, the one that holds the stream. Resolves to whether
   * it was this one; to false at the end of the connection.
   */
  once: (id: string | undefined, fn: () => unknown) => Promise<boolean>
  /** After `replaced`, `closed` or `denied`: opens the stream anew, here. */
  useHere: () => void
  /** For good. */
  close: () => void
}
