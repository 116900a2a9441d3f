// Works out for each stream of a user what happened to one notification, from what its node recorded.
import type { Evidence, Place } from './broker/trail.ts'
import { nodeOf, type TrailEvent } from './receipts.ts'

export interface StreamStory {
  readonly stream: string
  readonly node: string
  /**
   * `resumed-past`: the page opened it with a position after the notification. `opened-later`: a page opened it
   * afterwards, without a position. `gone-before`: the log did not have it any more, or the user had left the group.
   * `ended-before`: the stream ended before it. `cut-as-slow`: written, but probably not received. `unconfirmed`: the
   * stream is open, and its node has not reported yet.
   */
  readonly outcome: 'written' | 'resumed-past' | 'opened-later' | 'gone-before' | 'ended-before' | 'cut-as-slow' | 'unconfirmed'
  /** The time of the outcome, if known. */
  readonly at?: string
  /** Whether it was written as it arrived, or from the log when the stream was opened or filled again. */
  readonly how?: 'live' | 'log'
  /** Why the stream ended. */
  readonly ended?: string
}

type Fill = Extract<TrailEvent, { kind: 'open' | 'fill' }>
type End = Extract<TrailEvent, { kind: 'end' }>

interface Notes {
  readonly stream: string
  readonly node: string
  /** Oldest first. */
  readonly fills: Fill[]
  end: End | undefined
}

/** `events`: newest first, as the result. `places`: the logs by which it was addressed to the user. */
export function storiesOf (events: readonly TrailEvent[], evidence: Evidence, places: readonly Place[], id: number): StreamStory[] {
  const streams = new Map<string, Notes>()
  for (const event of events) {
    if (event.kind === 'read') continue
    const { stream, node } = event
    const name = `${node} ${stream}`
    let notes = streams.get(name)
    if (notes === undefined) streams.set(name, notes = { stream, node, fills: [], end: undefined })
    if (event.kind === 'end') notes.end = event
    else notes.fills.unshift(event)
  }
  return [...streams.values()].map((notes) => {
    const { stream, node, end } = notes
    return { stream, node: nodeOf(node), ...tell(notes, evidence, places, id), ...end && { ended: end.reason } }
  })
}

type Part = Pick<StreamStory, 'outcome' | 'at' | 'how'>
const iso = (atMs: number): string => new Date(atMs).toISOString()

function tell ({ node, fills, end }: Notes, { receipts, written }: Evidence, places: readonly Place[], id: number): Part {
  const [open] = fills
  if (open !== undefined && id <= open.to && open.kind === 'open') return atOpen(open, places, id)
  const fill = fills.find(({ from, to }) => typeof from === 'number' && from < id && id <= to)
  if (fill !== undefined) return fromLog(fill, places)
  const receipt = receipts.find((receipt) => receipt.node === node)
  const live: Part = { outcome: 'written', how: 'live', ...receipt && { at: iso(receipt.atMs) } }
  if (end === undefined) return receipt !== undefined || (written.get(node) ?? 0) >= id ? live : { outcome: 'unconfirmed' }
  if (end.writtenTo < id) return { outcome: 'ended-before', at: iso(end.atMs) }
  return end.reason === 'slow' && end.takenTo < id ? { outcome: 'cut-as-slow', at: iso(end.atMs) } : live
}

function atOpen (open: Fill, places: readonly Place[], id: number): Part {
  const { from, atMs } = open
  if (typeof from !== 'number') return { outcome: 'opened-later', at: iso(atMs) }
  return id <= from ? { outcome: 'resumed-past', at: iso(atMs) } : fromLog(open, places)
}

/** The outcome of reading the log: whether it still had the notification, and the user might read it. */
function fromLog ({ to: position, atMs }: Fill, places: readonly Place[]): Part {
  const stood = places.some(({ state, goneAt, expiresAt = Infinity, memberships }) =>
    (state === 'kept' ? expiresAt : goneAt) > position && memberships.some(({ from, to }) => from < position && position <= to))
  return { outcome: stood ? 'written' : 'gone-before', at: iso(atMs), ...stood && { how: 'log' } }
}
