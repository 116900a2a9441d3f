// GET /api/notifications/subscribe: turns a request into a live stream, or tells the client to come back or to stop.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import Type, { type Static } from 'typebox'
import type { Broker } from '../broker/broker.ts'
import type { Config } from '../config.ts'
import { type ErrorCode, TidingsError } from '../errors.ts'
import type { Hub } from '../hub/hub.ts'
import { parsePosition, type ResumeFrom, TERMINAL_MARK } from '../notification.ts'
import { identityOf, type Principal } from './auth.ts'
import { addressOf } from './client-address.ts'
import { refuseCrossSite } from './cross-site.ts'
import { translate } from './errors.ts'
import { allowEventStreams, answerNobody, comeBack, lineOf, openEventStream, stop, STREAM_PATH } from './event-stream.ts'
import type { RateLimits } from './limits.ts'
import type { Refusals, TicketReason } from './refusals.ts'
import { bearerCookieOrTicket, content, errorResponses, UserIdText } from './schemas.ts'
import { findTicket, isPassOf, passName, type Redeemable, spend } from './ticket-store.ts'

export interface SubscribeOptions {
  readonly config: Config
  readonly hub: Hub
  readonly broker: Broker
  readonly limits: RateLimits
  readonly refusals: Refusals
}

const FAILOVER_HEADER = 'tidings-failover'
/**
 * A client with an unused ticket is told to wait no longer than this, so that the ticket (30 s) is still valid then.
 */
const MAX_TICKET_WAIT_MS = 10_000

const options = { exposeHeadRoute: false } as const

interface Opened {
  readonly answer: 'open'
  readonly principal: Principal
  readonly from: ResumeFrom
  readonly reconnectsFrom: ResumeFrom
  readonly admittedAt: number
  readonly cookie: string | undefined
}

/** The answer to a request for a stream. */
type Decision =
  | Opened
  | { readonly answer: 'comeBack', readonly retryMs: number, readonly because: ErrorCode }
  | { readonly answer: 'stop' }

// Parameters may be repeated, and unknown ones are allowed: an error status would end an EventSource for good.
const oneOrMore = (description: string) => Type.Optional(Type.Unsafe<string | string[]>({ type: ['string', 'array'], items: { type: 'string' }, description }))
const querystring = Type.Object({
  lastEventId: oneOrMore('Where to resume from, for clients that cannot send Last-Event-ID.'),
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

const schema = {
  tags: ['stream'],
  security: bearerCookieOrTicket,
  querystring,
  headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ description: 'Sent by EventSource when it reconnects.' })) }),
  response: {
    200: content('text/event-stream', EXAMPLE, 'History, sync, then live notifications and pings. A condition that passes is answered so, too: one block with retry, and an end.'),
    204: Type.Null({ description: 'This stream was ended for good; EventSource stops.' }),
    ...errorResponses(401, 403)
  }
}

type Query = Static<typeof querystring>

export const subscribe: FastifyPluginAsyncTypebox<SubscribeOptions> = async (app, { config, hub, broker, limits, refusals }) => {
  const isSingle = config.SESSION_POLICY === 'single'
  await allowEventStreams(app)

  app.get('/api/notifications/subscribe', {
    ...options,
    schema: { ...schema, summary: 'The stream of the token\'s user' }
  }, async (request, reply) => {
    await open(request, reply, request.query)
    return reply
  })

  app.get('/api/notifications/subscribe/:userId', {
    ...options,
    schema: { ...schema, summary: 'The same, for clients that put the user id in the path', params: Type.Object({ userId: UserIdText }) }
  }, async (request, reply) => {
    // As on other routes, a trailing slash without a user id is not a path of ours.
    if (request.params.userId === '') return reply.callNotFound()
    await open(request, reply, request.query, request.params.userId)
    return reply
  })

  async function open (request: FastifyRequest, reply: FastifyReply, query: Query, pathUserId?: string): Promise<void> {
    const decision = await decide(request, query, pathUserId)
    switch (decision.answer) {
      case 'stop': return stop(reply)
      case 'comeBack':
        refusals.count(decision.because)
        return comeBack(reply, decision.retryMs)
      case 'open': return start(request, reply, decision)
    }
  }

  async function decide (...request: Parameters<typeof admit>): Promise<Decision> {
    try {
      return await admit(...request)
    } catch (error) {
      // Passing conditions are answered 200, since any other status would end an EventSource for good.
      const refusal = translate(error as Error)
      if (!isPassing(refusal)) throw error
      if (refusal.code === 'TIDINGS_INTERNAL') app.log.error({ err: error }, 'unexpected error; report it, with the stack')
      return later(refusal.code)
    }
  }

  function later (because: ErrorCode, retryMs = hub.retryMs()): Decision {
    return { answer: 'comeBack', retryMs, because }
  }

  /** Decides who may have a stream and where it resumes. Throws what is answered as an error status. */
  async function admit (request: FastifyRequest, query: Query, pathUserId?: string): Promise<Decision> {
    // Only a browser's automatic reconnect sends the header. A new EventSource of a page never does: it means "use
    // here".
    const header = request.headers['last-event-id']?.toString()
    const position = header || query.lastEventId?.toString()
    // A terminal event told this client to stop. Its token may be gone by now, so none is asked for.
    if (position?.startsWith(TERMINAL_MARK)) return { answer: 'stop' }
    if (hub.isDraining || !broker.state().up || hub.isFull) {
      // A proxy that sends this header asks another node at 503, and never shows the 503 to the browser (nginx.conf).
      // Answering 200 would draw reconnects to a draining node, since a balancer by least connections prefers it.
      if (request.headers[FAILOVER_HEADER] === '503') throw new TidingsError('TIDINGS_BUSY')
      return later(broker.state().up ? 'TIDINGS_BUSY' : 'TIDINGS_UNAVAILABLE')
    }
    const ticket = await ticketOf(request, [query.ticket ?? []].flat()[0])
    const principal = ticket?.principal ?? await app.readTokenAlone(request)
    const { userId } = principal
    if (pathUserId !== undefined && pathUserId !== userId) throw new TidingsError('TIDINGS_NOT_YOUR_STREAM')

    const reconnectsFrom = parsePosition(header)
    const sessionCursor = !isSingle ? undefined : reconnectsFrom === 'foreign' ? 'fresh' : reconnectsFrom

    const isFirst = ticket?.isSpent === false
    const connect = limits.connect(request, userId, isFirst ? 'address' : 'both')
    const { verdict, counts, admittedAt } = await broker.visit({ ...identityOf(principal), sessionCursor, counters: connect.counters })
    if (verdict === 'revoked') throw new TidingsError('TIDINGS_TOKEN_REVOKED')
    const waitMs = connect.waitMs(counts)
    if (waitMs > 0) return later('TIDINGS_TOO_MANY_REQUESTS', isFirst ? Math.min(waitMs, MAX_TICKET_WAIT_MS) : waitMs)
    // Another tab took the session over while this one was away. Its reconnect must not take the session back.
    if (verdict === 'replaced') return { answer: 'stop' }
    return { answer: 'open', principal, from: parsePosition(position), reconnectsFrom, admittedAt, cookie: isFirst ? await passFor(ticket) : undefined }
  }

  /**
   * Looks a ticket up. The first use of a ticket spends it and sets a cookie, the pass. EventSource reconnects to the
   * same URL with the spent ticket, and is admitted if it brings the pass. So a leaked URL is useless without the
   * cookie, which no script can read, and the cookie is useless without a ticket of its user. Neither outlives the
   * token.
   */
  async function ticketOf (request: FastifyRequest, text: string | undefined): Promise<Redeemable | undefined> {
    if (text === undefined) return undefined
    const ticket = await findTicket(broker, text)
    if (ticket === undefined) throw badTicket('unknown')
    if (ticket.principal.expiresAtSeconds * 1000 <= Date.now()) throw new TidingsError('TIDINGS_TOKEN_EXPIRED').because('token-expired' satisfies TicketReason)
    if (!ticket.isSpent) return ticket
    // A spent ticket is authenticated by its cookie, so requests from foreign sites are refused.
    refuseCrossSite(request, config.CORS_ORIGINS)
    if (!isPassOf(ticket, request.cookies[passName(ticket.principal.userId)])) throw badTicket('spent')
    return ticket
  }

  /** Spends the ticket of an admitted user. Returns the Set-Cookie header with the pass. */
  async function passFor (ticket: Redeemable): Promise<string> {
    const pass = await spend(broker, ticket)
    if (pass === undefined) throw badTicket('spent') // another request spent it first
    // The path makes browsers send the cookie with stream requests only.
    return app.serializeCookie(pass.name, pass.value, { path: STREAM_PATH, httpOnly: true, secure: true, sameSite: 'strict', maxAge: pass.maxAgeSeconds })
  }

  function start (request: FastifyRequest, reply: FastifyReply, { principal, from, reconnectsFrom, admittedAt, cookie }: Decision & { answer: 'open' }): void {
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

/** Whether the condition passes by itself, so that the browser should retry. */
function isPassing ({ code, statusCode }: TidingsError): boolean {
  return code === 'TIDINGS_TOKEN_NOT_YET' || (statusCode >= 500 && code !== 'TIDINGS_BUSY')
}

function badTicket (reason: TicketReason): TidingsError {
  return new TidingsError('TIDINGS_BAD_TICKET').because(reason)
}
