// A model and a real broker, side by side: each step is done to both, and both are asked the same.
import { deepStrictEqual, equal, ok } from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import type { PublishRequest, Reader } from '../../src/broker/broker.ts'
import { FuturePosition, type InboxMark, NoNotification } from '../../src/broker/inbox.ts'
import { type Address, ALL, groupAddress, userAddress } from '../../src/notification.ts'
import { idsOf, isGrowing, type Node, noClaim, readerOf, readPages, refusal, visitorOf } from './contract.ts'
import type { Model } from './model.ts'

export const USERS = ['ann', 'bob'] as const
export const GROUPS = ['g', 'h'] as const
export const ADDRESSES: readonly Address[] = [...USERS.map(userAddress), ...GROUPS.map(groupAddress), ALL]

export interface Real {
  /** Two nodes: one is asked, one hears. */
  readonly nodes: readonly [Node, Node]
  /** Sets the clock of ids ahead. */
  readonly turn: (seconds: number) => Promise<void>
  /** Where there are several clocks: makes them one. */
  readonly align?: () => Promise<void>
  /** What another service sends to Redis; where there is none, `fcall` is left out. */
  readonly fcall?: (name: string, ...args: Array<string | number>) => Promise<unknown>
  readonly publishPlain?: (to: Address, payload: string) => Promise<void>
}

/** The same, said at two moments: a ttl may have ended in between. */
type Either<T> = readonly [before: T, after: T]

export class World {
  readonly model: Model
  readonly #real: Real
  readonly #floods: readonly Address[]
  /** All ids, in order. */
  readonly ids: number[] = []
  /** Where each user's device is, that is away. */
  readonly #away = new Map<string, number>()
  readonly #heard: Array<Either<object>> = []
  /** What is heard of one publish, in any order. */
  readonly #together: Array<{ readonly from: number, readonly to: readonly Address[] }> = []
  #turned = 0

  /** `floods`: where logs may be trimmed. There nothing has a ttl, since when it is taken out, and so makes room, is the broker's affair. */
  constructor (model: Model, real: Real, floods: readonly Address[]) {
    this.model = model
    this.#real = real
    this.#floods = floods
  }

  get #broker (): Node['broker'] { return this.#real.nodes[0].broker }

  async start (): Promise<void> {
    await this.#real.nodes[1].broker.subscribe(ADDRESSES)
    for (const userId of USERS) await this.visit(userId)
  }

  /** A position: all that was done before it lies before it. */
  async #now (): Promise<number> {
    await this.#real.align?.()
    const { position } = await this.#broker.position({ userId: 'nobody' })
    await this.#real.align?.()
    return position
  }

  // — what is done —

  async visit (userId: string): Promise<void> {
    this.model.visit(userId, await this.#now())
    await this.#broker.position(readerOf(userId, noClaim))
  }

  /** `isLarge`: more than a count likes to read. */
  async publish ({ isLarge = false, ...request }: Omit<PublishRequest, 'event' | 'json'> & { readonly isLarge?: boolean }): Promise<void> {
    const ttlSeconds = request.to.some((address) => this.#floods.includes(address)) ? undefined : request.ttlSeconds
    const whole = { ...request, ttlSeconds, event: 'message', json: isLarge ? JSON.stringify(String(this.#heard.length).padEnd(5000)) : String(this.#heard.length) }
    await this.#real.align?.()
    const { id, notifications, replayed } = await this.#broker.publish(whole)
    equal(replayed, false)
    deepStrictEqual(notifications, [...new Set(whole.to)].map((to) => ({ to, receivers: 1 })))
    equal(id === undefined, whole.keep === 'none')
    const from = this.#heard.length
    for (const { to } of notifications) this.#hears({ to, id: id ?? 0, event: 'message', json: whole.json })
    if (this.#real.align !== undefined) this.#together.push({ from, to: notifications.map(({ to }) => to) })
    if (request.idempotencyKey !== undefined) {
      deepStrictEqual(await this.#broker.publish({ ...whole, json: '"again"' }), { id, notifications, replayed: true })
    }
    if (id === undefined) return
    ok(id > (this.ids.at(-1) ?? 0), 'ids grow')
    this.ids.push(id)
    this.model.publish(id, whole)
  }

  /** By FCALL. What is too long for its log a node trims within a second, so where it may be, it is left out. */
  async publishOutside (to: Address, { keep, ttlSeconds, key, isLarge }: Pick<PublishRequest, 'keep' | 'ttlSeconds' | 'key'> & { readonly isLarge: boolean }): Promise<void> {
    if (this.#real.fcall === undefined) { await this.publish({ to: [to], keep, ttlSeconds, key, isLarge }); return }
    if (this.#floods.includes(to)) return
    const json = isLarge ? JSON.stringify(String(this.#heard.length).padEnd(5000)) : String(this.#heard.length)
    const options = [...keep === 'inbox' ? [] : ['KEEP', keep], ...ttlSeconds === undefined ? [] : ['TTL', ttlSeconds], ...key === undefined ? [] : ['KEY', key]]
    const [text, receivers] = await this.#real.fcall('tidings_publish', to, 'message', json, ...options) as [string | null, number]
    equal(receivers, 1)
    equal(text === null, keep === 'none')
    const id = Number(text)
    this.#hears({ to, id, event: 'message', json })
    if (text === null) return
    ok(id > (this.ids.at(-1) ?? 0), 'ids grow')
    this.ids.push(id)
    this.model.publish(id, { to: [to], event: 'message', json, keep, ttlSeconds, key })
  }

  /** By PUBLISH: it passes by, and its key takes nobody's place. */
  async publishPlain (to: Address, key: string): Promise<void> {
    if (this.#real.publishPlain === undefined) return
    const json = String(this.#heard.length)
    await this.#real.publishPlain(to, `{"data":${json},"key":"${key}"}`)
    this.#hears({ to, id: 0, event: 'message', json })
  }

  async retractOutside (to: Address, what: { readonly id: number } | { readonly key: string }): Promise<void> {
    if (this.#real.fcall === undefined) { await this.retract(to, what); return }
    const found = this.model.retract(to, what, await this.#now())
    equal(await this.#real.fcall('tidings_retract', to, ...'id' in what ? ['ID', what.id] : ['KEY', what.key]), found === undefined ? 0 : 1, `FCALL tidings_retract of ${JSON.stringify(what)} from ${to}`)
    if (found !== undefined) this.#hears({ to, id: 0, event: 'retracted', data: { to, id: String(found.id), ...'key' in what && { key: what.key } } })
  }

  async flood (to: Address, count: number, isLarge: boolean): Promise<void> {
    if (this.#floods.includes(to)) for (let i = 0; i < count; i++) await this.publish({ to: [to], keep: 'inbox', isLarge })
  }

  async retract (to: Address, what: { readonly id: number } | { readonly key: string }): Promise<void> {
    const found = this.model.retract(to, what, await this.#now())
    equal(await this.#broker.retract({ to, what }), found !== undefined, `retract of ${JSON.stringify(what)} from ${to}`)
    if (found !== undefined) this.#hears({ to, id: 0, event: 'retracted', data: { to, id: String(found.id), ...found.key !== undefined && { key: found.key } } })
  }

  async join (userId: string, group: string): Promise<void> {
    this.model.join(userId, group, await this.#now())
    await this.#broker.join(userId, group)
  }

  async leave (userId: string, group: string): Promise<void> {
    this.model.leave(userId, group, await this.#now())
    await this.#broker.leave(userId, group)
  }

  async replaceGroups (userId: string, groups: readonly string[]): Promise<void> {
    this.model.replaceGroups(userId, groups, await this.#now())
    await this.#broker.replaceGroups(userId, groups)
  }

  async claim (userId: string, iat: number, groups: readonly string[]): Promise<void> {
    this.model.claim(userId, iat, groups, await this.#now())
    const { membership } = await this.#broker.resume({ ...visitorOf(userId, { groups, issuedAtSeconds: iat }), cursor: 'fresh', maxBytes: 1 })
    deepStrictEqual([...membership.keys()].sort(), this.model.groups(userId))
  }

  async move (userId: string, cursor: 'seen' | 'read', to: number | 'now' | 'future'): Promise<void> {
    const at = await this.#now()
    if (to === 'future') ok(await refusal(this.#broker.moveCursor(readerOf(userId), cursor, at + 3_600_000_000)) instanceof FuturePosition)
    else await this.#changes(userId, this.model.move(userId, cursor, to === 'now' ? at : to, at), async (reader) => await this.#broker.moveCursor(reader, cursor, to === 'now' ? at : to))
  }

  async mark (userId: string, id: number, as: InboxMark): Promise<void> {
    const changes = this.model.mark(userId, id, as, await this.#now())
    if (changes === undefined) ok(await refusal(this.#broker.mark(readerOf(userId), id, as)) instanceof NoNotification, `${as} of ${id}, which is not there`)
    else await this.#changes(userId, changes, async (reader) => await this.#broker.mark(reader, id, as), as === 'dismissed' ? { id: String(id), dismissed: true } : { id: String(id), isRead: as === 'read' })
  }

  async #changes (userId: string, isChange: boolean, change: (reader: Reader) => Promise<object>, changed?: object): Promise<void> {
    const before = this.#counts(userId, await this.#now())
    const counts = await change(readerOf(userId))
    const after = this.#counts(userId, await this.#now())
    oneOf(counts, [before, after], 'the counts of a change')
    if (!isChange) return
    const event = ({ seen, read, ...rest }: { seen: number, read: number }): object =>
      ({ to: userAddress(userId), id: 0, event: 'read', data: { ...rest, seen: String(seen), read: String(read), ...changed !== undefined && { changed: [changed] } } })
    this.#heard.push([event(before), event(after)])
  }

  async turn (seconds: number): Promise<void> {
    // Further ahead than an hour, a clock is taken for forged.
    if (this.#turned + seconds > 3000) return
    this.#turned += seconds
    await this.#real.turn(seconds)
  }

  // — what is asked —

  #counts (userId: string, at: number): { seen: number, read: number, unseen: number, unread: number } {
    return { ...this.model.counts(userId, at) }
  }

  #hears (event: object): void {
    this.#heard.push([event, event])
  }

  async look (userId: string, limit: number, unreadOnly: boolean): Promise<void> {
    const pages = [await this.#broker.list({ reader: readerOf(userId), limit, unreadOnly })]
    while (pages.at(-1)!.next !== undefined) pages.push(await this.#broker.list({ reader: readerOf(userId), limit, unreadOnly, before: pages.at(-1)!.next }))
    const found = pages.flatMap(({ notifications }) => notifications.map(({ event, ...rest }) => rest))
    const [before, after] = [pages[0]!.position, pages.at(-1)!.position].map((at) => this.model.inbox(userId, at).filter(({ isRead }) => !unreadOnly || !isRead))
    oneOf(found.map((item) => ({ ...item })), [before!, after!], `the list of ${userId}`)
    for (const { position, seen, read, unseen, unread, complete } of pages) {
      deepStrictEqual({ seen, read, unseen, unread }, this.#counts(userId, position), `the counts of ${userId}`)
      equal(complete, this.model.isComplete(userId, position), `whether the list of ${userId} is complete`)
    }
    const { position, ...counts } = await this.#broker.position(readerOf(userId))
    deepStrictEqual(counts, this.#counts(userId, position), `the position of ${userId}`)
  }

  async goAway (userId: string): Promise<void> {
    this.#away.set(userId, await this.#now())
  }

  /** The device that was away comes back; it is owed what one that stayed has. */
  async comeBack (userId: string, cursor = this.#away.get(userId), maxBytes = 40): Promise<void> {
    if (cursor === undefined) return
    const before = this.model.replay(userId, cursor, await this.#now())
    const pages = await readPages(this.#real.nodes[0], { userId, cursor, maxBytes })
    const after = this.model.replay(userId, cursor, await this.#now())
    const ids = idsOf(pages.flatMap(({ entries }) => entries))
    ok(isGrowing(ids), 'entries grow')
    oneOf(pages[0]!.gap, [before.gap, after.gap], `whether something is missing for ${userId} after ${cursor}`)
    ok(after.gap || !pages.some(({ gap }) => gap), 'nor later')
    oneOf(ids.filter((id) => !before.older.has(id) && !after.older.has(id)), [before.ids, after.ids], `what ${userId} is owed after ${cursor}`)
    const { position, inbox, membership } = pages.at(-1)!
    deepStrictEqual(inbox, this.#counts(userId, position), 'the counts of a resume')
    deepStrictEqual([...membership.keys()].sort(), this.model.groups(userId))
  }

  /** All that the other node heard, in order. */
  async finish (): Promise<void> {
    for (const userId of USERS) {
      for (const unreadOnly of [false, true]) await this.look(userId, 3, unreadOnly)
      await this.comeBack(userId)
      for (const cursor of [this.ids[0], this.ids[this.ids.length >> 1]]) await this.comeBack(userId, cursor, 1000)
    }
    await this.publish({ to: [ALL], keep: 'none' })
    const { ear } = this.#real.nodes[1]
    await ear.count(this.#heard.length)
    const heard = [...ear.notifications]
    // Over partitions, what is committed elsewhere comes after what is committed here.
    for (const { from, to } of this.#together) {
      heard.splice(from, to.length, ...heard.slice(from, from + to.length).sort((a, b) => to.indexOf(a.to) - to.indexOf(b.to)))
    }
    for (const [i, { asOf, once, json, ...rest }] of heard.entries()) {
      oneOf(rest.event === 'message' ? { ...rest, json } : { ...rest, data: JSON.parse(json) as object }, this.#heard[i]!, `the ${i}. event`)
    }
  }
}

/** What was found in between is what it was before and after, or nobody can say: then something ended just now. */
function oneOf (found: unknown, [before, after]: Either<unknown>, what: string): void {
  if (isDeepStrictEqual(before, after)) deepStrictEqual(found, after, `${what}: ${JSON.stringify(found)} is not ${JSON.stringify(after)}`)
}
