// The keys of JWKS_URL: found by `kid`, remembered, renewed. By the `jose` library, which refetches for unknown kids
// once in a while only.
import { KeyObject } from 'node:crypto'
import { createRemoteJWKSet, errors, type CryptoKey } from 'jose'
import { MIN_RSA_BITS } from '../config.ts'
import { TidingsError } from '../errors.ts'
import type { TokenReason } from './refusals.ts'

/**
 * An unknown `kid` asks the key server again, but not more often than this. Until then it may be a new one that will
 * be known.
 */
const COOLDOWN_MS = 10_000
const TIMEOUT_MS = 5000
/** After a failed fetch. */
const RETRY_MS = 2000
/**
 * After this a known key is still used, while the set is fetched anew: a key that was withdrawn is gone within twice
 * the time.
 */
const REFRESH_MS = 300_000

/**
 * Finds the key of a token's header as PEM. Throws TIDINGS_TOKEN_INVALID for a key that the key server does not have,
 * TIDINGS_KEYS_UNAVAILABLE for one that it cannot be asked for just now. While it is away, known keys go on working.
 */
export function keySet (url: URL, log: { warn: (data: object, text: string) => void }): (header: { alg?: string, kid?: string }) => Promise<string> {
  const keys = createRemoteJWKSet(url, { cooldownDuration: COOLDOWN_MS, timeoutDuration: TIMEOUT_MS, cacheMaxAge: Infinity })
  const pems = new WeakMap<CryptoKey, string>()
  let fetchedAtMs = performance.now()
  let failedAtMs = -Infinity

  function refresh (): void {
    if (performance.now() - fetchedAtMs < REFRESH_MS || keys.reloading) return
    fetchedAtMs = performance.now()
    keys.reload().catch((error: Error) => { log.warn({ err: error }, 'JWKS_URL cannot be fetched; the known keys stay in use') })
  }

  return async ({ alg, kid }) => {
    if ((alg !== 'RS256' && alg !== 'ES256') || kid === undefined) throw new TidingsError('TIDINGS_TOKEN_INVALID', 'its header must name a kid, and RS256 or ES256').because('algorithm' satisfies TokenReason)
    refresh()
    // The library waits between two fetches that worked; a server that is away must not be asked at every request
    // either.
    const isKnown = keys.jwks()?.keys.some((key) => key.kid === kid) === true
    if (!isKnown && performance.now() - failedAtMs < RETRY_MS) throw new TidingsError('TIDINGS_KEYS_UNAVAILABLE')
    const mayAsk = !keys.coolingDown
    let key: CryptoKey
    try {
      key = await keys({ alg, kid })
    } catch (error) {
      // A 401 would end an EventSource for good, and right after a rotation the kid is one that will be known.
      if (error instanceof errors.JWKSNoMatchingKey && !isKnown && !mayAsk) throw new TidingsError('TIDINGS_KEYS_UNAVAILABLE')
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) throw new TidingsError('TIDINGS_TOKEN_INVALID', 'its kid is not in the key set').because('unknown-key' satisfies TokenReason)
      failedAtMs = performance.now()
      log.warn({ err: error }, 'JWKS_URL cannot be fetched; check the key server, clients with unknown keys are told to come back')
      throw new TidingsError('TIDINGS_KEYS_UNAVAILABLE')
    }
    const { modulusLength = Infinity } = key.algorithm as { modulusLength?: number }
    if (modulusLength < MIN_RSA_BITS) throw new TidingsError('TIDINGS_TOKEN_INVALID', `its key has less than ${MIN_RSA_BITS} bits`).because('unknown-key' satisfies TokenReason)
    let pem = pems.get(key)
    if (pem === undefined) pems.set(key, pem = KeyObject.from(key).export({ type: 'spki', format: 'pem' }) as string)
    return pem
  }
}
