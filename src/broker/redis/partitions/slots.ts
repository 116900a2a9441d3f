// Which partition something stands in: by the slot of a name, as in Redis Cluster, so that a partition lies in one slot
// of it.
import type { Address } from '../../../notification.ts'
import { keySlot, SLOTS } from '../slot.ts'

/** The number of the partition, of so many, in which a user, a group or `all` is at home. */
export function partitionOf (name: string, partitions: number): number {
  return Math.floor(keySlot(name) * partitions / SLOTS)
}

/**
 * For each partition the smallest natural number whose slot lies in its range: it stands in braces at the end of its
 * prefix.
 */
export function tagsOf (partitions: number): string[] {
  const tags = new Map<number, string>()
  for (let number = 0; tags.size < partitions; number++) {
    const partition = partitionOf(`${number}`, partitions)
    if (!tags.has(partition)) tags.set(partition, `${number}`)
  }
  return Array.from({ length: partitions }, (_, i) => tags.get(i)!)
}

/** What the partition of an address goes by: a user's id, a group's name, or `all`. */
export function nameOf (address: Address): string {
  return address.slice(address.indexOf(':') + 1)
}

/** The home of a group, or of `all`, has to be asked for its members; a user is at home in one partition alone. */
export function isShared (address: Address): boolean {
  return !address.startsWith('user:')
}
