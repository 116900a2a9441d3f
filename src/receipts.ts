// Records what happens to a node's streams, so that "why" can be answered later: subscribes to tracing.ts and hands
// records to the broker.
import { randomBytes } from 'node:crypto'
import type { ChannelListener } from 'node:diagnostics_channel'
import type { Trail } from './broker/trail.ts'
import type { ResumeFrom } from './notification.ts'
import { deliveries, type DeliverTrace, ends, type EndTrace, fills, type FillTrace, type Node, reads, type ReadTrace } from './tracing.ts'

/** With RECEIPTS=sampled, one of this many notifications gets a receipt. */
const SAMPLE = 16

/** Between the name of a node and that of its process; NODE_NAME cannot contain it. */
const RUN_SEPARATOR = '\t'

export type ReceiptsMode = 'off' | 'sampled' | 'all'

/** The content of one line of the trail. `node`: with the process, see nodeOf. */
export type TrailEvent = { readonly node: string, readonly atMs: number } & (
  /** The stream was opened or filled again: everything in (from, to] was written from the logs. */
  | { readonly kind: 'open' | 'fill', readonly stream: string, readonly from: ResumeFrom, readonly to: number, readonly resume: string }
  | { readonly kind: 'end', readonly stream: string, readonly reason: string, readonly writtenTo: number, readonly takenTo: number }
  | { readonly kind: 'read', readonly id: number, readonly what: 'upTo' | 'one' }
)

/** Fields separated by spaces, which a node's name cannot contain. */
function lineOf (event: TrailEvent): string {
  const { kind, node, atMs } = event
  switch (kind) {
    case 'end': return [kind, node, atMs, event.stream, event.reason, event.writtenTo, event.takenTo].join(' ')
    case 'read': return [kind, node, atMs, event.id, event.what].join(' ')
    default: return [kind, node, atMs, event.stream, event.from, event.to, event.resume].join(' ')
  }
}

/** Undefined if this version does not know the line. */
export function readLine (line: string): TrailEvent | undefined {
  const [kind, node = '', at, ...rest] = line.split(' ')
  const atMs = Number(at)
  if (kind === 'end' && rest.length >= 4) return { kind, node, atMs, stream: rest[0]!, reason: rest[1]!, writtenTo: Number(rest[2]), takenTo: Number(rest[3]) }
  if (kind === 'read' && (rest[1] === 'upTo' || rest[1] === 'one')) return { kind, node, atMs, id: Number(rest[0]), what: rest[1] }
  if ((kind !== 'open' && kind !== 'fill') || rest.length < 4) return undefined
  const [stream, from, to, resume] = rest as [string, string, string, string]
  return { kind, node, atMs, stream, from: from === 'fresh' || from === 'foreign' ? from : Number(from), to: Number(to), resume }
}

/** The name of a node in a record, without that of its process. */
export const nodeOf = (recorded: string): string => recorded.split(RUN_SEPARATOR, 1)[0]!

export interface ReceiptsOptions {
  readonly mode: ReceiptsMode
  readonly node: Node
  readonly trail: Trail
  /** Milliseconds since 1970 by the broker's clock: records carry dates, which stand beside those of ids. */
  readonly wallMs: () => number
}

/** Starts to record; returns a function that stops it. With `off` nothing is subscribed, and the broker is told so. */
export function keepReceipts ({ mode, node, trail, wallMs }: ReceiptsOptions): () => void {
  if (mode === 'off') {
    trail.keepsNone()
    return () => {}
  }
  // A node that was killed often starts again with its name, as a container does. What the new process writes says
  // nothing of the streams that the old one left open.
  const run = node.name + RUN_SEPARATOR + randomBytes(3).toString('base64url')
  const note = (userId: string, event: TrailEvent): void => { trail.note(userId, lineOf(event)) }
  const onDelivered = ({ node: by, channel, notification: { id }, streams }: DeliverTrace): void => {
    if (by !== node || id === 0) return
    if (mode === 'all' || id % SAMPLE === 0) trail.wrote(run, channel, id, { atMs: wallMs(), streams })
    else trail.wrote(run, channel, id)
  }
  const onFilled = ({ node: by, userId, stream, isFirst, from, position: to, resume }: FillTrace): void => {
    if (by === node) note(userId, { kind: isFirst ? 'open' : 'fill', node: run, atMs: wallMs(), stream, from, to, resume })
  }
  const onEnded = ({ node: by, userId, stream, reason, writtenTo, takenTo }: EndTrace): void => {
    if (by === node) note(userId, { kind: 'end', node: run, atMs: wallMs(), stream, reason, writtenTo, takenTo })
  }
  const onRead = ({ node: by, userId, id, what }: ReadTrace): void => {
    if (by === node) note(userId, { kind: 'read', node: run, atMs: wallMs(), id, what })
  }
  const listeners = [[deliveries.asyncEnd, onDelivered], [fills, onFilled], [ends, onEnded], [reads, onRead]] as const
  for (const [channel, listener] of listeners) channel.subscribe(listener as ChannelListener)
  return () => { for (const [channel, listener] of listeners) channel.unsubscribe(listener as ChannelListener) }
}
