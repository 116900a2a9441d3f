// Brings a stream from its cursor to live: subscribe, read the logs, write, sync, release. Used at connect, at a join, and after a gap.
import type { Broker } from '../broker/broker.ts'
import { ALL, groupAddress, type ResumeFrom, userAddress } from '../notification.ts'
import { replayedFrame, syncFrame } from './frame.ts'
import type { Stats } from './stats.ts'
import type { Stream } from './stream.ts'
import type { Topics } from './topics.ts'

/** Data in one page of history; the next one is read when the socket has taken it. */
const PAGE_BYTES = 131_072
/** How long a gap is remembered that a client may not have been told of. */
const GAP_SECONDS = 86_400
/** How long a reset may be on its way to us. */
const RESET_MS = 250

export interface RefillParts {
  /** Brings the stream its session, where a user may have only one. False: it has none, and was ended. */
  readonly holdSession: (stream: Stream) => Promise<boolean>
  readonly broker: Broker
  readonly topics: Topics
  readonly stats: Stats
}

/**
 * Writes what the stream is owed since `from`, oldest first, then lets it be live. A first `sync` is always written; a later one
 * only to say that something may be missing. Throws what the broker throws; the stream is then still held and can be tried again.
 */
export async function refill (stream: Stream, from: ResumeFrom, { broker, topics, stats, holdSession }: RefillParts): Promise<void> {
  const { userId, groups, admittedAt } = stream.owner
  const isForeign = from === 'foreign'
  let cursor = from === 'foreign' ? 'fresh' : from
  if (isForeign) stream.gap = true
  let replayed = 0
  let isTold = false
  let gapFrom: number | undefined
  for (;;) {
    stream.staleUntil = 0
    // Channels first: what comes on them from here on is held. The user's own, on which a join or leave is heard; and those of the groups
    // that the token claims, since most often these are all there are.
    topics.add(stream, userAddress(userId))
    topics.add(stream, ALL)
    if (!stream.isLive) for (const group of groups ?? []) topics.add(stream, groupAddress(group))
    await topics.subscribed(stream)
    if (!await holdSession(stream)) return
    const page = await broker.resume({ user: stream.owner, groups, admittedAt, cursor, maxBytes: PAGE_BYTES })
    if (stream.hasEnded) return
    // What was published there since this page was read may have passed us by.
    if (follow(stream, topics, [...page.membership.keys()])) stream.staleUntil = Infinity

    stream.gap ||= page.gap
    // The ids of what is left lead past the gap. Who is cut off before the `sync` comes back from there, and must be told then.
    const last = page.entries.at(-1)
    if (stream.gap && last !== undefined) {
      gapFrom ??= cursor === 'fresh' ? 0 : cursor
      await broker.put(userId, `gap:${userId}`, `${gapFrom} ${last.id}`, GAP_SECONDS)
    }
    stream.cork()
    for (const entry of page.entries) {
      const frame = replayedFrame(entry)
      // A client is not slow because we write ahead of it.
      if (!stream.hasRoomFor(frame)) {
        stream.uncork()
        await stream.drained()
        stream.cork()
      }
      if (stream.hasEnded) return
      stream.write(frame)
    }
    replayed += page.entries.length
    stats.replayed += page.entries.length
    stream.delivered += page.entries.length
    // Also without entries: all up to the position has been written, and the next round goes on from there.
    cursor = page.position
    if (page.more || stream.staleUntil > page.position) {
      stream.uncork()
      await stream.drained()
      if (stream.hasEnded) return
      continue
    }
    if (!stream.isLive || stream.gap) {
      // The clock of a Redis that took over may be behind: what it gives out from here on is new, whatever the stream has seen.
      if (stream.gap) stream.cursor = page.position
      const resume = stream.gap ? 'incomplete' : from === 'fresh' ? 'fresh' : 'complete'
      stream.write(syncFrame(page.position, { resume, replayed, unread: page.inbox.unread, groups: [...page.membership.keys()].sort() }))
      isTold = stream.gap
      stream.gap = false
    } else stream.cursor = Math.max(stream.cursor, page.position)
    stream.filledTo = page.position
    stats.delivered += stream.release()
    stream.uncork()
    if (isTold) void forgetGap(stream, broker)
    return
  }
}

// The client has been told, as far as we can know: the kernel has taken the `sync`, and nobody says that the line was broken then. (A
// client that closes before it has read everything resets the connection; one that has, does not.)
async function forgetGap (stream: Stream, broker: Broker): Promise<void> {
  await stream.drained()
  await stream.endsWithin(RESET_MS)
  if (!stream.wasBroken) await broker.take(stream.owner.userId, `gap:${stream.owner.userId}`).catch(() => {}) // then the next resume is told once more
}

/** Makes the stream's groups those of the membership. True if there are new ones. */
function follow (stream: Stream, topics: Topics, groups: readonly string[]): boolean {
  const wanted = new Set(groups.map(groupAddress))
  for (const { address } of [...stream.topics]) {
    if (address.startsWith('group:') && !wanted.delete(address)) topics.remove(stream, address)
  }
  for (const address of wanted) topics.add(stream, address)
  return wanted.size > 0
}
