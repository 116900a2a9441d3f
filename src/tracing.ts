// The diagnostics channels for tracers, meters and receipts. Without subscribers each costs one check.
import { channel, tracingChannel } from 'node:diagnostics_channel'
import type { Channel, HistoryPage, PublishAnswer, PublishRequest, ResumeQuery } from './broker/broker.ts'
import type { Notification, ResumeFrom } from './notification.ts'

/** Identifies a node among several in one process, by object identity. */
export interface Node {
  readonly name: string
}

/** A publish over HTTP, from the call of the broker to its answer (tracePromise). */
export interface PublishTrace {
  readonly request: PublishRequest
  readonly node: Node
  /** The `traceparent` for the message: at first the publisher's. A tracer replaces it at `start`. */
  traceparent?: string | undefined
  result?: PublishAnswer
  error?: unknown
}

/** One page of history for one stream, from the call of the broker to its answer (tracePromise). */
export interface ResumeTrace {
  readonly query: ResumeQuery
  readonly node: Node
  result?: HistoryPage
  error?: unknown
}

/**
 * One notification on one node, from its arrival (`start`) to the write to its streams (`asyncEnd`), if any stream
 * takes it at once. Times are `performance.now()`: it waits until `writeAtMs`, and is written by `writtenAtMs`. The
 * object is reused after `asyncEnd`, so subscribers must copy what they keep.
 */
export interface DeliverTrace {
  readonly channel: Channel
  readonly notification: Notification
  readonly node: Node
  /** How many streams it is written to, without those that are held or have it already. */
  streams: number
  readonly heardAtMs: number
  writeAtMs: number
  writtenAtMs: number
}

/** Identifies a stream. */
interface StreamName {
  readonly node: Node
  readonly userId: string
  /** Its name, unique within its node. */
  readonly stream: string
}

/** A stream was filled: everything up to `position` was written. Times are `performance.now()`. */
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
  /** Up to which id it was written, and up to which the socket has certainly taken it. */
  readonly writtenTo: number
  readonly takenTo: number
}

/** A user has read everything up to an id (`upTo`), or one notification (`one`). */
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
