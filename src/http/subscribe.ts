// GET /api/notifications/subscribe: turns a request into a live stream, or tells the client to come back or to stop.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import Type, { type Static } from 'typebox'
import { type ErrorCode, TidingsError } from '../errors.ts'
import { Admission, type AdmissionOptions, type Admitted, isPassing } from './admission.ts'
import { identityOf, TOKEN_ERRORS } from './auth.ts'
import { addressOf } from './client-address.ts'
import { allowEventStreams, answerNobody, comeBack, lineOf, openEventStream, stop } from './event-stream.ts'
import type { Refusals } from './refusals.ts'
import { bearerCookieOrTicket, content, streamErrorResponses, UserIdText } from './schemas.ts'
import { TICKET_ERRORS } from './ticket-store.ts'

export interface SubscribeOptions extends Omit<AdmissionOptions, 'app'> {
  readonly refusals: Refusals
}

const LAST_EVENT_ID = 'Where to resume from, for clients that cannot send Last-Event-ID.'
/** A generated client sends one. */
const documentedQuery = Type.Object({ lastEventId: Type.Optional(Type.String({ description: LAST_EVENT_ID, examples: ['1763794001222333'] })) })

// Parameters may be repeated, and unknown ones are allowed: an error status would end an EventSource for good.
const oneOrMore = (description: string) => Type.Optional(Type.Unsafe<string | string[]>({ type: ['string', 'array'], items: { type: 'string' }, description }))
const querystring = Type.Object({
  lastEventId: oneOrMore(LAST_EVENT_ID),
  ticket: oneOrMore('From POST /api/notifications/tickets. Of several the first counts.')
})

const EXAMPLE = `retry: 3000
id: 1763794000999999
event: sync
data: {"resume":"fresh","replayed":0,"seen":"0","read":"0","unseen":0,"unread":0,"groups":["Complaints"],"heartbeatSeconds":15}

id: 1763794001222333
data: {"title":"Complaint update"}

event: ping
data: {}

`

/** Those that pass by themselves are answered 200, apart from TIDINGS_BUSY for a proxy that asks for it. */
const ERRORS: readonly ErrorCode[] = [
  ...[...TOKEN_ERRORS, ...TICKET_ERRORS].filter((code) => !isPassing(new TidingsError(code))), 'TIDINGS_TOO_MANY_STREAMS', 'TIDINGS_BUSY'
]

const schema = {
  tags: ['stream'],
  security: bearerCookieOrTicket,
  querystring,
  headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ description: 'Sent by EventSource when it reconnects.' })) }),
  response: {
    200: content({ 'text/event-stream': EXAMPLE }, 'History, sync, then live notifications and pings. A condition that passes is answered so, too: one block with retry, and an end.'),
    204: Type.Null({ description: 'This stream was ended for good; EventSource stops.' }),
    ...streamErrorResponses(ERRORS)
  }
}
const ofUser = {
  ...schema,
  params: Type.Object({ userId: UserIdText }),
  response: { ...schema.response, ...streamErrorResponses(ERRORS, 'TIDINGS_NOT_YOUR_STREAM') }
}

const options: Pick<RouteShorthandOptions, 'exposeHeadRoute' | 'config'> = {
  exposeHeadRoute: false,
  config: { swaggerTransform: ({ schema, url }) => ({ url, schema: { ...schema, querystring: documentedQuery } }) }
}

type Query = Static<typeof querystring>

export const subscribe: FastifyPluginAsyncTypebox<SubscribeOptions> = async (app, { refusals, ...parts }) => {
  const { config, hub } = parts
  const admission = new Admission({ app, ...parts })
  await allowEventStreams(app)

  app.get('/api/notifications/subscribe', {
    ...options,
    schema: { ...schema, operationId: 'openStream', summary: 'The stream of the token\'s user' }
  }, async (request, reply) => {
    await open(request, reply, request.query)
    return reply
  })

  app.get('/api/notifications/subscribe/:userId', {
    ...options,
    schema: { ...ofUser, operationId: 'openUserStream', summary: 'The same, for clients that put the user id in the path' }
  }, async (request, reply) => {
    // As on other routes, a trailing slash without a user id is not a path of ours.
    if (request.params.userId === '') return reply.callNotFound()
    await open(request, reply, request.query, request.params.userId)
    return reply
  })

  async function open (request: FastifyRequest, reply: FastifyReply, query: Query, pathUserId?: string): Promise<void> {
    const decision = await admission.decide(request, query, pathUserId)
    switch (decision.answer) {
      case 'stop': return stop(reply)
      case 'comeBack':
        if (decision.because !== undefined) refusals.count(decision.because)
        if (decision.cookie !== undefined) reply.header('set-cookie', decision.cookie)
        return comeBack(reply, decision.retryMs)
      case 'open': return start(request, reply, decision)
    }
  }

  function start (request: FastifyRequest, reply: FastifyReply, { principal, from, reconnectsFrom, admittedAt, cookie }: Admitted): void {
    // Not reply.setCookie: a hook writes it, and hijacked replies run no hooks.
    if (cookie !== undefined) reply.header('set-cookie', cookie)
    switch (lineOf(reply)) {
      case 'gone': return answerNobody(reply)
      // Another answer is still being sent on this connection (HTTP pipelining), so a stream could write nothing.
      case 'queued': return comeBack(reply, hub.retryMs())
    }
    const ip = addressOf(request.ip) // read now, since opening the stream frees the request's headers
    const owner = { ...identityOf(principal), groups: principal.groups, admittedAt, reconnectsFrom }
    const opening = hub.open(() => openEventStream(reply), owner, from, { ip })
    if ('opened' in opening) return
    if (opening.refused === 'too many') throw new TidingsError('TIDINGS_TOO_MANY_STREAMS', config.MAX_STREAMS_PER_USER)
    refusals.count('TIDINGS_BUSY')
    comeBack(reply, opening.retryMs)
  }
}
