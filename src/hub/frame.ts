// Events as bytes in the format of EventSource, encoded once and shared by every stream that gets them.
import type { InboxCounts } from '../broker/inbox.ts'
import { DEFAULT_EVENT, type Notification, TERMINAL_MARK } from '../notification.ts'

/**
 * One event of the stream. `chunked` carries its own HTTP/1.1 chunk header (RFC 9112, 7.1), so that the same bytes
 * can go straight to every socket; `bare` is the same without it, for HTTP/1.0, which knows no chunks.
 */
export interface Frame {
  /** The id that becomes the stream's cursor; 0 for an event without an id. */
  readonly id: number
  /**
   * A stream that got a `sync` at this position or later drops the frame, since it knows the same or newer; 0: never.
   */
  readonly asOf: number
  /** Marks copies of one notification without an id; empty if there are none. */
  readonly once: string
  readonly chunked: Buffer
  readonly bare: Buffer
}

function frame (text: string, id = 0, asOf = 0, once = ''): Frame {
  const length = Buffer.byteLength(text).toString(16)
  const chunked = Buffer.from(`${length}\r\n${text}\r\n`)
  return { id, asOf, once, chunked, bare: chunked.subarray(length.length + 2, -2) }
}

/**
 * Encodes a notification. `event` and `json` were checked before (an allowed name, one line of JSON), so they cannot
 * break out of their fields.
 */
export function notificationFrame ({ id, event, json, asOf = 0, once }: Notification): Frame {
  const idLine = id === 0 ? '' : `id: ${id}\n`
  const eventLine = event === DEFAULT_EVENT ? '' : `event: ${event}\n`
  return frame(`${idLine}${eventLine}data: ${json}\n\n`, id, event === 'read' ? asOf : 0, once)
}

const replayed = new WeakMap<Notification, Frame>()

/** The same, cached for each notification object: many clients that reconnect together are owed the same entries. */
export function replayedFrame (notification: Notification): Frame {
  let frame = replayed.get(notification)
  if (frame === undefined) replayed.set(notification, frame = notificationFrame(notification))
  return frame
}

export interface SyncData {
  readonly resume: 'fresh' | 'complete' | 'incomplete'
  /** Set in a `sync` that is sent early: notifications from the logs follow, and then another `sync`. */
  readonly more?: true
  /** How many notifications from the logs were written before it. */
  readonly replayed: number
  readonly seen: string
  readonly read: string
  readonly unseen: number
  readonly unread: number
  readonly groups: readonly string[]
  readonly heartbeatSeconds: number
}

export function syncFrame (position: number, data: SyncData): Frame {
  return frame(`id: ${position}\nevent: sync\ndata: ${JSON.stringify(data)}\n\n`, position)
}

/** The cursors and counts of the inbox as JSON. Cursors are ids, which are strings in JSON. */
export function inboxData ({ seen, read, unseen, unread }: InboxCounts): Pick<SyncData, 'seen' | 'read' | 'unseen' | 'unread'> {
  return { seen: String(seen), read: String(read), unseen, unread }
}

export const pingFrame: Frame = frame('event: ping\ndata: {}\n\n')

/** Sets how long the browser waits before it reconnects. It is no block of its own: an event's lines follow. */
export function retryLine (retryMs: number): Frame {
  return frame(`retry: ${retryMs}\n`)
}

/**
 * The last block for a browser that shall open the stream again, with the time to wait. `retry:` stands in that of an
 * event: several client libraries take a block with `retry:` alone for an empty message, and one ignores it.
 */
export function comeBackBlock (retryMs: number): string {
  return `retry: ${Math.round(retryMs)}\nevent: ping\ndata: {}\n\n`
}

export function comeBackFrame (retryMs: number): Frame {
  return frame(comeBackBlock(retryMs))
}

/** Says that the token expires soon, so that the page can put a new one into its cookie. `expiresAtMs`: since 1970. */
export function expiringFrame (expiresAtMs: number): Frame {
  return frame(`event: expiring\ndata: {"at":"${new Date(expiresAtMs).toISOString()}"}\n\n`)
}

/** Ends a stream for good: the browser reconnects with this id and is answered 204, which stops EventSource. */
export function terminalFrame (event: 'replaced' | 'closed', data: object): Frame {
  return frame(`id: ${TERMINAL_MARK}${event}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}
