// POST /api/notifications/tickets: one-time tickets. EventSource can send credentials in the URL only, and no token
// should stand there.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { Broker } from '../broker/broker.ts'
import { TidingsError } from '../errors.ts'
import { identityOf, TOKEN_ERRORS } from './auth.ts'
import { ignoreBodies } from './body.ts'
import { LIMIT_ERRORS, type RateLimits } from './limits.ts'
import { bearerOrCookie, errorResponses } from './schemas.ts'
import { issueTicket, TICKET_SECONDS } from './ticket-store.ts'

export const tickets: FastifyPluginAsyncTypebox<{ broker: Broker, limits: RateLimits }> = async (app, { broker, limits }) => {
  ignoreBodies(app)
  app.post('/api/notifications/tickets', {
    schema: {
      operationId: 'createTicket',
      tags: ['stream'],
      summary: 'A ticket for one stream, or one request to the inbox',
      description: 'Open the stream with ?ticket=… within 30 s. Its reconnects need the cookie that the stream sets. Or send it to a route of the inbox as "Authorization: Ticket …". Counts as a connect of the user.',
      security: bearerOrCookie,
      response: {
        201: Type.Object({ ticket: Type.String(), expiresIn: Type.Integer({ description: 'Seconds.' }) }, {
          title: 'Ticket',
          description: 'A ticket with one use.',
          examples: [{ ticket: '0.sJlTXNS9vYnTylgr.5.Q_xi0Ywpoe6e2skUGYJqOgHM78odfE7VQU_LtxyCWw0', expiresIn: TICKET_SECONDS }]
        }),
        ...errorResponses(TOKEN_ERRORS, LIMIT_ERRORS)
      }
    },
    onRequest: async (request, reply) => {
      const principal = await app.readTokenAlone(request)
      const connect = limits.connect(request, principal.userId, 'user')
      const { verdict, counts } = await broker.visit({ ...identityOf(principal), counters: connect.counters })
      if (verdict === 'revoked') throw new TidingsError('TIDINGS_TOKEN_REVOKED')
      connect.check(reply, counts)
      request.principal = principal
    }
  }, async (request, reply) => {
    reply.code(201)
    return { ticket: await issueTicket(broker, { ...request.principal!, signedBy: app.keyOf(request) }), expiresIn: TICKET_SECONDS }
  })
}
