// A notification as bytes: what EventSource reads, encoded once and shared by every stream it goes to.
import type { InboxCounts } from '../broker/inbox.ts'
import { DEFAULT_EVENT, type Notification, TERMINAL_MARK } from '../notification.ts'

/**
 * One event of the stream. `chunked` carries its own HTTP/1.1 chunk header (RFC 9112, 7.1), so that the same bytes
 * can go straight to every socket; `bare` is the same without it, for HTTP/1.0, which knows no chunks.
 */
export interface Frame {
  /** What the stream's cursor becomes; 0 for what has no place in the order. */
  readonly id: number
  /** A position whose `sync` makes the frame pointless, since it says the same or newer; 0 if none does. */
  readonly asOf: number
  /** What the copies of one without an id share; empty if there is one alone. */
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
 * `event` and `json` are checked before: a name of EVENT_NAME, one line of JSON. Nothing here can break out of its
 * field.
 */
export function notificationFrame ({ id, event, json, asOf = 0, once }: Notification): Frame {
  const idLine = id === 0 ? '' : `id: ${id}\n`
  const eventLine = event === DEFAULT_EVENT ? '' : `event: ${event}\n`
  return frame(`${idLine}${eventLine}data: ${json}\n\n`, id, event === 'read' ? asOf : 0, once)
}

const replayed = new WeakMap<Notification, Frame>()

/** The same, made once for each notification: many who come back in the same moment are owed the same. */
export function replayedFrame (notification: Notification): Frame {
  let frame = replayed.get(notification)
  if (frame === undefined) replayed.set(notification, frame = notificationFrame(notification))
  return frame
}

export interface SyncData {
  readonly resume: 'fresh' | 'complete' | 'incomplete'
  /** Told early: notifications from the logs follow, and then another `sync`. */
  readonly more?: true
  /** Notifications written from the logs before this. */
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

/** What the user has done with the inbox. Cursors are ids, and as such strings. */
export function inboxData ({ seen, read, unseen, unread }: InboxCounts): Pick<SyncData, 'seen' | 'read' | 'unseen' | 'unread'> {
  return { seen: String(seen), read: String(read), unseen, unread }
}

/** The same for a stream that may have missed a `read` and gets no `sync`. */
export function readFrame (inbox: InboxCounts): Frame {
  return frame(`event: read\ndata: ${JSON.stringify(inboxData(inbox))}\n\n`)
}

export const pingFrame: Frame = frame('event: ping\ndata: {}\n\n')

/** How long the browser is to wait before it reconnects: no event yet, but the first line of one that follows. */
export function retryLine (retryMs: number): Frame {
  return frame(`retry: ${retryMs}\n`)
}

/**
 * Last words of a stream that the browser is to open again, and when. They stand in the block of an event, since
 * several client libraries take a block with nothing but `retry:` for an empty message.
 */
export function comeBackFrame (retryMs: number): Frame {
  return frame(`retry: ${retryMs}\nevent: ping\ndata: {}\n\n`)
}

/**
 * The token ends soon: a page that puts a fresh one into its cookie goes on without a gap. `expiresAtMs`: since 1970.
 */
export function expiringFrame (expiresAtMs: number): Frame {
  return frame(`event: expiring\ndata: {"at":"${new Date(expiresAtMs).toISOString()}"}\n\n`)
}

/** Ends a stream for good: the browser sends the id back and is answered 204, at which EventSource stops. */
export function terminalFrame (event: 'replaced' | 'closed', data: object): Frame {
  return frame(`id: ${TERMINAL_MARK}${event}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}
