// The path of a notification over partitions: committed in one of them by one call, then copied to all others with
// listeners.
import { setTimeout as sleep } from 'node:timers/promises'
import { Gathering, type Answer } from '../gathering.ts'
import type { Address } from '../../../notification.ts'
import { type PublishAnswer, type PublishRequest, type RetractRequest, Revoked, type Identity } from '../../broker.ts'
import type { RedisBroker } from '../redis.ts'
import { ARGUMENT_WEIGHT } from '../requests.ts'
import { KEY_SECONDS } from './keys.ts'
import type { Directory } from './directory.ts'
import type { Outboxes } from './outboxes.ts'
import { isShared, nameOf, partitionOf } from './slots.ts'

type Owed = [tag: string, before: string, to: string[]]
type CommitReply = [replayed: 0 | 1, id: string, receivers: number[], to: string[] | 0, outboxId: string, owed: Owed[], pending?: number]
type RetractReply = [isTaken: 0 | 1, origin: string, outboxId: string, owed: Owed[]]

/** How often, and at what intervals, a repetition asks for the first answer. Its node may have died meanwhile. */
const SETTLE_TRIES = 20
const SETTLE_MS = 50

/** A publish as the committing partition needs it. */
interface Commit {
  readonly request: PublishRequest
  /** Addresses with users in this partition; first those that have their home here. */
  readonly local: readonly Address[]
  readonly homed: number
  /** Tag and address of each copy for another partition whose home is not here. */
  readonly far: ReadonlyArray<readonly [tag: string, address: Address]>
  readonly to: readonly Address[]
  readonly publisher: Identity | undefined
}

export interface PublishingOptions {
  readonly partitions: readonly RedisBroker[]
  readonly tags: readonly string[]
  readonly directory: Directory
  readonly outboxes: Outboxes
}

export class Publishing {
  readonly #partitions: readonly RedisBroker[]
  readonly #tags: readonly string[]
  readonly #directory: Directory
  readonly #outboxes: Outboxes
  readonly #commits: ReadonlyArray<Gathering<Commit, CommitReply>>

  constructor ({ partitions, tags, directory, outboxes }: PublishingOptions) {
    this.#partitions = partitions
    this.#tags = tags
    this.#directory = directory
    this.#outboxes = outboxes
    this.#commits = partitions.map((partition) => new Gathering<Commit, CommitReply>((commits) => commit(partition, commits), {
      weigh: ({ local, far, request }) => local.length * (request.json.length + ARGUMENT_WEIGHT) + far.length * ARGUMENT_WEIGHT
    }))
  }

  async publish (request: PublishRequest): Promise<PublishAnswer> {
    const { idempotencyKey } = request
    const to = [...new Set(request.to)]
    let home = this.#homeOf(to.find(isShared) ?? to[0]!)
    if (idempotencyKey !== undefined) home = await this.#claim(idempotencyKey, home)
    const publisher = await this.#check(request.publisher, home)
    // No other partition needs to know of a publish to this partition's users alone.
    if (to.every((address) => !isShared(address) && this.#homeOf(address) === home)) {
      return await this.#partitions[home]!.publish({ ...request, to, publisher })
    }
    const prepared = await this.#prepare(request, to, home, publisher)
    let reply = await this.#commits[home]!.ask(prepared)
    // A repetition that comes while the first publish is being copied waits for its answer.
    for (let i = 0; i < SETTLE_TRIES && isUnsettled(reply); i++) {
      await sleep(SETTLE_MS)
      reply = await this.#commits[home]!.ask(prepared)
    }
    return await this.#finish(prepared, home, reply)
  }

  /** Takes a notification back at the home of its address, which has it, and tells the partitions with members. */
  async retract ({ to, what, publisher }: RetractRequest): Promise<boolean> {
    const home = this.#homeOf(to)
    const by = await this.#check(publisher, home)
    const which = 'id' in what ? ['id', what.id] : ['key', what.key]
    const [isTaken, origin, outboxId, owed] =
      await this.#partitions[home]!.call('tidings_take_back', by?.userId ?? '', by?.issuedAtSeconds ?? 0, to, ...which) as RetractReply
    await this.#copy(home, outboxId, owed, ['r', origin])
    return isTaken === 1
  }

  #homeOf (address: Address): number {
    return partitionOf(nameOf(address), this.#tags.length)
  }

  /** The partition in which an idempotency key was first used. It is recorded in the partition of the key itself. */
  async #claim (key: string, home: number): Promise<number> {
    const stands = await this.#partitions[partitionOf(key, this.#tags.length)]!.claim(`idempotency:${key}`, this.#tags[home]!, KEY_SECONDS)
    return Math.max(0, this.#tags.indexOf(stands))
  }

  /**
   * Checks that the publisher has not logged out. Returns the publisher if the home partition itself must check this.
   * Rejects with Revoked.
   */
  async #check (publisher: Identity | undefined, home: number): Promise<Identity | undefined> {
    if (publisher === undefined) return undefined
    const own = partitionOf(publisher.userId, this.#tags.length)
    if (own === home) return publisher
    const isRevoked = await this.#partitions[own]!.call('tidings_is_revoked', publisher.userId, publisher.issuedAtSeconds)
    if (isRevoked === 1) throw new Revoked()
    return undefined
  }

  async #prepare (request: PublishRequest, to: readonly Address[], home: number, publisher: Identity | undefined): Promise<Commit> {
    const own = this.#tags[home]!
    const homed = to.filter((address) => isShared(address) && this.#homeOf(address) === home)
    const local: Address[] = [...homed]
    const far: Array<readonly [string, Address]> = []
    const send = (tag: string, address: Address): void => {
      if (tag === own) local.push(address)
      else far.push([tag, address])
    }
    const asked = new Map<number, Address[]>()
    for (const address of to) {
      const at = this.#homeOf(address)
      if (!isShared(address)) send(this.#tags[at]!, address)
      else if (at !== home) asked.set(at, [...asked.get(at) ?? [], address])
    }
    await Promise.all([...asked].map(async ([at, addresses]) => {
      const members = await this.#directory.membersOf(at, addresses)
      for (const [i, address] of addresses.entries()) {
        for (const tag of [this.#tags[at]!, ...members[i]!]) send(tag, address)
      }
    }))
    return { request, local, homed: homed.length, far, to, publisher }
  }

  async #finish ({ request, local, to }: Commit, home: number, reply: CommitReply): Promise<PublishAnswer> {
    const [replayed, id, receivers, addresses, outboxId, owed, wasPending = 0] = reply
    if (id !== '') this.#partitions[home]!.saw(Number(id))
    const answer = { replayed: replayed === 1, id: id === '' ? undefined : Number(id) }
    if (answer.replayed) {
      const kept = addresses === 0 ? to : addresses
      const notifications = receivers.map((count, i) => ({ to: kept[i]!, receivers: count }))
      return { ...answer, notifications, ...wasPending !== 0 && { pending: Math.abs(wasPending) } }
    }
    const counts = new Map(to.map((address) => [address, 0]))
    const add = (address: Address, count: number): void => { counts.set(address, (counts.get(address) ?? 0) + count) }
    for (const [i, address] of local.entries()) add(address, receivers[i] ?? 0)
    const { event, json, keep, key, ttlSeconds, idempotencyKey, traceparent } = request
    const fields = [
      'e', event, 'd', json, ...keep === 'inbox' ? [] : ['keep', keep], ...key === undefined ? [] : ['k', key], ...traceparent === undefined ? [] : ['tp', traceparent],
      ...ttlSeconds === undefined ? [] : ['x', `${Number(outboxId) + ttlSeconds * 1_000_000}`]
    ]
    const pending = await this.#copy(home, outboxId, owed, fields, add)
    if (idempotencyKey !== undefined && owed.length > 0) {
      // If this call fails, a replayed answer comes later, has fewer receivers than the first one, and more pending.
      await this.#partitions[home]!.call('tidings_settle', idempotencyKey, pending, ...counts.values()).catch(() => {})
    }
    return { ...answer, notifications: [...counts].map(([to, receivers]) => ({ to, receivers })), ...pending > 0 && { pending } }
  }

  /** Copies to each partition that is owed something. Returns how many will get it later. */
  async #copy (
    home: number, outboxId: string, owed: readonly Owed[], fields: readonly string[], add?: (address: Address, count: number) => void
  ): Promise<number> {
    const copied = await Promise.all(owed.map(async ([tag, before, to]) => {
      const item = { id: Number(outboxId), before: Number(before), isOldest: false, fields, to }
      return await this.#outboxes.copies(home, this.#tags.indexOf(tag)).copy(item).then((receivers) => {
        for (const [i, address] of to.entries()) add?.(address, receivers[i] ?? 0)
        return true
      }, () => false) // the outbox has it
    }))
    return copied.filter((isCopied) => !isCopied).length
  }
}

function isUnsettled ([, , , , , , pending = 0]: CommitReply): boolean {
  return pending < 0
}

async function commit (partition: RedisBroker, commits: readonly Commit[]): Promise<Array<Answer<CommitReply>>> {
  const args = commits.flatMap(({ request, local, homed, far, to, publisher }) => {
    const { event, json, keep, key = '', ttlSeconds = '', idempotencyKey = '', traceparent = '' } = request
    return [
      idempotencyKey, publisher?.userId ?? '', publisher?.issuedAtSeconds ?? 0, event, json, keep, ttlSeconds, key, traceparent, local.length, ...local,
      homed, far.length, ...far.flat(), ...idempotencyKey === '' ? [0] : [to.length, ...to]
    ]
  })
  const replies = await partition.call('tidings_commit', commits.length, ...args) as Array<CommitReply | ['error', string]>
  return replies.map((reply) => reply[0] === 'error' ? partition.translate(reply[1]) : reply as CommitReply)
}
