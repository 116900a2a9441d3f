// JSON of the inbox over HTTP. Ids, positions and cursors are strings: they are opaque, and JSON numbers of some
// languages cannot hold them exactly.
import type { preValidationHookHandler } from 'fastify'
import Type, { type Static } from 'typebox'
import type { InboxCounts, InboxPage, InboxState, ListQuery as ReaderQuery } from '../broker/inbox.ts'
import { TidingsError } from '../errors.ts'
import { MAX_UNREAD, parsePosition } from '../notification.ts'

const MAX_LIMIT = 100
const DEFAULT_LIMIT = 50

const counts = {
  seen: Type.String({ description: 'The list was shown up to here; "0" at first.' }),
  read: Type.String({ description: 'Everything up to here was read; never above seen.' }),
  unseen: Type.Integer({ description: `For the badge. Counted up to ${MAX_UNREAD}: show "${MAX_UNREAD - 1}+" then.` }),
  unread: Type.Integer({ description: `For bold type. Counted up to ${MAX_UNREAD}.` })
}
const countsExample = { seen: '1763794001222333', read: '1763794000999999', unseen: 0, unread: 1 }
const position = Type.String({ description: 'Everything up to here is known. Give it to the stream as ?lastEventId=.' })
const positionExample = '1763794001500000'

export const Counts = Type.Object(counts, { title: 'InboxCounts', description: 'The current cursors and counts.', examples: [countsExample] })
export const State = Type.Object({ position, ...counts }, {
  title: 'InboxState', description: 'The current position, cursors and counts.', examples: [{ position: positionExample, ...countsExample }]
})
export const Page = Type.Object({
  notifications: Type.Array(Type.Object({
    id: Type.String(),
    to: Type.String({ description: 'The address that it was published to.' }),
    event: Type.String(),
    data: Type.Unsafe<unknown>({ description: 'As it was published.' }),
    at: Type.String({ format: 'date-time' }),
    key: Type.Optional(Type.String()),
    isRead: Type.Boolean()
  }, { title: 'InboxNotification' })),
  next: Type.Optional(Type.String({ description: 'The "before" of the next page. A short or empty page may have one too; only the last page has none.' })),
  complete: Type.Boolean({ description: 'False: older notifications were trimmed.' }),
  position,
  ...counts
}, {
  title: 'InboxPage',
  description: 'A page of the inbox, with the current position and counts.',
  examples: [{
    notifications: [{
      id: '1763794001222333', to: 'group:Complaints', event: 'message', data: { title: 'Complaint update' }, at: '2025-11-22T06:46:41.222Z', key: 'complaint-17', isRead: false
    }],
    next: '1763794001222333',
    complete: true,
    position: positionExample,
    ...countsExample
  }]
})

export const ListQuery = Type.Object({
  before: Type.Optional(Type.String({ description: 'Only notifications older than this id; the "next" of the previous page.', examples: ['1763794001222333'] })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_LIMIT, default: DEFAULT_LIMIT, description: 'The most notifications of a page.', examples: [20] })),
  unread: Type.Optional(Type.Boolean({ default: false, description: 'Only unread notifications.' }))
})

/**
 * A preValidation hook: a query is text, and ListQuery has numbers and booleans. Ajv's own coercion would also take
 * ` 5`, `0x10` and `1e1`.
 */
export const readListQuery: preValidationHookHandler = ({ query }, _reply, done) => {
  const texts = query as Record<string, unknown>
  const { limit, unread } = texts
  if (typeof limit === 'string' && /^(0|-?[1-9]\d*)$/.test(limit)) texts.limit = Number(limit)
  if (unread === 'true' || unread === 'false') texts.unread = unread === 'true'
  done()
}

/** Throws TIDINGS_BAD_POSITION (400). */
export function parseList (query: Static<typeof ListQuery>): Omit<ReaderQuery, 'reader'> {
  const { before, limit = DEFAULT_LIMIT, unread = false } = query
  return { before: before === undefined ? undefined : parseId(before), limit, unreadOnly: unread }
}

/** Throws TIDINGS_BAD_POSITION (400). */
export function parseId (text: string): number {
  const position = parsePosition(text)
  if (typeof position === 'number') return position
  throw badPosition(text)
}

function badPosition (text: string): TidingsError {
  return new TidingsError('TIDINGS_BAD_POSITION', `${JSON.stringify(text.slice(0, 40))} is none`)
}

/** Ids are microseconds, and none is older than 2001. */
const LEAST_ID = 1e15

/** The same, and refuses what no notification can have had: a number of another service, a time in milliseconds. */
export function parseGivenId (text: string): number {
  const id = parseId(text)
  if (id < LEAST_ID) throw badPosition(text)
  return id
}

/** The same for `upTo`, which may also be "0", the value of a cursor that was never moved. */
export function parseUpTo (text: string): number {
  return text === '0' ? 0 : parseGivenId(text)
}

export function countsJson ({ seen, read, unseen, unread }: InboxCounts): Static<typeof Counts> {
  return { seen: String(seen), read: String(read), unseen, unread }
}

export function stateJson (state: InboxState): Static<typeof State> {
  return { position: String(state.position), ...countsJson(state) }
}

/** The page as JSON text, which contains `data` exactly as it was published. */
export function pageJson (page: InboxPage): string {
  const items = page.notifications.map(({ id, to, event, json, key, isRead }) => {
    const head = JSON.stringify({ id: String(id), to, event })
    const rest = JSON.stringify({ at: new Date(id / 1000).toISOString(), ...(key !== undefined && { key }), isRead })
    return `${head.slice(0, -1)},"data":${json},${rest.slice(1)}`
  })
  const { next, complete } = page
  const rest = JSON.stringify({ ...(next !== undefined && { next: String(next) }), complete, ...stateJson(page) })
  return `{"notifications":[${items.join(',')}],${rest.slice(1)}`
}
