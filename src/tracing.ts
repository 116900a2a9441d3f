// Where a tracer or a meter listens (node:diagnostics_channel). Unheard, each costs a look.
import { tracingChannel } from 'node:diagnostics_channel'
import type { Channel, HistoryPage, PublishAnswer, PublishRequest, ResumeQuery } from './broker/broker.ts'
import type { Notification } from './notification.ts'

/** Of several nodes in one process, each is told by this very object. */
export interface Node {
  readonly name: string
}

/** A publish over HTTP, from the broker's being asked to its answer (tracePromise). */
export interface PublishTrace {
  readonly request: PublishRequest
  readonly node: Node
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
 * `writtenAtMs`.
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

export const publishes = tracingChannel<unknown, PublishTrace>('tidings:publish')
export const resumes = tracingChannel<unknown, ResumeTrace>('tidings:resume')
export const deliveries = tracingChannel<unknown, DeliverTrace>('tidings:deliver')
