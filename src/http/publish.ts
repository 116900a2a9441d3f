// POST /api/notifications: one notification to one address or up to 1,000.
import { createHash } from 'node:crypto'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type, { type Static } from 'typebox'
import type { Messages, PublishAnswer, PublishRequest } from '../broker/broker.ts'
import type { Config } from '../config.ts'
import { TidingsError } from '../errors.ts'
import { memberText } from '../json-text.ts'
import { type Address, DEFAULT_EVENT, eventFault, idText, isAddress, isName, isTooDeep, type Keep, MAX_ADDRESSES, MAX_NAME_CHARACTERS } from '../notification.ts'
import { parseTraceparent } from '../trace-context.ts'
import { type Node, publishes, type PublishTrace } from '../tracing.ts'
import { identityOf, TOKEN_ERRORS } from './auth.ts'
import { BODY_ERRORS, textOf } from './body.ts'
import { refuseExpired } from './claims.ts'
import { allowPipelining } from './connections.ts'
import { LIMIT_ERRORS, type RequestLimit } from './limits.ts'
import { PUBLISH_SCOPE, publishesNothing, requireScopes } from './scopes.ts'
import { bearer, errorResponses } from './schemas.ts'

export interface PublishOptions {
  readonly config: Config
  readonly node: Node
  readonly messages: Messages
  readonly limit: RequestLimit
  readonly counts: PublishCounts
}

/** For the metrics. Counted here, since a subscriber of the diagnostics channel would make each publish dearer. */
export interface PublishCounts {
  /** Notifications published by this node over HTTP, one for each address. */
  published: number
}

/**
 * The most that one publish to several addresses may fan out: addresses × bytes of `data`. Brokers cut off a subscriber
 * whose unsent output grows too large (some from 32 MB on), and each node is a subscriber. A publish to one address
 * cannot be divided; MAX_DATA_BYTES is its limit.
 */
const MAX_FAN_OUT_BYTES = 8_388_608
/** PUBLISH_PER_MINUTE counts one publish for each 100 addresses or part of them. */
const ADDRESSES_PER_HIT = 100

const ONE_OR_MORE = `One address or up to ${MAX_ADDRESSES}.`
const AddressText = Type.String({ description: 'user:<userId>, group:<name> or all' })

// Without the keyword "default": generators make members with one required.
const members = {
  to: Type.Unsafe<string | string[]>({
    type: ['string', 'array'], items: AddressText, minItems: 1, maxItems: MAX_ADDRESSES, description: ONE_OR_MORE
  }),
  event: Type.Optional(Type.String({ description: `SSE event name, 1 to 64 of A-Z a-z 0-9 . _ - and none of the stream's own; by default ${DEFAULT_EVENT}.` })),
  data: Type.Unsafe<unknown>({ description: 'Any JSON value. Its text reaches clients as it is written here.' }),
  keep: Type.Optional(Type.String({
    description: 'inbox, the default: replayed, listed and counted. replay: replayed after a reconnect only (a price, a progress). none: live only, without an id.', examples: ['replay']
  })),
  ttl: Type.Optional(Type.Number({ description: 'Seconds, 1 to HISTORY_SECONDS; by default HISTORY_SECONDS. After it the notification is not replayed, listed or counted.', examples: [3600] })),
  key: Type.Optional(Type.String({
    description: '1 to 128 characters, no control characters. Of one address, a newer notification with the same key takes the older one\'s place.', examples: ['complaint-17']
  }))
}
const bodyOptions = {
  title: 'PublishRequest',
  additionalProperties: false,
  examples: [
    { to: 'group:Complaints', data: { title: 'Complaint update', message: 'The part has arrived.' } },
    { to: ['user:42', 'user:43'], event: 'progress', data: { percent: 40 }, keep: 'replay', ttl: 3600, key: 'import-7' }
  ]
}
/** What the document says besides. The route itself checks these members, so that each fault has a code of its own. */
const documentedBody = Type.Object({
  ...members,
  // With a list of types, generators of clients take the first one and forget that there may be several addresses.
  to: Type.Union([AddressText, Type.Array(AddressText, { minItems: 1, maxItems: MAX_ADDRESSES })], { description: ONE_OR_MORE }),
  event: Type.Optional({ ...members.event, pattern: '^[A-Za-z0-9._-]{1,64}$' }),
  keep: Type.Optional({ ...members.keep, enum: ['inbox', 'replay', 'none'] }),
  ttl: Type.Optional({ ...members.ttl, type: 'integer', minimum: 1 }),
  key: Type.Optional({ ...members.key, minLength: 1, maxLength: MAX_NAME_CHARACTERS })
}, bodyOptions)

const schema = {
  operationId: 'publishNotification',
  tags: ['publish'],
  summary: 'Publish a notification',
  description: 'Needs a scope: notifications:publish for everything, notifications:publish:user, :group or :all for one kind, ' +
    'notifications:publish:group:<name> or :user:<userId> for one address (percent-encoded where it has spaces).',
  security: bearer,
  headers: Type.Object({
    'idempotency-key': Type.Optional(Type.String({ description: 'The same key within 24 h returns the first answer and publishes nothing. (Of addresses with more than 4,096 bytes together, the answer may lack some that a repetition does not name.)' }))
  }),
  body: Type.Object(members, bodyOptions),
  response: {
    202: Type.Object({
      notifications: Type.Array(Type.Object({
        to: AddressText,
        id: Type.Optional(Type.String({
          description: 'Opaque; the same for all addresses. It is the one to retract with. With several partitions, clients may see another id of the same notification, ' +
            'and the routes of their inbox know only that one. Absent with keep: none.'
        })),
        receivers: Type.Integer({ description: 'Nodes that took it; 0 means nobody is online.' })
      }, { title: 'PublishedNotification' })),
      pending: Type.Optional(Type.Integer({ description: 'Partitions that are away and get it when they are back; absent: none. With keep: none they get it only within seconds. A replayed answer says what the first one said.' }))
    }, {
      title: 'PublishAnswer',
      description: 'Stored in the logs and handed to every node that serves the addresses.',
      headers: { 'idempotency-replayed': Type.Optional(Type.Unsafe<'true'>({ type: 'string', enum: ['true'], description: 'This is the first answer to the Idempotency-Key; nothing was published.' })) },
      examples: [{ notifications: [{ to: 'group:Complaints', id: '1763794001222333', receivers: 2 }] }]
    }),
    ...errorResponses(
      TOKEN_ERRORS, 'TIDINGS_SCOPE_MISSING', LIMIT_ERRORS, BODY_ERRORS, 'TIDINGS_BAD_ADDRESS', 'TIDINGS_BAD_EVENT', 'TIDINGS_RESERVED_EVENT', 'TIDINGS_BAD_KEEP',
      'TIDINGS_BAD_TTL', 'TIDINGS_BAD_KEY', 'TIDINGS_DATA_TOO_DEEP', 'TIDINGS_DATA_TOO_LARGE', 'TIDINGS_FAN_OUT_TOO_LARGE', 'TIDINGS_BAD_IDEMPOTENCY_KEY'
    )
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The raw body of a publish. `data` is cut out of it unchanged. */
    bodyText: string
  }
}

export const publish: FastifyPluginAsyncTypebox<PublishOptions> = async (app, { config, node, messages, limit, counts }) => {
  // Leaves room for white space in `data`, and for 1,000 addresses.
  const bodyLimit = 2 * config.MAX_DATA_BYTES + 1_048_576

  app.decorateRequest('bodyText', '')
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, bytes, done) => {
    try {
      const text = textOf(request, bytes)
      const json = text.charCodeAt(0) === 0xFEFF ? text.slice(1) : text
      const body: unknown = JSON.parse(json)
      request.bodyText = json
      done(null, body)
    } catch (error) {
      done(error instanceof TidingsError ? error : new TidingsError('TIDINGS_BAD_JSON'))
    }
  })

  app.post('/api/notifications', {
    schema,
    config: { swaggerTransform: ({ url }) => ({ url, schema: { ...schema, body: documentedBody } }) },
    bodyLimit,
    // Authorises before the body is read, so that nobody can make the node read megabytes without the right to publish.
    onRequest: async (request, reply) => {
      const principal = await app.readTokenAlone(request, true)
      if (publishesNothing(principal.scopes)) throw new TidingsError('TIDINGS_SCOPE_MISSING', PUBLISH_SCOPE)
      request.principal = principal
      allowPipelining(request)
      await limit(reply, principal.userId)
    },
    preHandler: refuseExpired
  }, async (request, reply) => {
    const { to, event = DEFAULT_EVENT, keep = 'inbox', ttl, key } = request.body
    const addresses = typeof to === 'string' ? [to] : [...new Set(to)]
    for (const address of addresses) checkAddress(address)
    const principal = request.principal!
    requireScopes(principal.scopes, addresses)
    checkEvent(event)
    checkKeep(keep)
    checkTtl(ttl, config.HISTORY_SECONDS)
    if (key !== undefined) checkKey(key)
    const json = memberText(request.bodyText, 'data')!
    checkData(json, config.MAX_DATA_BYTES, addresses.length)
    const idempotencyKey = bindKey(request.headers['idempotency-key'], principal.userId)
    const moreHits = Math.ceil(addresses.length / ADDRESSES_PER_HIT) - 1
    if (moreHits > 0) await limit(reply, principal.userId, moreHits)

    const publication = { to: addresses, event, json, keep, ttlSeconds: ttl, key, idempotencyKey, publisher: identityOf(principal) }
    const traceparent = parseTraceparent(request.headers.traceparent)
    const trace: PublishTrace = traceparent === undefined ? { request: publication, node } : { request: publication, node, traceparent }
    // A subscriber of this diagnostics channel may have started a trace and set `traceparent`.
    const traced = (): PublishRequest => trace.traceparent === undefined ? publication : { ...publication, traceparent: trace.traceparent }
    const answer = await publishes.tracePromise(() => messages.publish(traced()), trace)
    if (answer.replayed) reply.header('idempotency-replayed', 'true')
    else counts.published += answer.notifications.length
    reply.code(202)
    return answerJson(answer)
  })
}

// Objects are written out, because spreading an object into another costs more than the rest of the answer.
function answerJson ({ id, notifications, pending }: PublishAnswer): Static<typeof schema.response[202]> {
  const text = id === undefined ? undefined : idText(id)
  const each = notifications.map(({ to, receivers }) => text === undefined ? { to, receivers } : { to, id: text, receivers })
  return pending === undefined ? { notifications: each } : { notifications: each, pending }
}

export function checkAddress (address: Address): void {
  if (!isAddress(address)) throw new TidingsError('TIDINGS_BAD_ADDRESS', JSON.stringify(address.slice(0, 160)))
}

function checkEvent (event: string): void {
  const fault = eventFault(event)
  if (fault === 'reserved') throw new TidingsError('TIDINGS_RESERVED_EVENT', event)
  if (fault === 'malformed') throw new TidingsError('TIDINGS_BAD_EVENT', JSON.stringify(event.slice(0, 80)))
}

function checkKeep (keep: string): asserts keep is Keep {
  if (keep !== 'inbox' && keep !== 'replay' && keep !== 'none') throw new TidingsError('TIDINGS_BAD_KEEP', JSON.stringify(keep.slice(0, 40)))
}

function checkTtl (ttl: number | undefined, historySeconds: number): void {
  if (ttl !== undefined && (!Number.isInteger(ttl) || ttl < 1 || ttl > historySeconds)) throw new TidingsError('TIDINGS_BAD_TTL', historySeconds)
}

export function checkKey (key: string): void {
  if (!isName(key)) throw new TidingsError('TIDINGS_BAD_KEY')
}

function checkData (json: string, maxDataBytes: number, addresses: number): void {
  if (isTooDeep(json)) throw new TidingsError('TIDINGS_DATA_TOO_DEEP')
  const bytes = Buffer.byteLength(json)
  if (bytes > maxDataBytes) throw new TidingsError('TIDINGS_DATA_TOO_LARGE', bytes, maxDataBytes)
  if (addresses > 1 && bytes * addresses > MAX_FAN_OUT_BYTES) throw new TidingsError('TIDINGS_FAN_OUT_TOO_LARGE', addresses, bytes, MAX_FAN_OUT_BYTES)
}

/** Bound to the publisher, so that two services may use the same key. Hashed, so that every key has the same length. */
function bindKey (key: string | string[] | undefined, userId: string): string | undefined {
  if (key === undefined) return undefined
  if (typeof key !== 'string' || !/^[!-~]{1,255}$/.test(key)) throw new TidingsError('TIDINGS_BAD_IDEMPOTENCY_KEY')
  return createHash('sha256').update(`${userId}\n${key}`).digest('base64url')
}
