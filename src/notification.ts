// Notifications and addresses: names, ids, positions, and their limits. Pure functions only.

/** The most characters (code points) that a user id or a group name may have. */
export const MAX_NAME_CHARACTERS = 128
/** The most addresses that one publish may name. */
export const MAX_ADDRESSES = 1000
/** How deep arrays and objects in `data` may nest. The same limit holds for what is published without HTTP. */
export const MAX_DATA_DEPTH = 1000
/** Counts of unread notifications stop here; clients show "99+". */
export const MAX_UNREAD = 100

/** The event name of a notification that has none of its own, as in the SSE standard. */
export const DEFAULT_EVENT = 'message'

/** Event names that the service itself sends; publishers may not use them. */
export const RESERVED_EVENTS: ReadonlySet<string> =
  new Set(['sync', 'ping', 'replaced', 'closed', 'expiring', 'read', 'retracted', 'open', 'error'])

const EVENT_NAME = /^[A-Za-z0-9._-]{1,64}$/

/** `user:<userId>`, `group:<name>` or `all`. */
export type Address = string

/**
 * A notification on its way to streams. `id`: in microseconds, or 0 if no log keeps it. `event`: a valid event name.
 * `json`: `data`, serialised as one line.
 */
export interface Notification {
  readonly id: number
  readonly event: string
  readonly json: string
  /**
   * Only for the event `read`, which has no id: its counts hold at this position. A stream whose `sync` was later
   * ignores it.
   */
  readonly asOf?: number
  /**
   * Only for a notification without an id that was sent to several addresses: the same text for each of its copies,
   * which arrive one after the other. A stream takes the first copy.
   */
  readonly once?: string
  /** The trace that it belongs to. Only live messages carry it; logs do not keep it. */
  readonly traceparent?: string
}

/** What is kept of a notification: it is replayed, listed and counted (`inbox`), only replayed, or not kept at all. */
export type Keep = 'inbox' | 'replay' | 'none'

export const ALL: Address = 'all'
export const userAddress = (userId: string): Address => `user:${userId}`
export const groupAddress = (group: string): Address => `group:${group}`

/** 1 to 128 characters, none of them a control character (Unicode Cc), all of them expressible in UTF-8. */
export function isName (name: string): boolean {
  // A code point has at most two UTF-16 units, so this cheap check refuses long text without counting it.
  if (name.length === 0 || name.length > 2 * MAX_NAME_CHARACTERS) return false
  if (/\p{Cc}/u.test(name) || !name.isWellFormed()) return false
  return name.length <= MAX_NAME_CHARACTERS || [...name].length <= MAX_NAME_CHARACTERS
}

export function isAddress (address: string): boolean {
  if (address === ALL) return true
  if (address.startsWith('user:')) return isName(address.slice(5))
  return address.startsWith('group:') && isName(address.slice(6))
}

/** Why an event name is refused; undefined if it is allowed. */
export function eventFault (event: string): 'malformed' | 'reserved' | undefined {
  if (!EVENT_NAME.test(event)) return 'malformed'
  return RESERVED_EVENTS.has(event) ? 'reserved' : undefined
}

/** Whether serialised JSON nests deeper than MAX_DATA_DEPTH. */
export function isTooDeep (json: string): boolean {
  if (json.length <= 2 * MAX_DATA_DEPTH) return false
  let depth = 0
  let inString = false
  for (let i = 0; i < json.length; i++) {
    const c = json.charCodeAt(i)
    if (inString) {
      if (c === 92) i++ // skip the escaped character
      else if (c === 34) inString = false
    } else if (c === 34) inString = true
    else if (c === 91 || c === 123) { if (++depth > MAX_DATA_DEPTH) return true } else if (c === 93 || c === 125) depth--
  }
  return false
}

/**
 * Where a stream resumes from. `foreign`: the client sent a position that is not ours, so nobody knows what it missed.
 */
export type ResumeFrom = 'fresh' | 'foreign' | number

/** Reads the position that a client sends (`Last-Event-ID` or `?lastEventId=`). Without one: `fresh`. */
export function parsePosition (text: string | undefined): ResumeFrom {
  if (text === undefined || text === '') return 'fresh'
  return /^[1-9][0-9]{0,15}$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : 'foreign'
}

/** The ids of terminal events start with this. The browser sends such an id back when it reconnects by itself. */
export const TERMINAL_MARK = '!'

/**
 * The text of an id. V8 writes whole numbers of up to 9 digits several times as fast as longer ones, and this is done
 * for each publish.
 */
export function idText (id: number): string {
  if (id < 1e15) return String(id)
  const head = Math.floor(id / 1e8)
  // The 1 in front keeps the zeros that the rest may begin with.
  return `${head}${String(id - head * 1e8 + 1e8).slice(1)}`
}
