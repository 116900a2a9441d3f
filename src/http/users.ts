// /api/users: groups, logout and presence of a user, for login handlers and back offices.
import type { FastifyPluginAsyncTypebox, TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import { MAX_GROUPS, type Members, type Sessions } from '../broker/broker.ts'
import { TidingsError } from '../errors.ts'
import { isName } from '../notification.ts'
import { SCOPE_ERRORS } from './auth.ts'
import { BODY_ERRORS, ignoreBodies } from './body.ts'
import { bearer, errorResponses, GroupNameText, UserIdText } from './schemas.ts'

export const MANAGE_SCOPE = 'notifications:manage'

const common = {
  tags: ['users'],
  description: `Needs the scope ${MANAGE_SCOPE}.`,
  security: bearer
}
const ERRORS = [...SCOPE_ERRORS, 'TIDINGS_BAD_NAME'] as const
const errors = errorResponses(ERRORS)
const userParams = Type.Object({ userId: UserIdText })
const groupParams = Type.Object({ userId: UserIdText, group: GroupNameText })
const Groups = Type.Object({ groups: Type.Array(Type.String(), { maxItems: MAX_GROUPS }) }, {
  title: 'UserGroups', additionalProperties: false, description: 'All groups of the user, however they were joined.', examples: [{ groups: ['Complaints', 'Sales'] }]
})

/** Leaves room for MAX_GROUPS names in any JSON escaping. */
const GROUPS_BODY_BYTES = 2_097_152

export const users: FastifyPluginAsyncTypebox<{ members: Members, sessions: Sessions }> = async (app, { members, sessions }) => {
  app.addHook('onRequest', async (request) => {
    await app.authorize(request, MANAGE_SCOPE)
    const { userId, group } = request.params as { userId: string, group?: string }
    checkName(userId, 'user id')
    if (group !== undefined) checkName(group, 'group name')
  })

  const groupsOf = async (userId: string): Promise<{ groups: string[] }> => ({ groups: [...(await members.groups(userId)).keys()].sort() })

  app.put('/api/users/:userId/groups', {
    bodyLimit: GROUPS_BODY_BYTES,
    schema: {
      ...common,
      operationId: 'replaceUserGroups',
      summary: 'Replace the groups of a user, for example at login',
      params: userParams,
      body: Groups,
      response: { 200: Groups, ...errorResponses(ERRORS, BODY_ERRORS) }
    },
    // Again, since the body may arrive a minute after the head: whoever has logged out meanwhile changes nothing.
    preHandler: async (request) => { await app.authorize(request, MANAGE_SCOPE) }
  }, async (request) => {
    const { groups } = request.body
    for (const group of groups) checkName(group, 'group name')
    await members.replaceGroups(request.params.userId, groups)
    return await groupsOf(request.params.userId)
  })

  await app.register(async (plain) => {
    const bodiless = plain.withTypeProvider<TypeBoxTypeProvider>()
    ignoreBodies(bodiless)

    bodiless.get('/api/users/:userId/groups', {
      schema: { ...common, operationId: 'listUserGroups', summary: 'The groups of a user', params: userParams, response: { 200: Groups, ...errors } }
    }, async (request) => await groupsOf(request.params.userId))

    type OneGroup = FastifyRequest<{ Params: { userId: string, group: string } }>
    const change = (verb: 'join' | 'leave') => async (request: OneGroup): Promise<{ groups: string[] }> => {
      const { userId, group } = request.params
      await members[verb](userId, group)
      return await groupsOf(userId)
    }

    bodiless.put('/api/users/:userId/groups/:group', {
      schema: {
        ...common,
        operationId: 'joinGroup',
        summary: 'Join a group; live streams follow at once, on every node',
        params: groupParams,
        response: { 200: Groups, ...errorResponses(ERRORS, 'TIDINGS_TOO_MANY_GROUPS') }
      }
    }, change('join'))

    bodiless.delete('/api/users/:userId/groups/:group', {
      schema: {
        ...common,
        operationId: 'leaveGroup',
        summary: 'Leave a group; live streams follow at once, on every node',
        params: groupParams,
        response: { 200: Groups, ...errors }
      }
    }, change('leave'))

    bodiless.delete('/api/users/:userId/streams', {
      schema: {
        ...common,
        operationId: 'logOutUser',
        summary: 'Log out: ends every stream of the user for good, and refuses the tokens issued up to now',
        params: userParams,
        response: { 204: Type.Null({ description: 'The streams of the user are ended, and older tokens are refused.' }), ...errors }
      }
    }, async (request, reply) => {
      await sessions.logout(request.params.userId)
      return reply.code(204).send(null)
    })

    bodiless.get('/api/users/:userId/presence', {
      schema: {
        ...common,
        operationId: 'getUserPresence',
        summary: 'Whether the user has a stream, and on how many nodes',
        params: userParams,
        response: {
          200: Type.Object({ online: Type.Boolean(), nodes: Type.Integer() }, {
            title: 'Presence', description: 'Whether the user has a stream, and on how many nodes.', examples: [{ online: true, nodes: 1 }]
          }),
          ...errors
        }
      }
    }, async (request) => {
      const nodes = await members.presence(request.params.userId)
      return { online: nodes > 0, nodes }
    })
  })
}

export function checkName (name: string, what: string): void {
  if (!isName(name)) throw new TidingsError('TIDINGS_BAD_NAME', what)
}
