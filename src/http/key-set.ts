// The keys of tokens. Those of JWKS_URL are found by `kid`, cached and refreshed; the `jose` library fetches and reads
// them.
import { createHmac, createPublicKey, KeyObject } from 'node:crypto'
import { createRemoteJWKSet, customFetch, errors, type CryptoKey } from 'jose'
import { type Config, MIN_RSA_BITS, publicKeyPem } from '../config.ts'
import { TidingsError } from '../errors.ts'
import type { TokenReason } from './refusals.ts'

/**
 * The shortest time between two fetches for tokens that do not fit the set: of an unknown kid, or with the signature of
 * another key. Within it an unknown kid may be a new key, so the answer is "unavailable" instead of "invalid".
 */
const COOLDOWN_MS = 10_000
const TIMEOUT_MS = 5000
/** Of a set. A thousand keys with their certificates have half as much. */
const MAX_BYTES = 4_194_304
/** How long after a failed fetch none is tried. */
const RETRY_MS = 2000
/**
 * The age at which the set is fetched again. Its keys stay in use meanwhile, so a withdrawn key is gone within twice
 * this time.
 */
const REFRESH_MS = 300_000

/** Which key signed a token, to be stored with what the token said. */
export interface SigningKey {
  readonly alg: string
  readonly kid: string
  /** Of the key itself. */
  readonly hash: string
}

interface Found {
  readonly pem: string
  readonly signedBy: SigningKey
}

/** Names a key without telling it: a secret, or a PEM. */
const keyHash = (key: string): string => createHmac('sha256', key).update('tidings ticket').digest('base64url')

/** That of a node without JWKS_URL. A PEM is written anew, since nodes may be given it in different forms. */
export function onlyKey ({ JWT_SECRET, JWT_PUBLIC_KEY }: Config): SigningKey {
  const pem = JWT_PUBLIC_KEY === undefined ? '' : createPublicKey(publicKeyPem(JWT_PUBLIC_KEY)).export({ type: 'spki', format: 'pem' }).toString()
  return { alg: '', kid: '', hash: keyHash(JWT_SECRET ?? pem) }
}

export const keyReplaced = (): TidingsError => new TidingsError('TIDINGS_TOKEN_INVALID', 'its key was replaced').because('unknown-key' satisfies TokenReason)

export interface KeySet {
  /**
   * The key for a token's header. Rejects with TIDINGS_TOKEN_INVALID if the key server does not have the key,
   * and with TIDINGS_KEYS_UNAVAILABLE if the server cannot be asked now. While it is away, known keys go on working.
   */
  readonly find: (header: { alg?: string, kid?: string }) => Promise<Found>
  /** Rejects as `find` does if this key was withdrawn or replaced since. */
  readonly check: (signedBy: SigningKey) => Promise<void>
  /**
   * For a token whose signature is not of the known key: the issuer may have a new key under the old kid. Resolves with
   * false if the set was not fetched anew.
   */
  readonly renew: () => Promise<boolean>
}

export function keySet (url: URL, log: { warn: (data: object, text: string) => void }): KeySet {
  const known = new WeakMap<CryptoKey, { readonly pem: string, readonly hash: string }>()
  /** Of all keys that the set ever had here. */
  const hashes = new Set<string>()
  let fetchedAtMs = performance.now()
  let answeredAtMs = -Infinity
  let failedAtMs = -Infinity
  const isResting = (): boolean => performance.now() - failedAtMs < RETRY_MS
  const isCooling = (): boolean => performance.now() - answeredAtMs < COOLDOWN_MS
  const keys = createRemoteJWKSet(url, {
    // It shall fetch nothing by itself: its cooldown goes by the wall clock.
    cooldownDuration: Infinity,
    timeoutDuration: TIMEOUT_MS,
    cacheMaxAge: Infinity,
    [customFetch]: async (...request) => {
      if (isResting()) throw new TidingsError('TIDINGS_KEYS_UNAVAILABLE')
      return await bounded(await fetch(...request))
    }
  })

  async function ask (): Promise<void> {
    await keys.reload()
    answeredAtMs = performance.now()
  }

  function onFailure (error: unknown): void {
    // Many may have waited for the same fetch.
    if (isResting()) return
    failedAtMs = performance.now()
    log.warn({ err: error }, 'JWKS_URL cannot be fetched; check the key server, clients with unknown keys are told to come back')
  }

  function refresh (): void {
    if (performance.now() - fetchedAtMs < REFRESH_MS || keys.reloading || isResting()) return
    fetchedAtMs = performance.now()
    ask().catch((error: Error) => { log.warn({ err: error }, 'JWKS_URL cannot be fetched; the known keys stay in use') })
  }

  /** `mayAsk`: fetches the set again if this header does not fit it. */
  async function lookUp (header: { alg: string, kid: string }, mayAsk: boolean): Promise<CryptoKey> {
    if (keys.jwks() === undefined) await ask()
    try {
      return await keys(header)
    } catch (error) {
      if (!mayAsk || !(error instanceof errors.JWKSNoMatchingKey)) throw error
      if (keys.reloading || !isCooling()) await ask()
      return await keys(header)
    }
  }

  async function find ({ alg, kid }: { alg?: string, kid?: string }): Promise<Found> {
    if ((alg !== 'RS256' && alg !== 'ES256') || kid === undefined) throw new TidingsError('TIDINGS_TOKEN_INVALID', 'its header must name a kid, and RS256 or ES256').because('algorithm' satisfies TokenReason)
    refresh()
    const isKnown = keys.jwks()?.keys.some((key) => key.kid === kid) === true
    const mayAsk = !isCooling()
    let key: CryptoKey
    try {
      key = await lookUp({ alg, kid }, mayAsk)
    } catch (error) {
      if (error instanceof TidingsError) throw error
      // The set has this key twice, or in a form that is no key. It may be mended long before the next refresh.
      if (isKnown && !(error instanceof errors.JWKSNoMatchingKey)) fetchedAtMs = Math.min(fetchedAtMs, performance.now() - REFRESH_MS + COOLDOWN_MS)
      // Right after a rotation the kid may be a new key, and a 401 would end an EventSource for good.
      if (error instanceof errors.JWKSNoMatchingKey && !isKnown && !mayAsk) throw new TidingsError('TIDINGS_KEYS_UNAVAILABLE')
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) throw new TidingsError('TIDINGS_TOKEN_INVALID', 'its kid is not in the key set').because('unknown-key' satisfies TokenReason)
      onFailure(error)
      throw new TidingsError('TIDINGS_KEYS_UNAVAILABLE')
    }
    const { modulusLength = Infinity } = key.algorithm as { modulusLength?: number }
    if (modulusLength < MIN_RSA_BITS) throw new TidingsError('TIDINGS_TOKEN_INVALID', `its key has less than ${MIN_RSA_BITS} bits`).because('unknown-key' satisfies TokenReason)
    const { pem, hash } = known.get(key) ?? remember(key)
    return { pem, signedBy: { alg, kid, hash } }
  }

  function remember (key: CryptoKey): { pem: string, hash: string } {
    const pem = KeyObject.from(key).export({ type: 'spki', format: 'pem' }) as string
    const texts = { pem, hash: keyHash(pem) }
    known.set(key, texts)
    hashes.add(texts.hash)
    return texts
  }

  async function check ({ hash, ...header }: SigningKey): Promise<void> {
    if ((await find(header)).signedBy.hash === hash) return
    if (hashes.has(hash)) throw keyReplaced()
    // Another node may have found a new key under this kid, which this node has not fetched yet.
    if (!await renew()) throw new TidingsError('TIDINGS_KEYS_UNAVAILABLE')
    if ((await find(header)).signedBy.hash !== hash) throw keyReplaced()
  }

  async function renew (): Promise<boolean> {
    if (isResting() || (isCooling() && !keys.reloading)) return false
    try {
      await ask()
      return true
    } catch (error) {
      onFailure(error)
      return false
    }
  }

  return { find, check, renew }
}

/** The library takes whatever comes within the time, and a faulty or compressed answer could fill the memory. */
async function bounded (response: Response): Promise<Response> {
  if (response.status !== 200) return response
  const pieces: Uint8Array[] = []
  let bytes = 0
  for await (const piece of response.body ?? []) {
    bytes += piece.byteLength
    // This ends the loop, and with it the download.
    if (bytes > MAX_BYTES) throw new Error(`The key set has more than ${MAX_BYTES} bytes`)
    pieces.push(piece)
  }
  return new Response(Buffer.concat(pieces), { headers: response.headers })
}
