// Rate limits over all nodes: what is counted, and what is answered past it. The broker remembers the counts.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Broker, VISIT_WINDOW_MS } from '../broker/broker.ts'
import type { Config } from '../config.ts'
import { TidingsError } from '../errors.ts'
import { networkOf } from './client-address.ts'
import { Leases } from './leases.ts'

const MINUTE_MS = 60_000
/** The longest that a client who connects too often is told to wait. */
const MAX_WAIT_MS = 60_000

/**
 * Counts for a user; throws TIDINGS_TOO_MANY_REQUESTS (429) past the limit. Sets the RateLimit headers and, with the
 * error, Retry-After. `weight` is how much this request counts, 1 by default.
 */
export type RequestLimit = (reply: FastifyReply, userId: string, weight?: number) => Promise<void>

/** What a connect counts against. The broker counts it in the round trip that lets the client in. */
interface ConnectLimits {
  readonly counters: readonly string[]
  /**
   * How long the client must wait, in milliseconds; 0: it need not. `counts`: those of the counters, in their order.
   */
  readonly waitMs: (counts: readonly number[]) => number
  /** The same for a request that is no stream: throws TIDINGS_TOO_MANY_REQUESTS (429). */
  readonly check: (reply: FastifyReply, counts: readonly number[]) => void
}

export interface RateLimits {
  readonly publish: RequestLimit
  readonly inbox: RequestLimit
  /**
   * `who`: whether the user counts, the client's address, or both. A ticket is a connect that its user has paid for.
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
      // It grows with every attempt too many, so that a loop slows itself down. It is jittered, so that many do not
      // come back as one.
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
