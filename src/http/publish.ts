// POST /api/notifications: one notification to one address or up to 1,000.
import { createHash } from 'node:crypto'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { Broker } from '../broker/broker.ts'
import type { Config } from '../config.ts'
import { fail } from '../errors.ts'
import type { Hub } from '../hub/hub.ts'
import { DEFAULT_EVENT, eventFault, isAddress, isTooDeep, MAX_ADDRESSES } from '../notification.ts'
import { mayPublish, PUBLISH_SCOPE, publishesNothing } from './scopes.ts'
import { bearer, errorResponses } from './schemas.ts'

const Address = Type.String({ description: 'user:<userId>, group:<name> or all' })

const schema = {
  tags: ['publish'],
  summary: 'Publish a notification',
  description: 'Needs a scope: notifications:publish for everything, notifications:publish:user, :group or :all for one kind, ' +
    'notifications:publish:group:<name> or :user:<userId> for one address (percent-encoded where it has spaces).',
  security: bearer,
  headers: Type.Object({
    'idempotency-key': Type.Optional(Type.String({ description: 'The same key within 24 h returns the first answer and publishes nothing.' }))
  }),
  body: Type.Object({
    to: Type.Unsafe<string | string[]>({
      type: ['string', 'array'], items: Address, minItems: 1, maxItems: MAX_ADDRESSES, description: `One address or up to ${MAX_ADDRESSES}.`
    }),
    event: Type.Optional(Type.String({ description: 'SSE event name, 1 to 64 of A-Z a-z 0-9 . _ -', default: DEFAULT_EVENT })),
    data: Type.Unsafe<unknown>({ description: 'Any JSON value.' })
  }, { additionalProperties: false, examples: [{ to: 'user:42', event: 'complaint', data: { title: 'Complaint update' } }] }),
  response: {
    202: Type.Object({
      notifications: Type.Array(Type.Object({
        to: Address,
        id: Type.String({ description: 'Opaque; the id that the client sees.' }),
        receivers: Type.Integer({ description: 'Nodes that took it; 0 means nobody is online.' })
      }))
    }, { description: 'Stored in the logs and handed to every node that serves the addresses.' }),
    ...errorResponses(400, 401, 403, 413, 415, 429, 503)
  }
}

export const publish: FastifyPluginAsyncTypebox<{ config: Config, hub: Hub, broker: Broker }> = async (app, { config, hub, broker }) => {
  // Room for data that is escaped more than it need be, and for all the addresses.
  const bodyLimit = 2 * config.MAX_DATA_BYTES + 1_048_576

  app.post('/api/notifications', {
    schema,
    bodyLimit,
    // Before the body is read: who may not publish is not listened to.
    onRequest: async (request) => {
      request.principal = await app.authenticate(request)
      if (publishesNothing(request.principal.scopes)) throw fail('TIDINGS_SCOPE_MISSING', PUBLISH_SCOPE)
    },
    config: app.publishLimit
  }, async (request, reply) => {
    const { to, event = DEFAULT_EVENT, data } = request.body
    const addresses = typeof to === 'string' ? [to] : [...new Set(to)]
    for (const address of addresses) if (!isAddress(address)) throw fail('TIDINGS_BAD_ADDRESS', JSON.stringify(address.slice(0, 160)))
    const { userId, issuedAtSeconds, scopes } = request.principal!
    mayPublish(scopes, addresses)
    checkEvent(event)
    const json = serialise(data, config.MAX_DATA_BYTES)
    const idempotencyKey = bindKey(request.headers['idempotency-key'], userId)

    const answer = await broker.publish({ to: addresses, event, json, idempotencyKey, publisher: { userId, issuedAtSeconds } })
    if (!answer.replayed) hub.stats.published += answer.notifications.length
    if (answer.replayed) reply.header('idempotency-replayed', 'true')
    reply.code(202)
    return { notifications: answer.notifications.map(({ to, id, receivers }) => ({ to, id: String(id), receivers })) }
  })
}

function checkEvent (event: string): void {
  const fault = eventFault(event)
  if (fault === 'reserved') throw fail('TIDINGS_RESERVED_EVENT', event)
  if (fault === 'malformed') throw fail('TIDINGS_BAD_EVENT', JSON.stringify(event.slice(0, 80)))
}

function serialise (data: unknown, maxDataBytes: number): string {
  let json: string
  try {
    json = JSON.stringify(data)
  } catch {
    throw fail('TIDINGS_DATA_TOO_DEEP') // the parser takes any depth, the serialiser's stack does not
  }
  const bytes = Buffer.byteLength(json)
  if (bytes > maxDataBytes) throw fail('TIDINGS_DATA_TOO_LARGE', bytes, maxDataBytes)
  if (isTooDeep(json)) throw fail('TIDINGS_DATA_TOO_DEEP')
  return json
}

/** Bound to the publisher, so that two services may use the same key; hashed, so that it is of one length. */
function bindKey (key: string | string[] | undefined, userId: string): string | undefined {
  if (key === undefined) return undefined
  if (typeof key !== 'string' || !/^[!-~]{1,255}$/.test(key)) throw fail('TIDINGS_BAD_IDEMPOTENCY_KEY')
  return createHash('sha256').update(`${userId}\n${key}`).digest('base64url')
}
