// Where a tracer or a meter listens (node:diagnostics_channel). Unheard, each costs a look.
import { channel, tracingChannel } from 'node:diagnostics_channel'
import type { Channel, HistoryPage, PublishAnswer, PublishRequest, ResumeQuery } from './broker/broker.ts'
import type { Notification, ResumeFrom } from './notification.ts'

/** Of several nodes in one process, each is told by this very object. */
export interface Node {
  readonly name: string
}

/** A publish over HTTP, from the broker's being asked to its answer (tracePromise). */
export interface PublishTrace {
  readonly request: PublishRequest
  readonly node: Node
  /** What the message is to carry: at first what the publisher sent. Whoever traces puts its own here at the start. */
  traceparent?: string | undefined
  result?: PublishAnswer
  error?: unknown
}

/** One page of history for one stream, from the broker's being asked to its answer (tracePromise). */
export interface ResumeTrace {
  readonly query: ResumeQuery
  readonly node: Node
  result?: HistoryPage
  error?: unknown
}

/**
 * One notification on one node, from being heard (`start`) to being written to its streams (`asyncEnd`), if any of them
 * takes it then. Times are milliseconds of `performance.now()`: it waits until `writeAtMs`, and is written by
 * `writtenAtMs`. The object is used again after `asyncEnd`: whoever wants to keep something of it copies that.
 */
export interface DeliverTrace {
  readonly channel: Channel
  readonly notification: Notification
  readonly node: Node
  /** Streams that it is written to; those that are held, or have it already, do not count. */
  streams: number
  readonly heardAtMs: number
  writeAtMs: number
  writtenAtMs: number
}

/** A stream, as it is named where it is told of. */
interface StreamName {
  readonly node: Node
  readonly userId: string
  /** Names it among all of its node. */
  readonly stream: string
}

/** A stream was brought to live: all up to `position` is written. Times are milliseconds of `performance.now()`. */
export interface FillTrace extends StreamName {
  readonly isFirst: boolean
  readonly from: ResumeFrom
  readonly position: number
  readonly resume: 'fresh' | 'complete' | 'incomplete'
  readonly replayed: number
  readonly startedAtMs: number
  readonly filledAtMs: number
}

/** A stream has ended. */
export interface EndTrace extends StreamName {
  readonly reason: string
  /** Up to which id it was written; and up to which the socket has taken it for sure. */
  readonly writtenTo: number
  readonly takenTo: number
}

/** A user has read: everything up to an id, or the one. */
export interface ReadTrace {
  readonly node: Node
  readonly userId: string
  readonly id: number
  readonly what: 'upTo' | 'one'
}

export const fills = channel('tidings:fill')
export const ends = channel('tidings:end')
export const reads = channel('tidings:read')
export const publishes = tracingChannel<unknown, PublishTrace>('tidings:publish')
export const resumes = tracingChannel<unknown, ResumeTrace>('tidings:resume')
export const deliveries = tracingChannel<unknown, DeliverTrace>('tidings:deliver')
