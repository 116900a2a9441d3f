// GET /api/users/:userId/why: answers "why did user 42 not get it?".
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { Trail } from '../broker/trail.ts'
import type { ReceiptsMode } from '../receipts.ts'
import { explain, VERDICTS } from '../why.ts'
import { SCOPE_ERRORS } from './auth.ts'
import { ignoreBodies } from './body.ts'
import { parseGivenId } from './inbox-schemas.ts'
import { bearer, errorResponses, UserIdText } from './schemas.ts'
import { checkName, MANAGE_SCOPE } from './users.ts'

const at = Type.Optional(Type.String({ format: 'date-time' }))
const Answer = Type.Object({
  userId: Type.String(),
  id: Type.String(),
  verdict: Type.Unsafe<typeof VERDICTS[number]>({ type: 'string', enum: [...VERDICTS] }),
  sentence: Type.String({ description: 'The answer in one sentence.' }),
  publishedAt: Type.String({ format: 'date-time' }),
  addresses: Type.Array(Type.Object({ to: Type.String(), state: Type.String({ description: 'kept, retracted, replaced or expired.' }), at }, { title: 'WhyAddress' }), {
    description: 'Of the addresses that the user has or had, those whose logs hold or held it.'
  }),
  streams: Type.Array(Type.Object({
    stream: Type.String({ description: 'As in the log lines "stream open" and "stream end".' }),
    node: Type.String(),
    outcome: Type.String({ description: 'written, resumed-past, opened-later, gone-before, ended-before, cut-as-slow or unconfirmed.' }),
    at,
    how: Type.Optional(Type.String({ description: 'live, or log: read from the log when the stream was opened or filled again.' })),
    ended: Type.Optional(Type.String({ description: 'Why the stream ended.' }))
  }, { title: 'WhyStream' }), { description: 'What happened on each stream of the user, newest first.' }),
  receipts: Type.String({ description: 'The setting RECEIPTS of the node that answers.' })
}, {
  title: 'WhyAnswer',
  description: 'A verdict, a sentence that explains it, and the evidence.',
  examples: [{
    userId: '42',
    id: '1763794001222333',
    verdict: 'written',
    sentence: 'It was written to stream k3f9a1 on node node-1 at 2025-11-22T06:46:41.224Z.',
    publishedAt: '2025-11-22T06:46:41.222Z',
    addresses: [{ to: 'user:42', state: 'kept' }],
    streams: [{ stream: 'k3f9a1', node: 'node-1', outcome: 'written', at: '2025-11-22T06:46:41.224Z', how: 'live' }],
    receipts: 'all'
  }]
})

export const why: FastifyPluginAsyncTypebox<{ trail: Trail, receipts: ReceiptsMode }> = async (app, { trail, receipts }) => {
  ignoreBodies(app)
  app.get('/api/users/:userId/why', {
    onRequest: async (request) => {
      await app.authorize(request, MANAGE_SCOPE)
      checkName((request.params as { userId: string }).userId, 'user id')
    },
    schema: {
      operationId: 'explainNotification',
      tags: ['users'],
      summary: 'Why a user did, or did not, get a notification',
      description: `Needs the scope ${MANAGE_SCOPE}. Tells nothing of other users, and changes nothing. For an unknown user there is an answer too.`,
      security: bearer,
      params: Type.Object({ userId: UserIdText }),
      querystring: Type.Object({ id: Type.String({ description: 'The id of the notification.', examples: ['1763794001222333'] }) }),
      response: { 200: Answer, ...errorResponses(SCOPE_ERRORS, 'TIDINGS_BAD_NAME', 'TIDINGS_BAD_POSITION') }
    }
  }, async (request) => {
    const { userId } = request.params
    const id = parseGivenId(request.query.id)
    const { streams, addresses, ...answer } = explain(await trail.evidence(userId, id), { userId, receipts })
    return { userId, id: String(id), ...answer, addresses: [...addresses], streams: [...streams], receipts }
  })
}
