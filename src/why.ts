// Decides from the evidence why somebody did, or did not, get a notification, and puts it into a sentence. Pure
// functions.
import { type Evidence, MAX_TRAIL, type Place } from './broker/trail.ts'
import { nodeOf, readLine, type ReceiptsMode, type TrailEvent } from './receipts.ts'
import { type StreamStory, storiesOf } from './stories.ts'

/** In the order in which they are tried. */
export const VERDICTS = [
  'too-old', 'trimmed', 'forgotten', 'not-addressed', 'left-before', 'joined-later', 'retracted', 'replaced', 'expired', 'dismissed', 'read', 'written', 'resumed-past',
  'cut-as-slow', 'unconfirmed', 'nobody-online', 'no-receipts'
] as const
type Verdict = typeof VERDICTS[number]

export interface Answer {
  readonly verdict: Verdict
  /** A sentence for whoever asked. */
  readonly sentence: string
  readonly publishedAt: string
  readonly addresses: ReadonlyArray<{ readonly to: string, readonly state: string, readonly at?: string }>
  /** What happened to it on each stream of the user, newest first. */
  readonly streams: readonly StreamStory[]
}

export interface Question {
  readonly userId: string
  readonly receipts: ReceiptsMode
}

/** Turns an id (microseconds) into a date. */
const dateOf = (id: number): string => new Date(id / 1000).toISOString()

export function explain (evidence: Evidence, { userId, receipts }: Question): Answer {
  const { id } = evidence
  // Nodes hand in their lines once a second, each at a time of its own.
  const events = [...evidence.trail, ...evidence.reads].map(readLine).filter((event) => event !== undefined).sort((a, b) => b.atMs - a.atMs)
  const mine = evidence.places.filter((place) => stayOf(place, id) !== undefined)
  // If it was not addressed to this user, no stream had to write it.
  const streams = mine.length === 0 ? [] : storiesOf(events, evidence, mine, id)
  const [verdict, sentence] = judge({ evidence, events, mine, streams, userId, id, receipts })
  const addresses = evidence.places.map(({ to, state, goneAt }) => ({ to, state, ...state !== 'kept' && { at: dateOf(goneAt) } }))
  return { verdict, sentence, publishedAt: dateOf(id), addresses, streams }
}

interface Case extends Question {
  readonly id: number
  readonly evidence: Evidence
  readonly events: readonly TrailEvent[]
  /** The logs by which it was addressed to the user. */
  readonly mine: readonly Place[]
  readonly streams: readonly StreamStory[]
}

function judge (all: Case): [Verdict, string] {
  const { evidence, mine, userId } = all
  if (evidence.places.length === 0) return untraceable(all)
  if (mine.length === 0) return notAMember(all)
  return taken(all) ?? known(all) ?? streamed(all) ?? missed(all) ?? [
    'no-receipts', `It is kept for ${userId} and will be replayed${isListed(all) ? ' and listed' : ''}; whether a stream wrote it is not known, since then or later a node kept no receipts (RECEIPTS=off, or an older version). Set RECEIPTS to sampled or all on all nodes.`
  ]
}

function untraceable ({ evidence: { historyFrom, trimmed, isForgetful }, userId, id }: Case): [Verdict, string] {
  if (id <= historyFrom) return ['too-old', `It was published at ${dateOf(id)}, and nothing from before ${dateOf(historyFrom)} is kept: nobody can say any more. HISTORY_SECONDS says how long that is.`]
  const [trim] = trimmed
  if (trim !== undefined) {
    return ['trimmed', `The log of ${trim.to} was trimmed up to ${dateOf(trim.upTo)}, so if it was addressed there it is gone; whoever resumed later was told "incomplete". HISTORY_LENGTH says how many are kept.`]
  }
  if (isForgetful) return ['forgotten', `No trace of it is left for ${userId}: so many were replaced or retracted there since that not all are remembered.`]
  return ['not-addressed', `It was never addressed to ${userId}: not to them, not to all, and to no group that they were in.`]
}

function notAMember ({ evidence: { places }, userId, id }: Case): [Verdict, string] {
  const [{ to, memberships }] = places as [Place]
  const left = Math.max(...memberships.filter(({ to }) => to < id).map(({ to }) => to))
  if (left > 0) return ['left-before', `It was published to ${to}, which ${userId} had left at ${dateOf(left)}.`]
  return ['joined-later', `It was published to ${to}, which ${userId} joined later, at ${dateOf(Math.min(...memberships.map(({ from }) => from)))}. What went there before is not theirs.`]
}

/** It is gone from all logs by which it was addressed to the user. */
function taken ({ evidence: { position }, mine, streams }: Case): [Verdict, string] | undefined {
  const isOver = ({ expiresAt = Infinity }: Place): boolean => expiresAt <= position
  if (mine.some((place) => place.state === 'kept' && !isOver(place))) return undefined
  const [place] = mine.toSorted((a, b) => b.goneAt - a.goneAt) as [Place]
  const had = streams.find(({ outcome }) => outcome === 'written')
  const before = had === undefined ? 'Before that no stream of theirs wrote it, as far as is known.' : `Before that it was ${writtenTo(had)}.`
  switch (place.state) {
    case 'retracted': return ['retracted', `It was taken back at ${dateOf(place.goneAt)}. ${before}`]
    case 'replaced': return ['replaced', `A newer one with the same key took its place: ${place.goneAt}, at ${dateOf(place.goneAt)}. ${before}`]
    default: return ['expired', `It was good until ${dateOf(place.state === 'expired' ? place.goneAt : place.expiresAt!)} (its ttl). ${before}`]
  }
}

/** The user has dismissed or read it. */
function known ({ evidence: { mark, read }, events, mine, userId, id }: Case): [Verdict, string] | undefined {
  if (mark === 'dismissed') return ['dismissed', `${userId} has dismissed it, on some device.`]
  const mayBeListed = mine.some(({ keep }) => keep !== 'replay')
  if (!mayBeListed || mark === 'unread' || (mark !== 'read' && read < id)) return undefined
  // Events are newest first, so the last match is the first read.
  const by = events.filter((event) => event.kind === 'read').findLast((event) => event.what === 'one' ? event.id === id : event.id >= id)
  // A cursor that was moved after they had left the group says nothing about what was not listed any more.
  if (mark !== 'read' && !mine.some((place) => stayOf(place, id)!.to >= (by?.id ?? read))) return undefined
  const when = by === undefined ? '' : ` at ${new Date(by.atMs).toISOString()}, through node ${nodeOf(by.node)}`
  return ['read', `${userId} has read it${when}.`]
}

function writtenTo ({ stream, node, at, how }: StreamStory): string {
  return `written to stream ${stream} on node ${node}${at === undefined ? '' : ` at ${at}`}${how === 'log' ? ', from the log' : ''}`
}

function streamed ({ streams }: Case): [Verdict, string] | undefined {
  const find = (outcome: StreamStory['outcome']): StreamStory | undefined => streams.find((story) => story.outcome === outcome)
  const had = find('written')
  if (had !== undefined) return ['written', `It was ${writtenTo(had)}.`]
  // A page that was told that something is missing goes on behind it, too.
  const past = find('gone-before') === undefined ? find('resumed-past') : undefined
  if (past !== undefined) return ['resumed-past', `Stream ${past.stream} on node ${past.node} was opened at ${past.at} with a position behind it: the page said that it had it.`]
  const cut = find('cut-as-slow')
  if (cut !== undefined) {
    return ['cut-as-slow', `Stream ${cut.stream} on node ${cut.node} was cut at ${cut.at}, because its client did not take what was sent; this was among it. When the page comes back with its position, it is sent again.`]
  }
  const open = find('unconfirmed')
  if (open !== undefined) {
    return ['unconfirmed', `Stream ${open.stream} on node ${open.node} was open, and the node has not said yet that it wrote it. Ask again in some seconds; if that stays, the node has died, and its pages come back for it.`]
  }
}

function missed (all: Case): [Verdict, string] | undefined {
  const { evidence, mine, streams, userId, id, receipts } = all
  // Whoever joins again is owed what they missed, but not if they came in between.
  const cameOut = streams.some(({ outcome }) => outcome === 'gone-before')
  const kept = mine.filter(({ state }) => state === 'kept')
  const left = Math.max(...kept.flatMap((place) => cameOut ? [stayOf(place, id)!] : place.memberships).map(({ to }) => to))
  const isKnown = receipts !== 'off' && !evidence.isUnnoted
  if (left <= evidence.position) {
    const before = `It was published to ${kept[0]!.to} while ${userId} was in it`
    if (!isKnown) return ['left-before', `${before}; they left at ${dateOf(left)}. Whether a stream wrote it before is not known: a node kept no receipts.`]
    return ['left-before', `${before}, and nobody was online; they left at ${dateOf(left)}, before they came back.`]
  }
  if (!isKnown) return undefined
  const later = streams.find(({ outcome }) => outcome === 'opened-later')
  if (later !== undefined) {
    return ['nobody-online', `No stream of ${userId} was open then. Stream ${later.stream} was opened afterwards, at ${later.at}, by a page without a position of this service: ${isListed(all) ? 'it finds it in the list' : 'such a page gets what is listed, and this is not'}.`]
  }
  const oldest = readLine(evidence.trail.at(-1) ?? '')
  if (evidence.trail.length >= MAX_TRAIL && oldest !== undefined && oldest.atMs * 1000 > id) {
    return ['forgotten', `${userId} has opened and closed so many streams since that those of then are not remembered. It is kept for ${userId}${isListed(all) ? ': the list has it' : ''}.`]
  }
  // A page that came for it broke off before it was sent everything.
  const short = streams.find(({ outcome, at = '' }) => outcome === 'ended-before' && Date.parse(at) * 1000 > id)
  if (short !== undefined) {
    return ['nobody-online', `Stream ${short.stream} on node ${short.node} ended at ${short.at}, before this was written to it, and none has been opened since. It is kept for when they come again.`]
  }
  return ['nobody-online', `No stream of ${userId} was open then, and none has been opened since. It is kept for when they come.`]
}

/** The membership in which it was published. */
function stayOf ({ memberships }: Place, id: number): Place['memberships'][number] | undefined {
  return memberships.find(({ from, to }) => id > from && id <= to)
}

/** Whether the list has it: not if it is only replayed, and not if the user has left the group since. */
function isListed ({ mine, id }: Case): boolean {
  return mine.some((place) => place.state === 'kept' && place.keep !== 'replay' && stayOf(place, id)!.to === Infinity)
}
