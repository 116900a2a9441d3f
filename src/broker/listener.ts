// The port's other side: what a broker tells the node that listens to it.
import type { Notification } from '../notification.ts'
import type { Channel } from './broker.ts'

export interface BrokerListener {
  /** A notification arrived on a channel. Order on all channels of a user together is the order of ids. */
  notification: (channel: Channel, notification: Notification) => void
  /** Something for the streams of a user, in the same order. */
  control: (userId: string, control: Control) => void
  /**
   * Messages on these channels may be missing from now on; hold the streams. `isLost`: what was published before is not
   * in the logs any more, groups and cursors neither; the streams are to be told so, wherever they stand.
   */
  interrupted: (isAffected: (channel: Channel) => boolean, isLost?: boolean) => void
  /** These channels are subscribed again; refill the streams from the logs. */
  restored: (isAffected: (channel: Channel) => boolean) => void
  /** A channel message was dropped: not JSON, too large, a reserved or malformed event name. */
  dropped: (channel: Channel, reason: DropReason) => void
}

export type Control =
  | { readonly control: 'join' | 'leave', readonly id: number, readonly group: string }
  /** Another stream holds the user's session now; `tag` names it. */
  | { readonly control: 'takeover', readonly id: number, readonly tag: string }
  | { readonly control: 'logout', readonly id: number }

export type DropReason = 'malformed' | 'oversized' | 'reserved'
