// Passes on what one partition reports, with its number in the channel names.
import type { Channel } from '../../broker.ts'
import type { BrokerListener } from '../../listener.ts'
import { addressAt, channelIn, partitionAt } from './channels.ts'

/** `takes`: returns true for a channel that it handles itself. */
export function listenerOf (listener: BrokerListener, partition: number, takes: (channel: Channel) => boolean): BrokerListener {
  const affects = (isAffected: (channel: Channel) => boolean) =>
    (channel: Channel): boolean => partitionAt(channel) === partition && isAffected(addressAt(channel))
  return {
    notification: (channel, notification) => { if (!takes(channel)) listener.notification(channelIn(partition, channel), notification) },
    control: (userId, control) => { listener.control(userId, control) },
    interrupted: (isAffected, isLost) => { listener.interrupted(affects(isAffected), isLost) },
    restored: (isAffected) => { listener.restored(affects(isAffected)) },
    dropped: (channel, ...why) => { listener.dropped(channelIn(partition, channel), ...why) }
  }
}

/** Fills the streams of these groups in a partition again. Their logs say that something may be missing. */
export function refill (listener: BrokerListener, partition: number, groups: readonly string[]): void {
  const channels = new Set(groups.map((group) => channelIn(partition, `group:${group}`)))
  const isAffected = (channel: Channel): boolean => channels.has(channel)
  listener.interrupted(isAffected)
  listener.restored(isAffected)
}
