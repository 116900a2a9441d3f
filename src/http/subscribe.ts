// GET /api/notifications/subscribe: from a request to a live stream.
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type, { type Static } from 'typebox'
import { type Broker, Uncertain, Unavailable } from '../broker/broker.ts'
import type { Config } from '../config.ts'
import { fail } from '../errors.ts'
import type { Hub } from '../hub/hub.ts'
import { type EndReason, Stream } from '../hub/stream.ts'
import { parsePosition, type ResumeFrom, TERMINAL_MARK } from '../notification.ts'
import type { Principal } from './auth.ts'
import { allowEventStreams, answerNobody, comeBack, lineOf, openEventStream, stop } from './event-stream.ts'
import { errorResponses } from './schemas.ts'
import { redeem } from './tickets.ts'

export interface SubscribeOptions {
  readonly config: Config
  readonly hub: Hub
  readonly broker: Broker
}

const FAILOVER_HEADER = 'tidings-failover'

const options = { exposeHeadRoute: false } as const

/** What a request for a stream is answered. */
type Decision =
  | { readonly answer: 'open', readonly principal: Principal, readonly from: ResumeFrom, readonly sessionCursor: number | 'fresh' | undefined }
  | { readonly answer: 'comeBack', readonly retryMs: number }
  | { readonly answer: 'stop' }

const querystring = Type.Object({
  // Any number of them: a position that is not ours is no error.
  lastEventId: Type.Optional(Type.Unsafe<string | string[]>({
    type: ['string', 'array'], items: { type: 'string' }, description: 'Where to resume from, for clients that cannot send Last-Event-ID.'
  })),
  ticket: Type.Optional(Type.String({ description: 'From POST /api/notifications/tickets.' }))
})

const schema = {
  tags: ['stream'],
  querystring,
  headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ description: 'Sent by EventSource when it reconnects.' })) }),
  response: {
    200: Type.String({ description: 'text/event-stream: retry, history, sync, then live notifications and pings.' }),
    204: Type.Null({ description: 'This stream was ended for good; EventSource stops.' }),
    ...errorResponses(400, 401, 403, 503)
  }
}

export const subscribe: FastifyPluginAsyncTypebox<SubscribeOptions> = async (app, { config, hub, broker }) => {
  const isSingle = config.SESSION_POLICY === 'single'
  await allowEventStreams(app, config.RETRY_MS)

  app.get('/api/notifications/subscribe', {
    ...options,
    schema: { ...schema, summary: 'The stream of the token\'s user' }
  }, async (request, reply) => {
    await open(request, reply, request.query)
    return reply
  })

  app.get('/api/notifications/subscribe/:userId', {
    ...options,
    schema: { ...schema, summary: 'The same, for clients that put the user id in the path', params: Type.Object({ userId: Type.String() }) }
  }, async (request, reply) => {
    await open(request, reply, request.query, request.params.userId)
    return reply
  })

  async function open (request: FastifyRequest, reply: FastifyReply, query: Static<typeof querystring>, pathUserId?: string): Promise<void> {
    const decision = await decide(request, reply, query, pathUserId)
    switch (decision.answer) {
      case 'stop': return stop(reply)
      case 'comeBack': return comeBack(reply, decision.retryMs)
      case 'open': return start(request, reply, decision)
    }
  }

  async function decide (...request: Parameters<typeof admit>): Promise<Decision> {
    try {
      return await admit(...request)
    } catch (error) {
      // Any status but 200 would end an EventSource for ever, and these conditions pass.
      if (isPassing(error)) return { answer: 'comeBack', retryMs: hub.retryMs() }
      throw error
    }
  }

  /** Who may have a stream, and from where. Throws what is answered as an error. */
  async function admit (request: FastifyRequest, reply: FastifyReply, query: Static<typeof querystring>, pathUserId?: string): Promise<Decision> {
    if (hub.isDraining || !broker.state().up || isFull()) {
      // A proxy that asks another node at 503, and never shows it to the browser, says so (nginx.conf). Without it, an
      // emptying node would draw the reconnects: a balancer by least connections likes it best.
      if (request.headers[FAILOVER_HEADER] === '503') throw fail('TIDINGS_BUSY')
      return { answer: 'comeBack', retryMs: hub.retryMs() }
    }
    const principal = query.ticket === undefined ? await app.authenticate(request) : await redeem(query.ticket, request, reply, { broker, allowedOrigins: config.CORS_ORIGINS })
    const { userId, issuedAtSeconds } = principal
    if (pathUserId !== undefined && pathUserId !== userId) throw fail('TIDINGS_NOT_YOUR_STREAM')

    // Only the browser's own reconnect sends the header. A page that opens a new stream, from wherever, means "use here".
    const header = request.headers['last-event-id']?.toString()
    const position = header || query.lastEventId?.toString()
    if (position?.startsWith(TERMINAL_MARK)) return { answer: 'stop' }
    const reconnectsFrom = parsePosition(header)
    const sessionCursor = !isSingle ? undefined : reconnectsFrom === 'foreign' ? 'fresh' : reconnectsFrom

    const limits = app.connectLimits(request, userId)
    const { verdict, counts } = await broker.visit({ userId, issuedAtSeconds, sessionCursor, counters: limits.map(({ counter }) => counter) })
    if (verdict === 'revoked') throw fail('TIDINGS_TOKEN_REVOKED')
    const waitMs = app.connectWaitMs(limits, counts)
    if (waitMs > 0) return { answer: 'comeBack', retryMs: waitMs }
    // Taken over while it was away: its reconnect must not take the session back.
    if (verdict === 'replaced') return { answer: 'stop' }
    if (!isSingle && hub.streamsOf(userId) >= config.MAX_STREAMS_PER_USER) throw fail('TIDINGS_TOO_MANY_STREAMS', config.MAX_STREAMS_PER_USER)
    return { answer: 'open', principal, from: parsePosition(position), sessionCursor }
  }

  function start (request: FastifyRequest, reply: FastifyReply, { principal, from, sessionCursor }: Decision & { answer: 'open' }): void {
    switch (lineOf(reply)) {
      case 'gone': return answerNobody(reply)
      // It waits behind another answer on the same connection (HTTP pipelining), where a stream can write nothing.
      case 'queued': return comeBack(reply, hub.retryMs())
    }
    const { userId, issuedAtSeconds, groups, expiresAtMs } = principal
    const { ip } = request // read from headers that are let go of with the rest
    const response = openEventStream(reply)
    const stream = new Stream(response, { userId, issuedAtSeconds, groups, expiresAtMs, sessionCursor }, { bufferBytes: config.STREAM_BUFFER_BYTES }, onEnd)
    hub.stats.opened++
    app.log.info({ userId, ip, resumes: from !== 'fresh' }, 'stream open')
    // Not awaited: the request is answered, what follows belongs to the stream.
    void hub.attach(stream, from)
  }

  function isFull (): boolean {
    return config.MAX_STREAMS > 0 && hub.streams >= config.MAX_STREAMS
  }

  function onEnd (stream: Stream, reason: EndReason): void {
    hub.detach(stream, reason)
    app.log.info({
      userId: stream.owner.userId, reason, seconds: Math.round((Date.now() - stream.openedAtMs) / 100) / 10, delivered: stream.delivered
    }, 'stream end')
  }
}

/** Tried again by the browser, not by its user. */
function isPassing (error: unknown): boolean {
  return error instanceof Unavailable || error instanceof Uncertain || (error as { code?: string }).code === 'TIDINGS_KEYS_UNAVAILABLE'
}
