// Users and groups, by the partition that they are in.
import { partitionOf } from '../../src/broker/redis/partitions/slots.ts'

/** A user in each partition, in order. */
export function usersIn (partitions: number): string[] {
  const users = new Map<number, string>()
  for (let n = 0; users.size < partitions; n++) {
    const partition = partitionOf(`${n}`, partitions)
    if (!users.has(partition)) users.set(partition, `${n}`)
  }
  return Array.from({ length: partitions }, (_, i) => users.get(i)!)
}
