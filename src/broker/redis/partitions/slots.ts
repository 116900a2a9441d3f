// The partition of a name: by its slot as in Redis Cluster, so that a partition lies within one slot of a Cluster.
import type { Address } from '../../../notification.ts'
import { keySlot, SLOTS } from '../slot.ts'

/** The number of the partition, out of `partitions`, that is the home of a user, a group or `all`. */
export function partitionOf (name: string, partitions: number): number {
  return Math.floor(keySlot(name) * partitions / SLOTS)
}

/**
 * The tags of all partitions, which end their prefixes in braces. Each is the smallest natural number whose slot lies
 * in the partition's range.
 */
export function tagsOf (partitions: number): string[] {
  const tags = new Map<number, string>()
  for (let number = 0; tags.size < partitions; number++) {
    const partition = partitionOf(`${number}`, partitions)
    if (!tags.has(partition)) tags.set(partition, `${number}`)
  }
  return Array.from({ length: partitions }, (_, i) => tags.get(i)!)
}

/** The part of an address that decides its partition: a user's id, a group's name, or `all`. */
export function nameOf (address: Address): string {
  return address.slice(address.indexOf(':') + 1)
}

/**
 * True for groups and `all`, whose home must be asked for the partitions with members. A user is in one partition only.
 */
export function isShared (address: Address): boolean {
  return !address.startsWith('user:')
}
