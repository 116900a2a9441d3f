// Rate limits over all nodes: @fastify/rate-limit counts, the broker remembers.
import rateLimit, { type FastifyRateLimitStore, type RateLimitPluginOptions } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'
import plugin from 'fastify-plugin'
import type { Broker } from '../broker/broker.ts'
import type { Config } from '../config.ts'
import { fail } from '../errors.ts'
import { Leases } from './leases.ts'

const MINUTE_MS = 60_000
/** The longest that a client who connects too often is told to wait. */
const MAX_WAIT_MS = 60_000

declare module 'fastify' {
  interface FastifyInstance {
    /** For routes that publish: 429 with Retry-After and the RateLimit headers past PUBLISH_PER_MINUTE. */
    publishLimit: { rateLimit: object } | Record<string, never>
    /** What limits how often a client connects: the broker counts it, over all nodes, as it admits the client. */
    connectLimits: (request: FastifyRequest, userId: string) => readonly ConnectLimit[]
    /** How long a client that connects too often must wait, in milliseconds; 0: it does not. `counts`: of its limits, in their order. */
    connectWaitMs: (limits: readonly ConnectLimit[], counts: readonly number[]) => number
  }
}

export interface ConnectLimit {
  /** Connects in VISIT_WINDOW_MS. */
  readonly max: number
  readonly counter: string
}

export const limits = plugin<{ config: Config, broker: Broker }>(async (app, { config, broker }) => {
  const leases = new Leases(broker)
  class Store implements FastifyRateLimitStore {
    incr (key: string, callback: Parameters<FastifyRateLimitStore['incr']>[1], windowMs = MINUTE_MS, max = Infinity): void {
      leases.hit(key.slice(key.indexOf(':') + 1), key, max, windowMs).then(({ count, restMs }) => { callback(null, { current: count, ttl: restMs }) }, (error: Error) => { callback(error) })
    }

    child (): Store {
      return this
    }
  }

  await app.register(rateLimit, {
    global: false,
    store: Store as unknown as NonNullable<RateLimitPluginOptions['store']>,
    enableDraftSpec: true,
    timeWindow: MINUTE_MS,
    errorResponseBuilder: (_request, { max }) => fail('TIDINGS_TOO_MANY_REQUESTS', max)
  })

  const { PUBLISH_PER_MINUTE, CONNECTS_PER_MINUTE, CONNECTS_PER_MINUTE_PER_ADDRESS } = config
  app.decorate('publishLimit', PUBLISH_PER_MINUTE === 0
    ? {}
    : {
        rateLimit: {
          max: PUBLISH_PER_MINUTE,
          hook: 'preParsing', // the token is known, the body not read yet
          keyGenerator: (request: FastifyRequest) => `publish:${request.principal!.userId}`
        }
      })

  app.decorate('connectLimits', (request, userId) => [
    { max: CONNECTS_PER_MINUTE, counter: `connect:${userId}` },
    { max: CONNECTS_PER_MINUTE_PER_ADDRESS, counter: `address:${request.ip}` }
  ].filter(({ max }) => max > 0))

  app.decorate('connectWaitMs', (limits, counts) => {
    const excess = Math.max(0, ...limits.map(({ max }, i) => counts[i]! / max - 1))
    // Grows with every attempt too many, so that a loop slows itself down; jittered, so that many do not come back as one.
    return excess === 0 ? 0 : Math.min(MAX_WAIT_MS, config.RETRY_MS * (1 + 10 * excess)) * (0.75 + 0.5 * Math.random())
  })
}, { name: 'limits' })
