// The inbox over HTTP: the list, the counts, the two cursors, and marks on single notifications.
import type { FastifyPluginAsyncTypebox, TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { Reader, Store } from '../broker/broker.ts'
import type { Inbox, InboxMark } from '../broker/inbox.ts'
import { type Node, reads, type ReadTrace } from '../tracing.ts'
import { TidingsError } from '../errors.ts'
import { decode } from '../percent.ts'
import { identityOf, type Principal, SCOPE_ERRORS, ticketIn, TOKEN_ERRORS } from './auth.ts'
import { BODY_ERRORS, ignoreBodies } from './body.ts'
import { refuseExpired } from './claims.ts'
import { countsJson, Counts, Page, pageJson, parseId, parseList, parseUpTo, ListQuery, readListQuery, stateJson, State } from './inbox-schemas.ts'
import { LIMIT_ERRORS, type RequestLimit } from './limits.ts'
import { bearer, bearerCookieOrTicketHeader, errorResponses, UserIdText } from './schemas.ts'
import { redeem, TICKET_ERRORS } from './ticket-store.ts'
import { Unread } from './unread.ts'
import { checkName, MANAGE_SCOPE } from './users.ts'

export interface InboxOptions {
  readonly inbox: Inbox
  readonly store: Store
  readonly node: Node
  readonly limit: RequestLimit
}

const ofUser = {
  tags: ['inbox'],
  security: bearerCookieOrTicketHeader,
  headers: Type.Object({
    'tidings-user': Type.Optional(Type.String({ description: 'The user whose inbox is meant, encoded as in a URL. 403 if the token is that of another user.' }))
  })
}
/** Of each request of a user, before and while the broker is asked. */
const USER_ERRORS = [...TOKEN_ERRORS, ...TICKET_ERRORS, ...LIMIT_ERRORS, 'TIDINGS_NOT_YOUR_STREAM'] as const
const ofBackEnd = { tags: ['inbox'], security: bearer, description: `Needs the scope ${MANAGE_SCOPE}. Changes nothing.` }
const idParams = Type.Object({ id: Type.String({ description: 'The id of a notification, as the stream or the list has it.', examples: ['1763794001222333'] }) })
const userParams = Type.Object({ userId: UserIdText })
const UpTo = Type.Object({ upTo: Type.String({ description: 'An id, or a position.' }) }, {
  title: 'CursorMove', additionalProperties: false, examples: [{ upTo: '1763794001222333' }]
})

export const inbox: FastifyPluginAsyncTypebox<InboxOptions> = async (app, { inbox, ...rest }) => {
  await app.register(async (plain) => { routesOfUsers(plain.withTypeProvider<TypeBoxTypeProvider>(), { inbox, ...rest }) })
  await app.register(async (plain) => { routesOfBackEnds(plain.withTypeProvider<TypeBoxTypeProvider>(), inbox) })
}

type App = Parameters<typeof inbox>[0]

function routesOfUsers (app: App, { inbox, store, node, limit }: InboxOptions): void {
  app.addHook('onRequest', async (request, reply) => {
    // Revoked tokens are refused by the broker in each call below.
    const ticket = ticketIn(request)
    const principal = ticket === undefined ? await app.readTokenAlone(request) : await redeem(store, ticket, app.checkKey)
    refuseOtherUser(request, principal)
    await limit(reply, principal.userId)
    request.principal = principal
  })
  const report = reporter(node)
  const unread = new Unread(app)
  app.get('/api/notifications', {
    preValidation: readListQuery,
    schema: {
      ...ofUser,
      operationId: 'listNotifications',
      summary: 'The inbox, newest first',
      querystring: ListQuery,
      response: { 200: Page, ...errorResponses(USER_ERRORS, 'TIDINGS_BAD_POSITION') }
    }
  }, async (request, reply) => {
    const json = pageJson(await inbox.list({ reader: readerOf(request), ...parseList(request.query) }))
    unread.add(request, request.principal!.userId, Buffer.byteLength(json))
    return sendText(reply, json)
  })

  app.get('/api/notifications/position', {
    schema: {
      ...ofUser,
      operationId: 'getPosition',
      summary: 'The current position, with the counts',
      description: 'Take it before you read your own data; then open the stream with ?lastEventId=<position>, so that nothing is missed between page and stream.',
      response: { 200: State, ...errorResponses(USER_ERRORS) }
    }
  }, async (request) => stateJson(await inbox.position(readerOf(request))))

  for (const cursor of ['seen', 'read'] as const) {
    app.put(`/api/notifications/${cursor}`, {
      schema: {
        ...ofUser,
        operationId: cursor === 'seen' ? 'moveSeenCursor' : 'moveReadCursor',
        summary: cursor === 'seen' ? 'The list was shown up to here' : 'Everything up to here was read',
        description: 'The cursor never moves back, so late and repeated calls are harmless. Every stream of the user gets the event "read".',
        body: UpTo,
        response: { 200: Counts, ...errorResponses(USER_ERRORS, BODY_ERRORS, 'TIDINGS_BAD_POSITION') }
      },
      preHandler: refuseExpired
    }, async (request) => {
      const upTo = parseUpTo(request.body.upTo)
      const counts = await inbox.moveCursor(readerOf(request), cursor, upTo)
      if (cursor === 'read') report(request, upTo, 'upTo')
      return countsJson(counts)
    })
  }
  routesOfMarks(app, inbox, node)
}

/** Marks on single notifications. These requests have no body. */
function routesOfMarks (app: App, inbox: Inbox, node: Node): void {
  const report = reporter(node)

  const marks: Array<[method: 'PUT' | 'DELETE', path: string, as: InboxMark, operationId: string, summary: string]> = [
    ['PUT', '/api/notifications/:id/read', 'read', 'markNotificationRead', 'One notification was read'],
    ['DELETE', '/api/notifications/:id/read', 'unread', 'markNotificationUnread', 'One notification is unread again'],
    ['DELETE', '/api/notifications/:id', 'dismissed', 'dismissNotification', 'Dismissed: gone from this user\'s inbox, counts and replay, on every device']
  ]
  app.register(async (plain) => {
    const bodiless = plain.withTypeProvider<TypeBoxTypeProvider>()
    ignoreBodies(bodiless)
    for (const [method, url, as, operationId, summary] of marks) {
      bodiless.route({
        method,
        url,
        schema: {
          ...ofUser,
          operationId,
          summary,
          params: idParams,
          response: { 200: Counts, ...errorResponses(USER_ERRORS, 'TIDINGS_BAD_POSITION', 'TIDINGS_NO_NOTIFICATION', 'TIDINGS_TOO_MANY_MARKS') }
        },
        handler: async (request) => {
          const id = parseId(request.params.id)
          const counts = await inbox.mark(readerOf(request), id, as)
          if (as === 'read') report(request, id, 'one')
          return countsJson(counts)
        }
      })
    }
  })
}

function readerOf ({ principal }: FastifyRequest): Reader {
  return { userId: principal!.userId, token: { ...identityOf(principal!), groups: principal!.groups } }
}

/** Returns a function that publishes on the diagnostics channel what a user has read. */
function reporter (node: Node): (request: FastifyRequest, id: number, what: ReadTrace['what']) => void {
  return ({ principal }, id, what) => {
    const trace: ReadTrace = { node, userId: principal!.userId, id, what }
    if (reads.hasSubscribers) reads.publish(trace)
  }
}

/**
 * A page that is still open may send the cookie of whoever has signed in since. It says whose page it is, so that no
 * inbox is shown or changed under another name.
 */
function refuseOtherUser ({ headers }: FastifyRequest, { userId }: Principal): void {
  const wanted = headers['tidings-user']
  if (wanted !== undefined && decode(wanted.toString()) !== userId) throw new TidingsError('TIDINGS_NOT_YOUR_STREAM')
}

/** The list and the counts for a back end that renders the page. */
function routesOfBackEnds (app: App, inbox: Inbox): void {
  app.addHook('onRequest', async (request) => {
    await app.authorize(request, MANAGE_SCOPE)
    checkName((request.params as { userId: string }).userId, 'user id')
  })

  app.get('/api/users/:userId/notifications', {
    preValidation: readListQuery,
    schema: {
      ...ofBackEnd,
      operationId: 'listUserNotifications',
      summary: 'The inbox of a user',
      params: userParams,
      querystring: ListQuery,
      response: { 200: Page, ...errorResponses(SCOPE_ERRORS, 'TIDINGS_BAD_NAME', 'TIDINGS_BAD_POSITION') }
    }
  }, async (request, reply) => sendText(reply, pageJson(await inbox.list({ reader: { userId: request.params.userId }, ...parseList(request.query) }))))

  app.get('/api/users/:userId/position', {
    schema: {
      ...ofBackEnd,
      operationId: 'getUserPosition',
      summary: 'The current position, with the counts of a user',
      params: userParams,
      response: { 200: State, ...errorResponses(SCOPE_ERRORS, 'TIDINGS_BAD_NAME') }
    }
  }, async (request) => stateJson(await inbox.position({ userId: request.params.userId })))
}

/** Sends JSON text as it is. Serialising it again could change `data`. */
function sendText (reply: FastifyReply, json: string): never {
  reply.type('application/json; charset=utf-8').serializer((text) => text as string).send(json)
  return reply as never
}
