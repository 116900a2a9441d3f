// Turns the claims of a verified token into a principal, checking each one.
import { isUtf8 } from 'node:buffer'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { MAX_GROUPS } from '../broker/broker.ts'
import { TidingsError } from '../errors.ts'
import { isName } from '../notification.ts'
import type { Principal } from './auth.ts'

/** The year 5138. A larger number was meant in milliseconds. */
const MAX_SECONDS = 100_000_000_000
/** No token may be valid for longer. */
export const HUNDRED_YEARS_SECONDS = 100 * 366 * 86_400
/**
 * A token that begins within this time is answered "not yet", since the issuer's clock may run ahead. One that begins
 * later is invalid.
 */
const EARLY_SECONDS = 3600

/**
 * `claims`: those of `token`, whose signature and `exp` are valid. Throws TIDINGS_TOKEN_INVALID, TIDINGS_TOKEN_NOT_YET
 * (401).
 */
export function readClaims (claims: Record<string, unknown>, token: string): Principal {
  // The library has put U+FFFD in place of invalid bytes, so two users could become one.
  if (!isUtf8(Buffer.from(token.split('.')[1]!, 'base64url'))) throw invalid('its claims are not in UTF-8')
  const { sub, exp, iat = 0, nbf = 0, groups, scope = '' } = claims
  if (typeof sub !== 'string' || !isName(sub)) throw invalid('sub must be a string of 1 to 128 characters without control characters')
  if (groups !== undefined && !isGroups(groups)) {
    throw invalid(`groups must be an array of at most ${MAX_GROUPS} names of 1 to 128 characters without control characters`)
  }
  if (typeof scope !== 'string') throw invalid('scope must be a string, its parts separated by spaces (RFC 8693)')
  // A logout refuses tokens with an older `iat`. A token with `iat` in milliseconds would survive every logout.
  if (!isSeconds(iat)) throw invalid('iat must be in seconds since 1970, not milliseconds')
  if (!isSeconds(nbf)) throw invalid('nbf must be in seconds since 1970, not milliseconds')
  const nowSeconds = Date.now() / 1000
  if (!isSeconds(exp) || exp > nowSeconds + HUNDRED_YEARS_SECONDS) throw invalid('exp must be in seconds since 1970, not milliseconds, and within 100 years')
  if (nbf > nowSeconds) {
    const begin = new Date(nbf * 1000).toISOString()
    throw nbf > nowSeconds + EARLY_SECONDS ? invalid(`it is not valid before ${begin}`) : new TidingsError('TIDINGS_TOKEN_NOT_YET', begin)
  }
  return { userId: sub, issuedAtSeconds: iat, expiresAtSeconds: exp, groups, scopes: scope.split(' ') }
}

/** A preHandler hook: the body may arrive a minute after the head with the token, which may have ended meanwhile. */
export function refuseExpired ({ principal }: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
  done(principal!.expiresAtSeconds * 1000 <= Date.now() ? new TidingsError('TIDINGS_TOKEN_EXPIRED') : undefined)
}

function invalid (what: string): TidingsError {
  return new TidingsError('TIDINGS_TOKEN_INVALID', what)
}

function isSeconds (value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= MAX_SECONDS
}

function isGroups (value: unknown): value is string[] {
  return Array.isArray(value) && value.length <= MAX_GROUPS && value.every((group) => typeof group === 'string' && isName(group))
}
