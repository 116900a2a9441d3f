// POST /api/notifications/retract: takes a notification back from everybody.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { Messages } from '../broker/broker.ts'
import { TidingsError } from '../errors.ts'
import { identityOf, TOKEN_ERRORS } from './auth.ts'
import { BODY_ERRORS } from './body.ts'
import { refuseExpired } from './claims.ts'
import { parseId } from './inbox-schemas.ts'
import { LIMIT_ERRORS, type RequestLimit } from './limits.ts'
import { checkAddress, checkKey } from './publish.ts'
import { PUBLISH_SCOPE, publishesNothing, requireScopes } from './scopes.ts'
import { bearer, errorResponses } from './schemas.ts'

export const retract: FastifyPluginAsyncTypebox<{ messages: Messages, limit: RequestLimit }> = async (app, { messages, limit }) => {
  app.post('/api/notifications/retract', {
    schema: {
      operationId: 'retractNotification',
      tags: ['publish'],
      summary: 'Take a notification back',
      description: 'Gone from replay, lists and counts; every stream of the address gets the event "retracted". Needs the scope that publishing to the address needs.',
      security: bearer,
      body: Type.Object({
        to: Type.String({ description: 'The address that it was published to.' }),
        id: Type.Optional(Type.String({ description: 'The id that the publish returned.' })),
        key: Type.Optional(Type.String({ description: 'Instead of the id: the newest with this key.' }))
      }, {
        title: 'RetractRequest',
        additionalProperties: false,
        examples: [{ to: 'group:Complaints', key: 'complaint-17' }, { to: 'user:42', id: '1763794001222333' }]
      }),
      response: {
        200: Type.Object({ retracted: Type.Boolean({ description: 'False: it does not exist, or no longer.' }) }, {
          title: 'RetractAnswer', description: 'Whether it was there to be taken back.', examples: [{ retracted: true }]
        }),
        ...errorResponses(TOKEN_ERRORS, 'TIDINGS_SCOPE_MISSING', LIMIT_ERRORS, BODY_ERRORS, 'TIDINGS_BAD_ADDRESS', 'TIDINGS_BAD_KEY', 'TIDINGS_BAD_POSITION')
      }
    },
    onRequest: async (request, reply) => {
      const principal = await app.readTokenAlone(request, true)
      if (publishesNothing(principal.scopes)) throw new TidingsError('TIDINGS_SCOPE_MISSING', PUBLISH_SCOPE)
      request.principal = principal
      await limit(reply, principal.userId)
    },
    preHandler: refuseExpired
  }, async (request) => {
    const { to, id, key } = request.body
    checkAddress(to)
    requireScopes(request.principal!.scopes, [to])
    if ((id === undefined) === (key === undefined)) throw new TidingsError('TIDINGS_BAD_REQUEST', 'name what to take back by id or by key, and not by both')
    if (key !== undefined) checkKey(key)
    const what = key !== undefined ? { key } : { id: parseId(id!) }
    return { retracted: await messages.retract({ to, what, publisher: identityOf(request.principal!) }) }
  })
}
