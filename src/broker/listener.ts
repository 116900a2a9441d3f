// The other direction of the port: what a broker reports to its node.
import type { Notification } from '../notification.ts'
import type { Channel } from './broker.ts'

export interface BrokerListener {
  /** A notification arrived on a channel. Over all channels of a user together, ids come in ascending order. */
  notification: (channel: Channel, notification: Notification) => void
  /** A control message for the streams of a user, in the same order. */
  control: (userId: string, control: Control) => void
  /**
   * Messages on these channels may be missing from now on: hold the streams. `isLost`: the data of the broker was lost,
   * logs, groups and cursors alike. Every stream must be told so (`incomplete`), wherever it stands.
   */
  interrupted: (isAffected: (channel: Channel) => boolean, isLost?: boolean) => void
  /** These channels are subscribed again: fill the streams from the logs. */
  restored: (isAffected: (channel: Channel) => boolean) => void
  /**
   * A channel message was dropped: not JSON, too large, a reserved or malformed event name. `isStranger`: it looks like
   * one of the broker's own, and is of another writer than those that this node knows by now, or forged.
   */
  dropped: (channel: Channel, reason: DropReason, isStranger?: boolean) => void
}

export type Control =
  | { readonly control: 'join' | 'leave', readonly id: number, readonly group: string }
  /** Another stream took the user's session; `tag` names it. */
  | { readonly control: 'takeover', readonly id: number, readonly tag: string }
  | { readonly control: 'logout', readonly id: number }

export type DropReason = 'malformed' | 'oversized' | 'reserved'
