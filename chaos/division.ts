// Into which partitions the Redis of a run is divided, and where something is at home.
import { nameOf, partitionOf, tagsOf } from '../src/broker/redis/partitions/slots.ts'

export class Division {
  readonly count: number
  /** First part of every key, of each partition. */
  readonly prefixes: readonly string[]
  readonly tags: readonly string[]

  /** In a Cluster one partition alone has a tag, too. */
  constructor ({ root, count, isCluster }: { root: string, count: number, isCluster: boolean }) {
    this.count = count
    this.tags = tagsOf(count)
    this.prefixes = count === 1 && !isCluster ? [root] : this.tags.map((tag) => `${root}:{${tag}}`)
  }

  homeOf (address: string): number {
    return partitionOf(nameOf(address), this.count)
  }

  prefixOf (address: string): string {
    return this.prefixes[this.homeOf(address)]!
  }

  /** Where the shared addresses of a publish are at home, if that is one partition. */
  homeOfAll (to: readonly string[]): number | undefined {
    const homes = new Set(to.filter((address) => !address.startsWith('user:')).map((address) => this.homeOf(address)))
    return homes.size === 1 ? [...homes][0] : undefined
  }

  /** The address of a user whom nobody is, in the partition of this one. */
  nobodyBeside (userId: string): string {
    return `user:{${userId}}nobody`
  }

  /** The same in a partition. */
  nobodyIn (partition: number): string {
    return `user:{${this.tags[partition]}}nobody`
  }
}
