// Channel names with several partitions: `<number of the partition>/<address>`, since the same address has a channel in
// each partition.
import type { Address } from '../../../notification.ts'
import type { Channel } from '../../broker.ts'

export function channelIn (partition: number, address: Address): Channel {
  return `${partition}/${address}`
}

export function partitionAt (channel: Channel): number {
  return Number(channel.slice(0, channel.indexOf('/')))
}

/** Cuts at the first slash: the name of a group may contain more. */
export function addressAt (channel: Channel): Address {
  return channel.slice(channel.indexOf('/') + 1)
}
