// Rate limits that hold over all nodes: what they count and what is answered past them. The broker keeps the counts.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Broker, VISIT_WINDOW_MS } from '../broker/broker.ts'
import type { Config } from '../config.ts'
import { type ErrorCode, TidingsError } from '../errors.ts'
import { networkOf } from './client-address.ts'
import { BROKER_ERRORS } from './errors.ts'
import { Leases } from './leases.ts'

const MINUTE_MS = 60_000
/** The longest time that a client which connects too often is told to wait. */
const MAX_WAIT_MS = 60_000

/** The errors of a route with one of these limits, for the OpenAPI document. The broker counts. */
export const LIMIT_ERRORS: readonly ErrorCode[] = ['TIDINGS_TOO_MANY_REQUESTS', ...BROKER_ERRORS]

/**
 * Counts one request of a user. Sets the RateLimit headers. Past the limit it also sets Retry-After and throws
 * TIDINGS_TOO_MANY_REQUESTS (429). `weight`: as how many requests this one counts, 1 by default.
 */
export type RequestLimit = (reply: FastifyReply, userId: string, weight?: number) => Promise<void>

/** The limits of one connect. The broker counts it in the same round trip that admits the client. */
interface ConnectLimits {
  readonly counters: readonly string[]
  /**
   * How long the client must wait, in milliseconds; 0 if it need not. `counts`: one for each of `counters`, in their
   * order.
   */
  readonly waitMs: (counts: readonly number[]) => number
  /** The same for a request that opens no stream. Throws TIDINGS_TOO_MANY_REQUESTS (429). */
  readonly check: (reply: FastifyReply, counts: readonly number[]) => void
}

export interface RateLimits {
  readonly publish: RequestLimit
  readonly inbox: RequestLimit
  /**
   * `who`: whether the connect counts for the user, for the client's address, or for both. A stream with a new ticket
   * counts for the address only: the user was counted when the ticket was issued.
   */
  readonly connect: (request: FastifyRequest, userId: string, who?: 'user' | 'address' | 'both') => ConnectLimits
}

export function rateLimits (config: Config, broker: Broker): RateLimits {
  const leases = new Leases(broker)
  const { CONNECTS_PER_MINUTE: perUser, CONNECTS_PER_MINUTE_PER_ADDRESS: perAddress } = config
  return {
    publish: requestLimit(leases, { kind: 'publish', what: 'publishes', setting: 'PUBLISH_PER_MINUTE', max: config.PUBLISH_PER_MINUTE }),
    inbox: requestLimit(leases, { kind: 'inbox', what: 'requests for the inbox', setting: 'INBOX_PER_MINUTE', max: config.INBOX_PER_MINUTE }),
    connect: (request, userId, who = 'both') => connectLimits([
      { setting: 'CONNECTS_PER_MINUTE', counter: `connect:${userId}`, max: who === 'address' ? 0 : perUser },
      { setting: 'CONNECTS_PER_MINUTE_PER_ADDRESS', counter: `address:${networkOf(request.ip)}`, max: who === 'user' ? 0 : perAddress }
    ].filter(({ max }) => max > 0), config.RETRY_MS)
  }
}

function requestLimit (leases: Leases, { kind, what, setting, max }: { kind: string, what: string, setting: string, max: number }): RequestLimit {
  return async (reply, userId, weight = 1) => {
    if (max === 0) return
    const { count, restMs } = await leases.hit(userId, `${kind}:${userId}`, max, MINUTE_MS, weight)
    const restSeconds = Math.max(1, Math.ceil(restMs / 1000))
    reply.headers({ 'ratelimit-limit': max, 'ratelimit-remaining': Math.max(0, max - count), 'ratelimit-reset': restSeconds })
    if (count <= max) return
    reply.header('retry-after', restSeconds)
    throw new TidingsError('TIDINGS_TOO_MANY_REQUESTS', max, what, setting)
  }
}

function connectLimits (limits: ReadonlyArray<{ setting: string, counter: string, max: number }>, retryMs: number): ConnectLimits {
  return {
    counters: limits.map(({ counter }) => counter),
    waitMs: (counts) => {
      const excess = Math.max(0, ...limits.map(({ max }, i) => counts[i]! / max - 1))
      // The wait grows with every excess attempt, so that a looping client slows down. Jitter keeps many clients from
      // coming back at the same moment.
      return excess === 0 ? 0 : Math.min(MAX_WAIT_MS, retryMs * (1 + 10 * excess)) * (0.75 + 0.5 * Math.random())
    },
    check: (reply, counts) => {
      const exceeded = limits.find(({ max }, i) => counts[i]! > max)
      if (exceeded === undefined) return
      reply.header('retry-after', VISIT_WINDOW_MS / 1000)
      throw new TidingsError('TIDINGS_TOO_MANY_REQUESTS', exceeded.max, 'connects', exceeded.setting)
    }
  }
}
