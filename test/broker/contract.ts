// The contract of a broker: every promise of src/broker/broker.ts, to be run on each adapter.
import t, { type Test } from 'tap'
import type { Broker, HistoryLimits, HistoryPage, Identity, Membership, PublishRequest, Reader, ResumeQuery } from '../../src/broker/broker.ts'
import type { InboxItem, InboxPage, ListQuery } from '../../src/broker/inbox.ts'
import { type Address, type Notification } from '../../src/notification.ts'
import { type Ear } from './ear.ts'
import { claims } from './contract-claims.ts'
import { groups } from './contract-groups.ts'
import { history } from './contract-history.ts'
import { inbox } from './contract-inbox.ts'
import { marks } from './contract-marks.ts'
import { options } from './contract-options.ts'
import { publishing } from './contract-publish.ts'
import { spans } from './contract-spans.ts'
import { tokens } from './contract-tokens.ts'
import { trail } from './contract-trail.ts'

export interface Node {
  readonly broker: Broker
  readonly ear: Ear
}

export interface BackendOptions extends Partial<HistoryLimits> {
  /** Seconds ago at which this backend's history began. Default: just now. */
  readonly bornSecondsAgo?: number
}

/** A backend of its own, and a function that gives one more node on it: started, and up. */
export type MakeBackend = ((t: Test, options?: BackendOptions) => Promise<() => Promise<Node>>) & {
  /** Users of several partitions have an id of their own each. Those whose ids a test compares are therefore in one: 1 and {1}2. */
  readonly hasLocalIds?: boolean
}

export const limits: HistoryLimits = { historyLength: 1000, groupHistoryLength: 1000, historySeconds: 86_400, maxDataBytes: 65_536 }

/** A publish request; the data is the text given, as JSON. */
export const request = (to: Address | readonly Address[], data: unknown = 'x', rest: Partial<PublishRequest> = {}): PublishRequest =>
  ({ to: typeof to === 'string' ? [to] : to, event: 'message', json: JSON.stringify(data), keep: 'inbox', ...rest })

/** Publishes; returns the id. */
export async function send ({ broker }: Node, to: Address | readonly Address[], data: unknown = 'x', rest: Partial<PublishRequest> = {}): Promise<number> {
  return (await broker.publish(request(to, data, rest))).id!
}

/** A position: everything published before is at or before it, everything after is after it. */
export async function now ({ broker }: Node, userId = 'nobody'): Promise<number> {
  return (await broker.resume({ ...visitorOf(userId), cursor: 'fresh', maxBytes: 1 })).position
}

export interface Claim {
  /** Undefined: the token has no claim. */
  readonly groups?: readonly string[] | undefined
  readonly issuedAtSeconds: number
}

/** Newer than any logout, and without a claim. */
export const noClaim: Claim = { issuedAtSeconds: 1e10 }

export const identityOf = (userId: string, issuedAtSeconds = noClaim.issuedAtSeconds): Identity =>
  ({ userId, issuedAtSeconds, expiresAtSeconds: issuedAtSeconds + 3600 })

/** The part of a query that says who asks: of a stream that no logout ends. */
export const visitorOf = (userId: string, { groups, issuedAtSeconds }: Claim = noClaim): Pick<ResumeQuery, 'user' | 'groups' | 'admittedAt'> =>
  ({ user: identityOf(userId, issuedAtSeconds), groups, admittedAt: Number.MAX_SAFE_INTEGER })

/** Who reads with a token. */
export const readerOf = (userId: string, { groups, issuedAtSeconds }: Claim = noClaim): Reader =>
  ({ userId, token: { ...identityOf(userId, issuedAtSeconds), groups } })

/** The groups of a user who comes with a claim. */
export async function enter (broker: Broker, userId: string, claim: Claim): Promise<Membership> {
  return (await broker.resume({ ...visitorOf(userId, claim), cursor: 'fresh', maxBytes: 1 })).membership
}

/** The inbox of a user as a page of it, newest first. */
export const listOf = async ({ broker }: Node, userId = '1', rest: Partial<ListQuery> = {}): Promise<InboxPage> =>
  await broker.list({ reader: readerOf(userId), limit: 100, unreadOnly: false, ...rest })

export const idsOf = (notifications: ReadonlyArray<Notification | InboxItem>): number[] => notifications.map(({ id }) => id)

/** What a call is refused with; undefined if it is not. */
export const refusal = (call: Promise<unknown>): Promise<unknown> => call.then(() => undefined, (error: unknown) => error)

export interface ReadOptions {
  readonly userId?: string
  readonly cursor: number
  readonly maxBytes?: number
}

/** Reads page by page to the end, as a stream does: each from the position of the one before. */
export async function readPages ({ broker }: Node, { userId = '1', cursor, maxBytes = 131_072 }: ReadOptions): Promise<HistoryPage[]> {
  const pages: HistoryPage[] = []
  for (let more = true; more;) {
    const page = await broker.resume({ ...visitorOf(userId), cursor: pages.at(-1)?.position ?? cursor, maxBytes })
    pages.push(page)
    more = page.more
  }
  return pages
}

export const entriesOf = (pages: readonly HistoryPage[]): readonly Notification[] => pages.flatMap((page) => page.entries)
export const isGrowing = (ids: readonly number[]): boolean => ids.every((id, i) => Number.isSafeInteger(id) && id > (ids[i - 1] ?? 0))

export function contract (name: string, make: MakeBackend): void {
  const parts = { publishing, options, groups, spans, claims, history, inbox, marks, tokens, trail }
  for (const [part, test] of Object.entries(parts)) t.test(`${name}: ${part}`, { jobs: 4 }, async (t) => { test(t, make) })
}
