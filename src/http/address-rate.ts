// Limits the requests of each client address on a node without nginx in front, as nginx.conf does otherwise.
import type { FastifyInstance } from 'fastify'
import { TidingsError } from '../errors.ts'
import { networkOf } from './client-address.ts'
import { RETRY_AFTER_SECONDS } from './errors.ts'
import { isShared } from './door.ts'
import { comeBack, STREAM_PATH } from './event-stream.ts'
import type { Refusals } from './refusals.ts'

export interface AddressRateOptions {
  /** Requests of each public address. Streams and all other requests are counted apart. 0: no limit. */
  readonly perMinute: number
  /** Addresses of proxies. They are not limited, since all clients may come through one of them. */
  readonly isTrusted: false | ((address: string) => boolean)
  readonly refusals: Refusals
  readonly retryMs: () => number
  /** Default `performance.now`. */
  readonly nowMs?: () => number
}

const MINUTE_MS = 60_000
/** A burst may be as large as what the rate allows in this time. A whole school may reconnect from one address. */
const BURST_MS = { streams: 16_667, requests: 5000 } as const
/** The most addresses that are remembered. Past that, the one that was silent longest is forgotten. */
const MAX_ADDRESSES = 100_000

interface Bucket { left: number, atMs: number }

/** Call this after CORS is registered, so that a page can read the refusal. */
export function limitAddresses (app: FastifyInstance, { perMinute, isTrusted, refusals, retryMs, nowMs = () => performance.now() }: AddressRateOptions): void {
  if (perMinute === 0) return
  const perMs = perMinute / MINUTE_MS
  const kinds = { streams: new Map<string, Bucket>(), requests: new Map<string, Bucket>() }

  const takes = (kind: keyof typeof kinds, network: string): boolean => {
    const buckets = kinds[kind]
    const most = Math.max(1, perMs * BURST_MS[kind])
    const now = nowMs()
    const bucket = buckets.get(network) ?? { left: most, atMs: now }
    bucket.left = Math.min(most, bucket.left + (now - bucket.atMs) * perMs)
    bucket.atMs = now
    // Deleting and setting moves the address to the end of the map, so the first one was silent longest.
    buckets.delete(network)
    buckets.set(network, bucket)
    if (buckets.size > MAX_ADDRESSES) buckets.delete(buckets.keys().next().value!)
    if (bucket.left < 1) return false
    bucket.left--
    return true
  }

  app.addHook('onRequest', (request, reply, done) => {
    const { ip } = request
    if (isShared(ip) || (isTrusted !== false && isTrusted(ip))) return done()
    // Looks at the route, since one path may be spelt in several ways.
    const isStream = request.routeOptions.url?.startsWith(STREAM_PATH) === true
    if (takes(isStream ? 'streams' : 'requests', networkOf(ip))) return done()
    if (!isStream) {
      reply.header('retry-after', RETRY_AFTER_SECONDS)
      return done(new TidingsError('TIDINGS_TOO_MANY_REQUESTS', perMinute, 'requests of one address', 'REQUESTS_PER_MINUTE_PER_ADDRESS'))
    }
    // Any status but 200 would end an EventSource for good.
    refusals.count('TIDINGS_TOO_MANY_REQUESTS')
    comeBack(reply, retryMs())
  })
}
