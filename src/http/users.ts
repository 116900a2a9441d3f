// /api/users: the groups of a user, and whether they are online. For login handlers and back offices.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import { type Broker, MAX_GROUPS } from '../broker/broker.ts'
import { fail } from '../errors.ts'
import { isName } from '../notification.ts'
import { admitted } from './admission.ts'
import { bearer, errorResponses } from './schemas.ts'

export const MANAGE_SCOPE = 'notifications:manage'

const common = {
  tags: ['users'],
  description: `Needs the scope ${MANAGE_SCOPE}.`,
  security: bearer
}
const errors = errorResponses(400, 401, 403, 503)
const userParams = Type.Object({ userId: Type.String() })
const groupParams = Type.Object({ userId: Type.String(), group: Type.String() })
const Groups = Type.Object({ groups: Type.Array(Type.String(), { maxItems: MAX_GROUPS }) }, { additionalProperties: false })

export const users: FastifyPluginAsyncTypebox<{ broker: Broker }> = async (app, { broker }) => {
  app.addHook('onRequest', async (request) => {
    await admitted(broker, await app.authorize(request, MANAGE_SCOPE))
    const { userId, group } = request.params as { userId: string, group?: string }
    checkName(userId, 'user id')
    if (group !== undefined) checkName(group, 'group name')
  })

  const groupsOf = async (userId: string): Promise<{ groups: string[] }> => ({ groups: [...(await broker.groups(userId)).keys()].sort() })

  app.get('/api/users/:userId/groups', {
    schema: { ...common, summary: 'The groups of a user', params: userParams, response: { 200: Groups, ...errors } }
  }, async (request) => await groupsOf(request.params.userId))

  app.put('/api/users/:userId/groups', {
    schema: { ...common, summary: 'Replace the groups of a user, as a login handler does', params: userParams, body: Groups, response: { 200: Groups, ...errors } }
  }, async (request) => {
    const { groups } = request.body
    for (const group of groups) checkName(group, 'group name')
    await broker.replaceGroups(request.params.userId, groups)
    return await groupsOf(request.params.userId)
  })

  const change = (verb: 'join' | 'leave') => async (request: FastifyRequest<{ Params: { userId: string, group: string } }>): Promise<{ groups: string[] }> => {
    const { userId, group } = request.params
    await broker[verb](userId, group)
    return await groupsOf(userId)
  }

  app.put('/api/users/:userId/groups/:group', {
    schema: { ...common, summary: 'Join a group; live streams follow at once, on every node', params: groupParams, response: { 200: Groups, ...errors } }
  }, change('join'))

  app.delete('/api/users/:userId/groups/:group', {
    schema: { ...common, summary: 'Leave a group; live streams follow at once, on every node', params: groupParams, response: { 200: Groups, ...errors } }
  }, change('leave'))

  app.delete('/api/users/:userId/streams', {
    schema: {
      ...common,
      summary: 'Log out: ends every stream of the user for good, and refuses the tokens issued up to now',
      params: userParams,
      response: { 204: Type.Null(), ...errors }
    }
  }, async (request, reply) => {
    await broker.logout(request.params.userId)
    return reply.code(204).send(null)
  })

  app.get('/api/users/:userId/presence', {
    schema: {
      ...common,
      summary: 'Whether the user has a stream, and on how many nodes',
      params: userParams,
      response: { 200: Type.Object({ online: Type.Boolean(), nodes: Type.Integer() }), ...errors }
    }
  }, async (request) => {
    const nodes = await broker.presence(request.params.userId)
    return { online: nodes > 0, nodes }
  })
}

function checkName (name: string, what: string): void {
  if (!isName(name)) throw fail('TIDINGS_BAD_NAME', what)
}
