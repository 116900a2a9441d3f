// What one partition hears, told on with its number: the same address is another channel in each.
import type { Channel } from '../../broker.ts'
import type { BrokerListener } from '../../listener.ts'

/** `takes`: the channel is none of the listener's. */
export function listenerOf (listener: BrokerListener, partition: number, takes: (channel: Channel) => boolean): BrokerListener {
  const start = `${partition}/`
  const affects = (isAffected: (channel: Channel) => boolean) =>
    (channel: Channel): boolean => channel.startsWith(start) && isAffected(channel.slice(start.length))
  return {
    notification: (channel, notification) => { if (!takes(channel)) listener.notification(start + channel, notification) },
    control: (userId, control) => { listener.control(userId, control) },
    interrupted: (isAffected) => { listener.interrupted(affects(isAffected)) },
    restored: (isAffected) => { listener.restored(affects(isAffected)) },
    dropped: (channel, reason) => { listener.dropped(start + channel, reason) }
  }
}
