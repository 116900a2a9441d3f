// Decides who may have a stream and from where it resumes, and what a client is told that gets none.
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Broker } from '../broker/broker.ts'
import type { Config } from '../config.ts'
import { type ErrorCode, TidingsError } from '../errors.ts'
import type { Hub } from '../hub/hub.ts'
import { parsePosition, type ResumeFrom, TERMINAL_MARK } from '../notification.ts'
import { identityOf, type Principal } from './auth.ts'
import { refuseCrossSite } from './cross-site.ts'
import { translate } from './errors.ts'
import { STREAM_PATH } from './event-stream.ts'
import type { RateLimits } from './limits.ts'
import type { TicketReason } from './refusals.ts'
import { requestOf } from './request-log.ts'
import { expiredTicket, findTicket, isPassOf, passName, type Redeemable, spend } from './ticket-store.ts'

export interface AdmissionOptions {
  readonly app: FastifyInstance
  readonly config: Config
  readonly hub: Hub
  readonly broker: Broker
  readonly limits: RateLimits
}

/** A parameter may be repeated. */
interface StreamQuery {
  readonly lastEventId?: string | string[]
  readonly ticket?: string | string[]
}

const FAILOVER_HEADER = 'tidings-failover'
/**
 * A client with an unused ticket is told to wait no longer than this, so that the ticket (30 s) is still valid then.
 */
const MAX_TICKET_WAIT_MS = 10_000
/** Short, since the page may be shown at any moment. It may get a new ticket each time, which counts as a connect. */
const PRERENDERED_RETRY_MS = 2000

/** A stream is opened; `cookie`: the Set-Cookie header of its answer. */
export interface Admitted {
  readonly answer: 'open'
  readonly principal: Principal
  readonly from: ResumeFrom
  readonly reconnectsFrom: ResumeFrom
  readonly admittedAt: number
  readonly cookie: string | undefined
}

/** The answer to a request for a stream. */
export type Decision =
  | Admitted
  /** `because`: what other routes would have answered; undefined if nothing is wrong. `cookie`: as above. */
  | { readonly answer: 'comeBack', readonly retryMs: number, readonly because: ErrorCode | undefined, readonly cookie?: string | undefined }
  | { readonly answer: 'stop' }

export class Admission {
  readonly #parts: AdmissionOptions

  constructor (parts: AdmissionOptions) {
    this.#parts = parts
  }

  /** Rejects with what is answered as an error status, which ends an EventSource for good. */
  async decide (request: FastifyRequest, query: StreamQuery, pathUserId?: string): Promise<Decision> {
    try {
      return await this.#admit(request, query, pathUserId)
    } catch (error) {
      // Passing conditions are answered 200, since any other status would end an EventSource for good.
      const refusal = translate(error as Error)
      if (!isPassing(refusal)) throw error
      if (refusal.code === 'TIDINGS_INTERNAL') this.#parts.app.log.error({ ...requestOf(request), err: error }, 'unexpected error; report it, with the stack')
      return this.#later(refusal.code)
    }
  }

  #later (because: ErrorCode | undefined, retryMs = this.#parts.hub.retryMs()): Decision {
    return { answer: 'comeBack', retryMs, because }
  }

  async #admit (request: FastifyRequest, query: StreamQuery, pathUserId?: string): Promise<Decision> {
    const { app, config, hub, broker, limits } = this.#parts
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
      return this.#later(broker.state().up ? 'TIDINGS_BUSY' : 'TIDINGS_UNAVAILABLE')
    }
    const ticket = await this.#ticketOf(request, [query.ticket ?? []].flat()[0])
    const principal = ticket?.principal ?? await app.readTokenAlone(request)
    const { userId } = principal
    if (pathUserId !== undefined && pathUserId !== userId) throw new TidingsError('TIDINGS_NOT_YOUR_STREAM')

    const isFirst = ticket?.isSpent === false
    // A browser may render a page in advance, and nobody may ever look at it. So it must not take the session. Its
    // ticket is taken, since the page may be shown after the end of the ticket, but not in the place of another page's.
    if (config.SESSION_POLICY === 'single' && isPrerendered(request)) {
      const takesTicket = isFirst && request.cookies[passName(userId)] === undefined
      return { answer: 'comeBack', retryMs: PRERENDERED_RETRY_MS, because: undefined, cookie: takesTicket ? await this.#passFor(ticket) : undefined }
    }

    const reconnectsFrom = parsePosition(header)
    const sessionCursor = config.SESSION_POLICY !== 'single' ? undefined : reconnectsFrom === 'foreign' ? 'fresh' : reconnectsFrom

    const connect = limits.connect(request, userId, isFirst ? 'address' : 'both')
    const { verdict, counts, admittedAt } = await broker.visit({ ...identityOf(principal), sessionCursor, counters: connect.counters })
    if (verdict === 'revoked') throw new TidingsError('TIDINGS_TOKEN_REVOKED')
    const waitMs = connect.waitMs(counts)
    if (waitMs > 0) return this.#later('TIDINGS_TOO_MANY_REQUESTS', isFirst ? Math.min(waitMs, MAX_TICKET_WAIT_MS) : waitMs)
    // Another tab took the session over while this one was away. Its reconnect must not take the session back.
    if (verdict === 'replaced') return { answer: 'stop' }
    return { answer: 'open', principal, from: parsePosition(position), reconnectsFrom, admittedAt, cookie: isFirst ? await this.#passFor(ticket) : undefined }
  }

  /**
   * Looks a ticket up. The first use of a ticket spends it and sets a cookie, the pass. EventSource reconnects to the
   * same URL with the spent ticket, and is admitted if it brings the pass. So a leaked URL is useless without the
   * cookie, which no script can read, and the cookie is useless without a ticket of its user. Neither outlives the
   * token.
   */
  async #ticketOf (request: FastifyRequest, text: string | undefined): Promise<Redeemable | undefined> {
    if (text === undefined) return undefined
    const ticket = await findTicket(this.#parts.broker, text)
    if (ticket === undefined) throw badTicket('unknown')
    if (ticket.principal.expiresAtSeconds * 1000 <= Date.now()) throw expiredTicket()
    const { signedBy } = ticket.principal
    if (signedBy !== undefined) await this.#parts.app.checkKey(signedBy)
    if (!ticket.isSpent) return ticket
    // A spent ticket is authenticated by its cookie, so requests from foreign sites are refused.
    refuseCrossSite(request, this.#parts.config.CORS_ORIGINS)
    if (!isPassOf(ticket, request.cookies[passName(ticket.principal.userId)])) throw badTicket('spent')
    return ticket
  }

  /** Spends the ticket of an admitted user. Returns the Set-Cookie header with the pass. */
  async #passFor (ticket: Redeemable): Promise<string> {
    const pass = await spend(this.#parts.broker, ticket)
    if (pass === undefined) throw badTicket('spent') // another request spent it first
    // The path makes browsers send the cookie with stream requests only.
    return this.#parts.app.serializeCookie(pass.name, pass.value, { path: STREAM_PATH, httpOnly: true, secure: true, sameSite: 'strict', maxAge: pass.maxAgeSeconds })
  }
}

/** Whether the condition passes by itself, so that the browser should retry. */
export function isPassing ({ code, statusCode }: TidingsError): boolean {
  return code === 'TIDINGS_TOKEN_NOT_YET' || (statusCode >= 500 && code !== 'TIDINGS_BUSY')
}

/** Only the browser itself can set this header. Once the page is shown, it no longer sends it. */
const isPrerendered = ({ headers }: FastifyRequest): boolean => headers['sec-purpose']?.includes('prerender') === true

function badTicket (reason: TicketReason): TidingsError {
  return new TidingsError('TIDINGS_BAD_TICKET').because(reason)
}
