// The counters of the hub: plain numbers, written by the hub alone and read by the metrics route.
import type { DropReason } from '../broker/listener.ts'
import type { EndReason } from './exits.ts'
import type { SyncData } from './frame.ts'

export class Stats {
  /** Notifications that arrived and had a stream on this node. */
  received = 0
  /** Notifications handed to streams, one for each stream. */
  delivered = 0
  /** Notifications written from the logs. */
  replayed = 0
  /** Live streams that were filled again: after a join, a leave, or a broken line. */
  refilled = 0
  opened = 0
  /** Results of the `sync` events at the end of a fill. */
  readonly syncs: Record<SyncData['resume'], number> = { fresh: 0, complete: 0, incomplete: 0 }
  readonly ended: Record<EndReason, number> = {
    client: 0, slow: 0, age: 0, expired: 0, drain: 0, displaced: 0, replaced: 0, closed: 0, unavailable: 0
  }

  readonly dropped: Record<DropReason, number> = { malformed: 0, oversized: 0, reserved: 0 }
}
