// What is sent and whom it is for: addresses, event names, data, ids, and their limits. Pure.

/** Characters (code points) that a user id or a group name may have at most. */
export const MAX_NAME_CHARACTERS = 128
/** Addresses that one publish may name at most. */
export const MAX_ADDRESSES = 1000
/** How deep arrays and objects of `data` may nest; what other languages publish is read to the same depth. */
export const MAX_DATA_DEPTH = 1000
/** Unread is counted up to here ("99+"). */
export const MAX_UNREAD = 100

/** The event name of a notification that names none, as in the SSE standard. */
export const DEFAULT_EVENT = 'message'

/** Names that the stream itself speaks; a publisher may not use them. */
export const RESERVED_EVENTS: ReadonlySet<string> =
  new Set(['sync', 'ping', 'replaced', 'closed', 'expiring', 'read', 'retracted', 'open', 'error'])

const EVENT_NAME = /^[A-Za-z0-9._-]{1,64}$/

/** `user:<userId>`, `group:<name>` or `all`. */
export type Address = string

/**
 * A notification on its way: `id` in microseconds (0 for one that no log has, which has none), `event`
 * a valid event name, `json` the data serialised as one line.
 */
export interface Notification {
  readonly id: number
  readonly event: string
  readonly json: string
  /** Of `read`, which has no id: values as of this position. A stream that was synced later has newer ones. */
  readonly asOf?: number
  /** Of what has no id and went to several addresses: the same for each, and next to one another on their way. */
  readonly once?: string
  /** The trace that it is a part of, while it is on its way; no log keeps it. */
  readonly traceparent?: string
}

/** What becomes of a notification once it is sent: listed and counted, only replayed, or neither. */
export type Keep = 'inbox' | 'replay' | 'none'

export const ALL: Address = 'all'
export const userAddress = (userId: string): Address => `user:${userId}`
export const groupAddress = (group: string): Address => `group:${group}`

/** 1 to 128 characters, none of them a control character (Unicode Cc), all of them expressible in UTF-8. */
export function isName (name: string): boolean {
  // A code point has at most two UTF-16 units: the cheap check spares counting in what is surely too long.
  if (name.length === 0 || name.length > 2 * MAX_NAME_CHARACTERS) return false
  if (/\p{Cc}/u.test(name) || !name.isWellFormed()) return false
  return name.length <= MAX_NAME_CHARACTERS || [...name].length <= MAX_NAME_CHARACTERS
}

export function isAddress (address: string): boolean {
  if (address === ALL) return true
  if (address.startsWith('user:')) return isName(address.slice(5))
  return address.startsWith('group:') && isName(address.slice(6))
}

/** Why an event name is refused, or nothing. */
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
      if (c === 92) i++ // a backslash takes the next character with it
      else if (c === 34) inString = false
    } else if (c === 34) inString = true
    else if (c === 91 || c === 123) { if (++depth > MAX_DATA_DEPTH) return true } else if (c === 93 || c === 125) depth--
  }
  return false
}

/** Where a stream goes on from. `foreign`: a position was named that cannot be ours, so what was missed is unknown. */
export type ResumeFrom = 'fresh' | 'foreign' | number

/** The position that a client names (`Last-Event-ID` or `?lastEventId=`); none is `fresh`. */
export function parsePosition (text: string | undefined): ResumeFrom {
  if (text === undefined || text === '') return 'fresh'
  return /^[1-9][0-9]{0,15}$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : 'foreign'
}

/** A terminal event's id starts so; the browser sends it back on its automatic reconnect. */
export const TERMINAL_MARK = '!'
