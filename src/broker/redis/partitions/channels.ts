// A channel over partitions is an address with the number of the partition before it: the same address is another
// channel in each.
import type { Address } from '../../../notification.ts'
import type { Channel } from '../../broker.ts'

export function channelIn (partition: number, address: Address): Channel {
  return `${partition}/${address}`
}

export function partitionAt (channel: Channel): number {
  return Number(channel.slice(0, channel.indexOf('/')))
}

/** The name of a group may have a slash of its own. */
export function addressAt (channel: Channel): Address {
  return channel.slice(channel.indexOf('/') + 1)
}
