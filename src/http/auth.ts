// Who is asking: the token of a request, verified, as a principal.
import cookie from '@fastify/cookie'
import jwt, { type FastifyJWTOptions } from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import plugin from 'fastify-plugin'
import { LruMap } from 'toad-cache'
import { type Identity, MAX_GROUPS } from '../broker/broker.ts'
import { type Config, keyAlgorithm, publicKeyPem } from '../config.ts'
import { fail } from '../errors.ts'
import { isName } from '../notification.ts'
import { refuseCrossSite } from './cross-site.ts'
import { keySet } from './key-set.ts'

export interface Principal extends Identity {
  readonly groups: readonly string[]
  readonly scopes: readonly string[]
  /** Milliseconds since 1970. */
  readonly expiresAtMs: number
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set where a route authorises before it reads the body. */
    principal: Principal | null
  }
  interface FastifyInstance {
    /** The principal of a request. Throws TIDINGS_TOKEN_MISSING, _INVALID or _EXPIRED (401), TIDINGS_CROSS_SITE (403). */
    authenticate: (request: FastifyRequest) => Promise<Principal>
    /** The same, and TIDINGS_SCOPE_MISSING (403) if the token lacks the scope. */
    authorize: (request: FastifyRequest, scope: string) => Promise<Principal>
  }
}

/** Tokens whose check is remembered until they expire; longer ones are rare, and looked at each time. */
const CACHED_TOKENS = 10_000
const MAX_CACHED_LENGTH = 2048

export const auth = plugin<{ config: Config }>(async (app, { config }) => {
  await app.register(cookie)
  await app.register(jwt, {
    ...keyOptions(config, app.log),
    cookie: { cookieName: config.TOKEN_COOKIE, signed: false }
  })

  // With a key set, a key may be withdrawn at any time: there each token is looked at each time.
  const verified = config.JWKS_URL === undefined ? new LruMap<Principal>(CACHED_TOKENS) : undefined

  async function verify (request: FastifyRequest): Promise<Principal> {
    try {
      return readClaims(await request.jwtVerify())
    } catch (error) {
      throw translate(error as Error & { code?: string })
    }
  }

  app.decorate('authenticate', async (request) => {
    const { authorization = '' } = request.headers
    const isBearer = /^bearer\s/i.test(authorization)
    // A browser sends a cookie whoever asks it to; a header only our own page can set.
    if (!isBearer) refuseCrossSite(request, config.CORS_ORIGINS)
    // What alone decides: @fastify/jwt looks at the cookie only where there is no such header.
    const credential = isBearer ? authorization : `cookie ${request.cookies[config.TOKEN_COOKIE] ?? ''}`
    const known = verified?.get(credential)
    if (known !== undefined && known.expiresAtMs > Date.now()) return known
    const principal = await verify(request)
    if (credential.length <= MAX_CACHED_LENGTH) verified?.set(credential, principal)
    return principal
  })

  app.decorate('authorize', async (request, scope) => {
    const principal = await app.authenticate(request)
    if (!principal.scopes.includes(scope)) throw fail('TIDINGS_SCOPE_MISSING', scope)
    return principal
  })
}, { name: 'auth' })

/** Key and pinned algorithm: what the token's header says about either is only compared, never followed. */
function keyOptions ({ JWT_SECRET, JWT_PUBLIC_KEY, JWKS_URL, JWT_ISSUER, JWT_AUDIENCE }: Config, log: Parameters<typeof keySet>[1]): FastifyJWTOptions {
  const verify = {
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
  if (code.startsWith('FST_JWT_NO_AUTHORIZATION') || code === 'FST_JWT_BAD_REQUEST' || code === 'FST_JWT_BAD_COOKIE_REQUEST') return fail('TIDINGS_TOKEN_MISSING')
  if (code === 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED') return fail('TIDINGS_TOKEN_EXPIRED')
  if (!code.startsWith('FST_JWT') && !code.startsWith('FAST_JWT')) return error
  return fail('TIDINGS_TOKEN_INVALID', message.replace('Authorization token is invalid: ', '').replace(/\.$/, ''))
}

function readClaims (claims: Record<string, unknown>): Principal {
  const { sub, exp, iat, groups = [], scope = '' } = claims
  if (typeof sub !== 'string' || !isName(sub)) throw fail('TIDINGS_TOKEN_INVALID', 'sub must be a string of 1 to 128 characters without control characters')
  if (!Array.isArray(groups) || groups.length > MAX_GROUPS || !groups.every((group) => typeof group === 'string' && isName(group))) {
    throw fail('TIDINGS_TOKEN_INVALID', `groups must be an array of at most ${MAX_GROUPS} names of 1 to 128 characters without control characters`)
  }
  if (typeof scope !== 'string') throw fail('TIDINGS_TOKEN_INVALID', 'scope must be a string, its parts separated by spaces (RFC 8693)')
  return {
    userId: sub,
    issuedAtSeconds: typeof iat === 'number' ? iat : 0,
    groups: groups as string[],
    scopes: scope.split(' '),
    expiresAtMs: (exp as number) * 1000
  }
}
