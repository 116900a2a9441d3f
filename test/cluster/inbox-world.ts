// The model beside the whole service: what is done by HTTP is done to both, and devices with an EventSource must agree with it.
import { deepStrictEqual, equal, ok } from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import type { PublishRequest } from '../../src/broker/broker.ts'
import type { InboxMark } from '../../src/broker/inbox.ts'
import { type Address, ALL, groupAddress, userAddress } from '../../src/notification.ts'
import type { Model, Replay } from '../broker/model.ts'
import type { Client } from '../fixtures/client.ts'
import type { Answer, Cluster } from '../fixtures/cluster.ts'
import type { Scope } from '../fixtures/wait.ts'
import { Device, FENCE, type Retracted } from './inbox-device.ts'

const PATH = '/api/notifications'
/** No sum of the turns of one test may be further ahead than an hour: such a clock is taken for forged. */
const MAX_TURNED_SECONDS = 3000

/** A log is trimmed when it has a hundred too many. */
const FLOOD = 108

type What = { readonly id: number } | { readonly key: string }

/** All that a service holds, over all runs: what went to `all` in one is listed in the next. */
export class Service {
  readonly model: Model
  readonly cluster: Cluster
  readonly #t: Scope
  #keys = 0
  #turned = 0
  /** A node that starts again. */
  #restarting: Promise<unknown> = Promise.resolve()

  constructor (t: Scope, cluster: Cluster, model: Model) {
    this.#t = t
    this.cluster = cluster
    this.model = model
  }

  /** Asked through nginx until somebody answers: a node may have died over it. `tries` tells whether it may have been done twice. */
  async call (method: string, path: string, body?: object, token = this.cluster.operator): Promise<Answer & { readonly tries: number }> {
    const headers = { authorization: `Bearer ${token}`, 'idempotency-key': `inbox-${++this.#keys}` }
    let said = ''
    for (let tries = 1; tries < 200; tries++) {
      const answer = await this.cluster.call(method, `${this.cluster.nginx.url}${path}`, body, headers).catch((error: unknown) => ({ status: 0, body: String(error), headers: new Headers() }))
      if (answer.status !== 0 && answer.status < 500) return { ...answer, tries }
      said = `${answer.status} ${JSON.stringify(answer.body)}`
      await new Promise((resolve) => { setTimeout(resolve, 50) })
    }
    throw new Error(`${method} ${path}: ${said}`)
  }

  async good (method: string, path: string, body?: object, token?: string): Promise<Answer['body']> {
    const answer = await this.call(method, path, body, token)
    ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body
  }

  /** A position: all that was done before it lies before it. */
  async now (): Promise<number> {
    return Number((await this.good('GET', '/api/users/nobody/position')).position)
  }

  client (sub: string, lastEventId = ''): Client {
    return this.cluster.client(this.#t, { sub }, { name: sub, lastEventId })
  }

  async turn (seconds: number): Promise<void> {
    if (this.#turned + seconds > MAX_TURNED_SECONDS) return
    this.#turned += seconds
    const { cli, prefix } = this.cluster.redis
    await cli('SET', `${prefix}:clock`, Math.round(Number(await cli('GET', `${prefix}:clock`)) + seconds * 1_000_000))
  }

  async killNode (index: number): Promise<void> {
    await this.#restarting
    await this.cluster.nodes[index]!.kill()
    this.#restarting = this.cluster.restart(index)
  }

  async settled (): Promise<void> { await this.#restarting }
}

/** One run: two users, two groups, and all. */
export class Run {
  readonly users: readonly [string, string]
  readonly groups: readonly [string, string]
  readonly ids: number[] = []
  readonly #service: Service
  /** At home it never goes; the phone comes and goes. */
  readonly #home = new Map<string, Device>()
  readonly #phone = new Map<string, Device>()
  readonly #away = new Map<string, string>()
  readonly #retracted: Retracted[] = []
  #fences = 0

  constructor (service: Service, name: string) {
    this.#service = service
    this.users = [`ann-${name}`, `bob-${name}`]
    this.groups = [`g-${name}`, `h-${name}`]
  }

  get addresses (): Address[] { return [...this.users.map(userAddress), ...this.groups.map(groupAddress), ALL] }
  get #model (): Model { return this.#service.model }

  async start (): Promise<void> {
    for (const userId of this.users) {
      this.#model.visit(userId, await this.#service.now())
      const device = new Device(this.#service.client(userId))
      await device.client.live()
      this.#home.set(userId, device)
    }
  }

  end (): void {
    for (const { client } of [...this.#home.values(), ...this.#phone.values()]) client.close()
  }

  #token (sub: string): string { return this.#service.cluster.token({ sub }) }

  async publish (to: readonly Address[], { ttlSeconds, ...rest }: Pick<PublishRequest, 'keep' | 'ttlSeconds' | 'key'>): Promise<void> {
    // The log of all is trimmed, and when what has outlived its ttl makes room there is the broker's affair.
    const ttl = to.includes(ALL) ? undefined : ttlSeconds
    const { notifications } = await this.#service.good('POST', PATH, { to, data: 'x', ...rest, ...ttl !== undefined && { ttl } })
    const ids = new Set((notifications as Array<{ id?: string }>).map(({ id }) => id))
    equal(ids.size, 1, 'one id')
    const [id] = ids
    equal(id === undefined, rest.keep === 'none')
    if (id === undefined) return
    this.ids.push(Number(id))
    this.#model.publish(Number(id), { to, event: 'message', json: '"x"', ttlSeconds: ttl, ...rest })
  }

  /** By FCALL, as another service does. The log of all is trimmed: there what is too long stands for a second more. */
  async publishOutside (to: Address, { keep, ttlSeconds, key }: Pick<PublishRequest, 'keep' | 'ttlSeconds' | 'key'>): Promise<void> {
    if (to === ALL) return
    const options = [...keep === 'inbox' ? [] : ['KEEP', keep], ...ttlSeconds === undefined ? [] : ['TTL', ttlSeconds], ...key === undefined ? [] : ['KEY', key]]
    const [id] = await this.#fcall('tidings_publish', to, 'message', '"x"', ...options) as [string | null]
    equal(id === null, keep === 'none')
    if (id === null) return
    this.ids.push(Number(id))
    this.#model.publish(Number(id), { to: [to], event: 'message', json: '"x"', ttlSeconds, keep, key })
  }

  /** Its key takes nobody's place. */
  async publishPlain (to: Address, key: string): Promise<void> {
    const { cli, prefix } = this.#service.cluster.redis
    await cli('PUBLISH', `${prefix}:${to}`, JSON.stringify({ data: 'x', key }))
  }

  async #fcall (name: string, ...args: Array<string | number>): Promise<unknown> {
    const { cli, prefix } = this.#service.cluster.redis
    return await cli('FCALL', name, 1, prefix, ...args)
  }

  /** More than a log keeps. */
  async flood (to: Address): Promise<void> {
    const answers = await Promise.all(Array.from({ length: FLOOD }, async () => await this.#service.good('POST', PATH, { to, data: 'x' })))
    const ids = answers.map(({ notifications: [{ id }] }) => Number(id)).sort((a, b) => a - b)
    for (const id of ids) {
      this.ids.push(id)
      this.#model.publish(id, { to: [to], event: 'message', json: '"x"', keep: 'inbox' })
    }
  }

  async retract (to: Address, what: What): Promise<void> {
    const found = this.#model.retract(to, what, await this.#service.now())
    const { status, body, tries } = await this.#service.call('POST', `${PATH}/retract`, { to, ...'id' in what ? { id: String(what.id) } : what })
    equal(status, 200)
    if (found !== undefined) this.#retracted.push({ to, id: String(found.id), ...found.key !== undefined && { key: found.key } })
    if (tries === 1) equal(body.retracted, found !== undefined, `retract of ${JSON.stringify(what)} from ${to}`)
  }

  async changeGroup (userId: string, group: string, verb: 'join' | 'leave'): Promise<void> {
    this.#model[verb](userId, group, await this.#service.now())
    await this.#service.good(verb === 'join' ? 'PUT' : 'DELETE', `/api/users/${userId}/groups/${group}`)
  }

  async replaceGroups (userId: string, groups: readonly string[]): Promise<void> {
    this.#model.replaceGroups(userId, groups, await this.#service.now())
    await this.#service.good('PUT', `/api/users/${userId}/groups`, { groups })
  }

  async claim (userId: string, iat: number, groups: readonly string[]): Promise<void> {
    this.#model.claim(userId, iat, groups, await this.#service.now())
    await this.#service.good('GET', `${PATH}/position`, undefined, this.#service.cluster.token({ sub: userId, iat, exp: iat + 7200, groups: [...groups] }))
  }

  async move (userId: string, cursor: 'seen' | 'read', upTo: number): Promise<void> {
    const before = await this.#service.now()
    this.#model.move(userId, cursor, upTo, before)
    const counts = await this.#service.good('PUT', `${PATH}/${cursor}`, { upTo: String(upTo) }, this.#token(userId))
    this.#agrees(counts, [this.#counts(userId, before), this.#counts(userId, await this.#service.now())], `counts after ${cursor}`)
  }

  async mark (userId: string, id: number, as: InboxMark): Promise<void> {
    const isThere = this.#model.mark(userId, id, as, await this.#service.now()) !== undefined
    const { status } = await this.#service.call(as === 'read' ? 'PUT' : 'DELETE', `${PATH}/${id}${as === 'dismissed' ? '' : '/read'}`, undefined, this.#token(userId))
    equal(status < 300, isThere, `${as} of ${id}: ${status}`)
  }

  #counts (userId: string, at: number): object {
    const { seen, read, unseen, unread } = this.#model.counts(userId, at)
    return { seen: String(seen), read: String(read), unseen, unread }
  }

  /** What was found in between is what it was before and after, or nobody can say: then something ended just now. */
  #agrees (found: unknown, [before, after]: readonly [unknown, unknown], what: string): void {
    if (isDeepStrictEqual(before, after)) deepStrictEqual(found, after, `${what}: ${JSON.stringify(found)} is not ${JSON.stringify(after)}`)
  }

  goAway (userId: string): void {
    const phone = this.#phone.get(userId)
    const last = (phone ?? this.#home.get(userId)!).client.lastEventId
    phone?.client.close()
    this.#phone.delete(userId)
    this.#away.set(userId, last)
  }

  /** The phone comes back: it gets what the model says, and is told exactly if something is missing. */
  async comeBack (userId: string): Promise<void> {
    const cursor = this.#away.get(userId)
    if (cursor === undefined) return
    this.#away.delete(userId)
    const before = this.#model.replay(userId, Number(cursor), await this.#service.now())
    const phone = new Device(this.#service.client(userId, cursor))
    this.#phone.set(userId, phone)
    const asked = await this.#service.now()
    await phone.client.live()
    await phone.heard(await this.#fence(userId))
    const answered = await this.#service.now()
    const after = this.#model.replay(userId, Number(cursor), answered)
    this.#agrees(phone.counts, [this.#counts(userId, asked), this.#counts(userId, answered)], `the counts of the sync of ${userId}`)
    const isNew = (id: number): boolean => !before.older.has(id) && !after.older.has(id) && !this.#isFence(id)
    const ids = ({ ids }: Replay): number[] => ids.filter(isNew)
    this.#agrees(phone.ids.filter(isNew), [ids(before), ids(after)], `what the phone of ${userId} gets after ${cursor}`)
    this.#agrees(phone.wasToldOfGap, [before.gap, after.gap], `whether the phone of ${userId} is told of a gap after ${cursor}`)
  }

  async #fence (userId: string): Promise<string> {
    const data = `${this.users[0]} ${++this.#fences}`
    const { notifications: [{ id }] } = await this.#service.good('POST', PATH, { to: userAddress(userId), event: FENCE, data, keep: 'replay', key: FENCE })
    this.#model.publish(Number(id), { to: [userAddress(userId)], event: FENCE, json: '', keep: 'replay', key: FENCE })
    return data
  }

  /** Everybody agrees: the list, the counts, and the streams that are open. */
  async look (userId: string, limit: number, unread: boolean): Promise<void> {
    // Every stream hears of it with the counts of now.
    await this.move(userId, 'seen', await this.#service.now())
    const fence = await this.#fence(userId)
    const before = await this.#service.now()
    const pages: Array<Answer['body']> = []
    do {
      const next: string | undefined = pages.at(-1)?.next
      pages.push(await this.#service.good('GET', `${PATH}?limit=${limit}${unread ? '&unread=true' : ''}${next === undefined ? '' : `&before=${next}`}`, undefined, this.#token(userId)))
    } while (pages.at(-1).next !== undefined)
    const after = await this.#service.now()
    const inbox = (at: number): object[] => this.#model.inbox(userId, at).filter(({ isRead }) => !unread || !isRead).map(({ id, to, key, isRead }) => ({ id: String(id), to, key, isRead }))
    this.#agrees(pages.flatMap(({ notifications }) => notifications.map(({ id, to, key, isRead }: Record<string, unknown>) => ({ id, to, key, isRead }))), [inbox(before), inbox(after)], `the list of ${userId}`)
    const counts = [this.#counts(userId, before), this.#counts(userId, after)] as const
    for (const { seen, read, unseen, unread, complete } of pages) {
      this.#agrees({ seen, read, unseen, unread }, counts, `the counts of ${userId}`)
      this.#agrees(complete, [this.#model.isComplete(userId, before), this.#model.isComplete(userId, after)], `whether the list of ${userId} is complete`)
    }
    for (const device of [this.#home.get(userId)!, this.#phone.get(userId)]) {
      if (device === undefined) continue
      await device.heard(fence)
      this.#agrees(device.counts, counts, `the counts of the stream of ${userId}`)
    }
  }

  /** Who never went away was told of no gap, and has got all that one who comes back now is owed. */
  async finish (): Promise<void> {
    for (const userId of this.users) {
      await this.look(userId, 7, false)
      await this.comeBack(userId)
      const home = this.#home.get(userId)!
      const got = new Set(home.ids)
      equal(got.size, home.ids.length, 'each once')
      // Whoever was cut off finds it gone.
      if (home.client.connections.length === 1) {
        const owed = this.#retracted.filter(({ to }) => to === ALL || to === userAddress(userId))
        const heard = home.retracted.filter(({ to }) => to === ALL || to === userAddress(userId))
        deepStrictEqual(heard, owed, `what ${userId} hears was taken back`)
      }
      const first = Number(home.client.syncs[0]!.id)
      const { ids } = this.#model.replay(userId, first, await this.#service.now())
      if (!home.wasToldOfGap) deepStrictEqual(ids.filter((id) => !got.has(id) && !this.#isFence(id)), [], `what the stream that stayed at ${userId} has not got`)
    }
  }

  #isFence (id: number): boolean { return !this.ids.includes(id) }
}
