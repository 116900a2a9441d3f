// Who is asking: the token of a request, verified, as a principal; and whether it still counts.
import cookie from '@fastify/cookie'
import jwt, { type FastifyJWTOptions } from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import plugin from 'fastify-plugin'
import { LruMap } from 'toad-cache'
import { type Identity, Revoked, type Sessions } from '../broker/broker.ts'
import { type Config, keyAlgorithm, publicKeyPem } from '../config.ts'
import { TidingsError } from '../errors.ts'
import { readClaims } from './claims.ts'
import { refuseCrossSite } from './cross-site.ts'
import { keySet } from './key-set.ts'
import type { TokenReason } from './refusals.ts'

export interface Principal extends Identity {
  /** Undefined if the token has no such claim. */
  readonly groups: readonly string[] | undefined
  readonly scopes: readonly string[]
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set where a route authorises before it reads the body. */
    principal: Principal | null
  }
  interface FastifyInstance {
    /**
     * The principal of a request, if its user has not logged out since. Throws TIDINGS_TOKEN_MISSING, _INVALID,
     * _NOT_YET, _EXPIRED or _REVOKED (401), TIDINGS_CROSS_SITE (403).
     */
    authenticate: (request: FastifyRequest) => Promise<Principal>
    /** The same, and TIDINGS_SCOPE_MISSING (403) if the token lacks the scope. */
    authorize: (request: FastifyRequest, scope: string) => Promise<Principal>
    /**
     * What the token alone says. Only for routes whose own call of the broker refuses revoked tokens in the same
     * round trip. Throws the same, and _REVOKED only if this node has heard it before.
     */
    readTokenAlone: (request: FastifyRequest) => Promise<Principal>
  }
}

/** Tokens whose check is remembered until they expire; longer ones are rare, and looked at each time. */
const CACHED_TOKENS = 10_000
const MAX_CACHED_LENGTH = 2048
/** Cookies of the token's name that are looked at. */
const MAX_COOKIES = 4

export const auth = plugin<{ config: Config, sessions: Sessions }>(async (app, { config, sessions }) => {
  await app.register(cookie)
  await app.register(jwt, {
    ...keyOptions(config, app.log),
    cookie: { cookieName: config.TOKEN_COOKIE, signed: false }
  })

  // With a key set, a key may be withdrawn at any time: there each token is looked at each time.
  const verified = config.JWKS_URL === undefined ? new LruMap<Principal>(CACHED_TOKENS) : undefined
  // A token that was revoked stays so. Whoever goes on using it is refused before anything is counted for its user.
  const revoked = new LruMap<true>(CACHED_TOKENS)

  /** What alone decides: @fastify/jwt looks at the cookie only where there is no such header. */
  function credentialOf (request: FastifyRequest): string {
    const { authorization = '' } = request.headers
    return isBearer(authorization) ? authorization : `cookie ${request.cookies[config.TOKEN_COOKIE] ?? ''}`
  }

  /**
   * A browser sends a cookie of one name twice if it was set for two paths or domains; an old one may come first and
   * must not stand before one that is good. A header alone decides.
   */
  async function verifyOneOf (request: FastifyRequest): Promise<Principal> {
    try {
      return await verify(request)
    } catch (error) {
      if (isBearer(request.headers.authorization)) throw error
      const first = request.cookies[config.TOKEN_COOKIE]
      const values = (request.headers.cookie ?? '').split(';').flatMap((pair) => app.parseCookie(pair)[config.TOKEN_COOKIE] ?? [])
      for (const value of values.slice(1, MAX_COOKIES)) {
        request.cookies[config.TOKEN_COOKIE] = value
        const principal = await verify(request).catch(() => undefined)
        if (principal !== undefined) return principal
      }
      request.cookies[config.TOKEN_COOKIE] = first
      throw error
    }
  }

  app.addHook('onError', async (request, _reply, error) => {
    if (ticketIn(request) !== undefined) return // it was not the cookie that spoke
    if (!(error instanceof Revoked) && error.code !== 'TIDINGS_TOKEN_REVOKED') return
    const credential = credentialOf(request)
    if (credential.length <= MAX_CACHED_LENGTH) revoked.set(credential, true)
  })

  app.decorate('readTokenAlone', async (request) => {
    // One blank or several (RFC 9110, 11.4: 1*SP); the library takes one.
    const { authorization } = request.headers
    if (authorization?.[7] === ' ') request.headers.authorization = authorization.replace(/^(bearer) {2,}/i, '$1 ')
    // A browser sends a cookie whoever asks it to; a header only our own page can set.
    if (!isBearer(request.headers.authorization)) refuseCrossSite(request, config.CORS_ORIGINS)
    const credential = credentialOf(request)
    const known = verified?.get(credential)
    if (known !== undefined && known.expiresAtSeconds * 1000 > Date.now()) {
      if (revoked.get(credential) === true) throw new TidingsError('TIDINGS_TOKEN_REVOKED')
      return known
    }
    const principal = await verifyOneOf(request)
    // That of the cookie which was good.
    const good = credentialOf(request)
    if (revoked.get(good) === true) throw new TidingsError('TIDINGS_TOKEN_REVOKED')
    if (good.length <= MAX_CACHED_LENGTH) verified?.set(good, principal)
    return principal
  })

  app.decorate('authenticate', async (request) => {
    const principal = await app.readTokenAlone(request)
    const { verdict } = await sessions.visit(identityOf(principal))
    if (verdict === 'revoked') throw new TidingsError('TIDINGS_TOKEN_REVOKED')
    return principal
  })

  app.decorate('authorize', async (request, scope) => {
    const principal = await app.authenticate(request)
    if (!principal.scopes.includes(scope)) throw new TidingsError('TIDINGS_SCOPE_MISSING', scope)
    return principal
  })
}, { name: 'auth' })

export function identityOf ({ userId, issuedAtSeconds, expiresAtSeconds }: Principal): Identity {
  return { userId, issuedAtSeconds, expiresAtSeconds }
}

/**
 * A one-time ticket, where one is taken as a header: `Authorization: Ticket <ticket>`. As with a token, only our own
 * page can set it.
 */
export function ticketIn ({ headers: { authorization = '' } }: FastifyRequest): string | undefined {
  return /^ticket\b *(.*)$/i.exec(authorization)?.[1]
}

function isBearer (authorization = ''): boolean {
  return /^bearer\s/i.test(authorization)
}

async function verify (request: FastifyRequest): Promise<Principal> {
  let claims: Record<string, unknown>
  try {
    claims = await request.jwtVerify()
  } catch (error) {
    throw translate(error as Error & { code?: string })
  }
  return readClaims(claims)
}

/** Key and pinned algorithm: what the token's header says about either is only compared, never followed. */
function keyOptions ({ JWT_SECRET, JWT_PUBLIC_KEY, JWKS_URL, JWT_ISSUER, JWT_AUDIENCE }: Config, log: Parameters<typeof keySet>[1]): FastifyJWTOptions {
  const verify = {
    // Whether it counts already, claims.ts says: a time that is none is not to fail inside the library.
    ignoreNotBefore: true,
    requiredClaims: ['sub', 'exp', ...JWT_ISSUER === undefined ? [] : ['iss'], ...JWT_AUDIENCE === undefined ? [] : ['aud']],
    ...(JWT_ISSUER !== undefined && { allowedIss: JWT_ISSUER }),
    ...(JWT_AUDIENCE !== undefined && { allowedAud: JWT_AUDIENCE })
  }
  if (JWT_SECRET !== undefined) return { secret: JWT_SECRET, verify: { ...verify, algorithms: ['HS256'] } }
  if (JWT_PUBLIC_KEY !== undefined) {
    return { secret: { public: publicKeyPem(JWT_PUBLIC_KEY), private: '' }, verify: { ...verify, algorithms: [keyAlgorithm(JWT_PUBLIC_KEY)] } }
  }
  const findKey = keySet(new URL(JWKS_URL!), log)
  return {
    decode: { complete: true },
    secret: { public: async (_request: unknown, token: { header: { alg?: string, kid?: string } }) => await findKey(token.header), private: '' },
    verify: { ...verify, cache: CACHED_TOKENS, algorithms: ['RS256', 'ES256'] }
  } as unknown as FastifyJWTOptions
}

function translate (error: Error & { code?: string }): Error {
  const { code = '', message } = error
  const isMissing = code.startsWith('FST_JWT_NO_AUTHORIZATION') || code === 'FST_JWT_BAD_REQUEST' || code === 'FST_JWT_BAD_COOKIE_REQUEST'
  if (isMissing) return new TidingsError('TIDINGS_TOKEN_MISSING')
  if (code === 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED') return new TidingsError('TIDINGS_TOKEN_EXPIRED')
  // The library tells when the token ended, or begins, and cannot write such a date.
  if (error instanceof RangeError) return new TidingsError('TIDINGS_TOKEN_INVALID', 'exp is no time')
  if (!code.startsWith('FST_JWT') && !code.startsWith('FAST_JWT')) return error
  return new TidingsError('TIDINGS_TOKEN_INVALID', message.replace('Authorization token is invalid: ', '').replace(/\.$/, '')).because(reasonOf(message))
}

/** The library has one code for several things. */
function reasonOf (message: string): TokenReason {
  if (/algorithm/.test(message)) return 'algorithm'
  if (/signature is invalid/.test(message)) return 'signature'
  if (/\biss claim/.test(message)) return 'issuer'
  if (/\baud claim/.test(message)) return 'audience'
  return /\bclaim\b/.test(message) ? 'claims' : 'malformed'
}
