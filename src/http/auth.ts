// Authentication: verifies the token of a request, makes a principal of it, and checks that it was not revoked.
import cookie from '@fastify/cookie'
import jwt, { type FastifyJWTOptions } from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import plugin from 'fastify-plugin'
import { LruMap } from 'toad-cache'
import { type Identity, Revoked, type Sessions } from '../broker/broker.ts'
import { type Config, keyAlgorithm, publicKeyPem } from '../config.ts'
import { type ErrorCode, TidingsError } from '../errors.ts'
import { decode } from '../percent.ts'
import { readClaims } from './claims.ts'
import { refuseCrossSite } from './cross-site.ts'
import { BROKER_ERRORS } from './errors.ts'
import { keyReplaced, type KeySet, keySet, onlyKey, type SigningKey } from './key-set.ts'
import type { TokenReason } from './refusals.ts'

export interface Principal extends Identity {
  /** Undefined if the token has no `groups` claim. */
  readonly groups: readonly string[] | undefined
  readonly scopes: readonly string[]
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by routes that authorise before they read the body. */
    principal: Principal | null
    /** Called if its token is refused as revoked. Undefined if a ticket was read, whatever else came with it. */
    onRevoked: (() => void) | undefined
    /** The key of the key set with which the token was last verified. */
    signedBy: SigningKey | undefined
  }
  interface FastifyInstance {
    /**
     * Resolves with the principal of a request. Rejects with TIDINGS_TOKEN_MISSING, _INVALID, _NOT_YET, _EXPIRED or
     * _REVOKED (401: the user has logged out since), or TIDINGS_CROSS_SITE (403).
     */
    authenticate: (request: FastifyRequest) => Promise<Principal>
    /** The same, and rejects with TIDINGS_SCOPE_MISSING (403) if the token lacks the scope. */
    authorize: (request: FastifyRequest, scope: string) => Promise<Principal>
    /**
     * The same without asking the broker. Only for routes whose own broker call refuses revoked tokens in the same
     * round trip. Rejects with _REVOKED only if this node already knows that the token was revoked. `publishes`: the
     * call asks for more, so what it refuses may be good elsewhere (docs/security.md, Logout).
     */
    readTokenAlone: (request: FastifyRequest, publishes?: boolean) => Promise<Principal>
    /** The key that signed the token of an authenticated request, to be stored with its principal. */
    keyOf: (request: FastifyRequest) => SigningKey
    /**
     * For a stored key. Rejects with TIDINGS_TOKEN_INVALID if it was withdrawn since, and with TIDINGS_KEYS_UNAVAILABLE
     * if nobody knows that now.
     */
    checkKey: (signedBy: SigningKey) => Promise<void>
    /** Undefined without JWKS_URL. */
    keySet: KeySet | undefined
  }
}

/** The errors of `readTokenAlone`, for the OpenAPI document. */
export const TOKEN_ERRORS: readonly ErrorCode[] = [
  'TIDINGS_TOKEN_MISSING', 'TIDINGS_TOKEN_INVALID', 'TIDINGS_TOKEN_NOT_YET', 'TIDINGS_TOKEN_EXPIRED', 'TIDINGS_TOKEN_REVOKED', 'TIDINGS_CROSS_SITE', 'TIDINGS_KEYS_UNAVAILABLE'
]
/** The errors of `authorize`. */
export const SCOPE_ERRORS: readonly ErrorCode[] = [...TOKEN_ERRORS, 'TIDINGS_SCOPE_MISSING', ...BROKER_ERRORS]

/** How many verified tokens are remembered until they expire. */
const CACHED_TOKENS = 10_000
/** In characters. Longer tokens are rare, and verified at each request. */
const MAX_CACHED_LENGTH = 2048
/** How many cookies of the token's name are tried. */
const MAX_COOKIES = 4

export const auth = plugin<{ config: Config, sessions: Sessions }>(async (app, { config, sessions }) => {
  const { TOKEN_COOKIE: cookieName } = config
  // What its types leave out, it hands on to the parser.
  await app.register(cookie, { parseOptions: { decode: cookieValue } as object })
  const keys = config.JWKS_URL === undefined ? undefined : keySet(new URL(config.JWKS_URL), app.log)
  app.decorate('keySet', keys)
  app.decorateRequest('onRevoked', undefined)
  app.decorateRequest('signedBy', undefined)
  const only = onlyKey(config)
  app.decorate('keyOf', ({ signedBy = only }) => signedBy)
  app.decorate('checkKey', async (signedBy) => {
    if (keys !== undefined) await keys.check(signedBy)
    else if (signedBy.hash !== only.hash) throw keyReplaced()
  })
  await app.register(jwt, {
    ...keyOptions(config, keys),
    cookie: { cookieName, signed: false }
  })

  // A key of a key set may be withdrawn at any time, so with JWKS_URL nothing is remembered here.
  const verified = keys === undefined ? new LruMap<Principal>(CACHED_TOKENS) : undefined
  // A revoked token stays revoked. Remembering it refuses the next request before anything is counted for its user.
  const revoked = { reading: new LruMap<true>(CACHED_TOKENS), publishing: new LruMap<true>(CACHED_TOKENS) }

  app.addHook('onError', async ({ onRevoked }, _reply, error) => {
    if (error instanceof Revoked || error.code === 'TIDINGS_TOKEN_REVOKED') onRevoked?.()
  })

  app.decorate('readTokenAlone', async (request, publishes = false) => {
    // RFC 9110, 11.4 allows several blanks after "Bearer" (1*SP); the library takes one.
    const { authorization } = request.headers
    if (authorization?.[7] === ' ') request.headers.authorization = authorization.replace(/^(bearer) {2,}/i, '$1 ')
    // Browsers send cookies with requests of foreign pages too. A header can only be set by our own page.
    if (!isBearer(request.headers.authorization)) {
      refuseCrossSite(request, config.CORS_ORIGINS)
      await chooseCookie(request, cookieName, () => revoked.reading.get(credentialOf(request, cookieName)) === true)
    }
    const credential = credentialOf(request, cookieName)
    const refused = publishes ? revoked.publishing : revoked.reading
    request.onRevoked = () => { if (credential.length <= MAX_CACHED_LENGTH) refused.set(credential, true) }
    const cached = verified?.get(credential)
    if (cached !== undefined && cached.expiresAtSeconds * 1000 > Date.now()) {
      if (refused.get(credential) === true) throw new TidingsError('TIDINGS_TOKEN_REVOKED')
      return cached
    }
    const principal = await verify(request)
    if (refused.get(credential) === true) throw new TidingsError('TIDINGS_TOKEN_REVOKED')
    if (credential.length <= MAX_CACHED_LENGTH) verified?.set(credential, principal)
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

/** RFC 6265, 4.1.1: a value may stand in quotes, which are no part of it. */
function cookieValue (text: string): string {
  const value = /^"(.*)"$/s.exec(text)?.[1] ?? text
  return decode(value) ?? value
}

export function identityOf ({ userId, issuedAtSeconds, expiresAtSeconds }: Principal): Identity {
  return { userId, issuedAtSeconds, expiresAtSeconds }
}

/** The one-time ticket of `Authorization: Ticket <ticket>`, or undefined. Only our own page can set the header. */
export function ticketIn ({ headers: { authorization = '' } }: FastifyRequest): string | undefined {
  return /^ticket\b *(.*)$/i.exec(authorization)?.[1]
}

function isBearer (authorization = ''): boolean {
  return /^bearer\s/i.test(authorization)
}

/** The credential that @fastify/jwt verifies: the bearer header if there is one, else the cookie. */
function credentialOf ({ headers: { authorization = '' }, cookies }: FastifyRequest, cookieName: string): string {
  return isBearer(authorization) ? authorization : `cookie ${cookies[cookieName] ?? ''}`
}

/**
 * Of several cookies of the token's name the newest good token counts. A browser sends several if they were set for
 * different paths or domains, and an old one may come first: of another user, or from before a logout. If none is good,
 * one counts that will be soon.
 */
async function chooseCookie (request: FastifyRequest, cookieName: string, isRevoked: () => boolean): Promise<void> {
  const { cookies, headers: { cookie = '' }, server } = request
  if (cookie.indexOf(`${cookieName}=`) === cookie.lastIndexOf(`${cookieName}=`)) return
  let chosen = cookies[cookieName]
  let newestSeconds = -Infinity
  for (const value of cookie.split(';').flatMap((pair) => server.parseCookie(pair)[cookieName] ?? []).slice(0, MAX_COOKIES)) {
    cookies[cookieName] = value
    try {
      const { issuedAtSeconds } = await verify(request)
      if (issuedAtSeconds <= newestSeconds || isRevoked()) continue
      chosen = value
      newestSeconds = issuedAtSeconds
    } catch (error) {
      if (newestSeconds === -Infinity && isPassing(error)) chosen = value
    }
  }
  cookies[cookieName] = chosen
}

function isPassing (error: unknown): boolean {
  return error instanceof TidingsError && (error.code === 'TIDINGS_TOKEN_NOT_YET' || error.code === 'TIDINGS_KEYS_UNAVAILABLE')
}

async function verify (request: FastifyRequest): Promise<Principal> {
  return readClaims(await verifiedClaims(request).catch(async (error: unknown) => {
    const isOfOtherKey = error instanceof TidingsError && error.reason === 'signature'
    if (!isOfOtherKey || await request.server.keySet?.renew() !== true) throw error
    return await verifiedClaims(request)
  }), request.server.jwt.lookupToken(request))
}

async function verifiedClaims (request: FastifyRequest): Promise<Record<string, unknown>> {
  try {
    return await request.jwtVerify()
  } catch (error) {
    throw translate(error as Error & { code?: string })
  }
}

/** The key and the pinned algorithm. What a token's header says about them is compared, never followed. */
function keyOptions ({ JWT_SECRET, JWT_PUBLIC_KEY, JWT_ISSUER, JWT_AUDIENCE }: Config, keys: KeySet | undefined): FastifyJWTOptions {
  const verify = {
    // claims.ts checks `nbf`: the library would fail with an unclear error on a value that is no time.
    ignoreNotBefore: true,
    requiredClaims: ['sub', 'exp', ...JWT_ISSUER === undefined ? [] : ['iss'], ...JWT_AUDIENCE === undefined ? [] : ['aud']],
    ...(JWT_ISSUER !== undefined && { allowedIss: JWT_ISSUER }),
    ...(JWT_AUDIENCE !== undefined && { allowedAud: JWT_AUDIENCE })
  }
  if (JWT_SECRET !== undefined) return { secret: JWT_SECRET, verify: { ...verify, algorithms: ['HS256'] } }
  if (JWT_PUBLIC_KEY !== undefined) {
    return { secret: { public: publicKeyPem(JWT_PUBLIC_KEY), private: '' }, verify: { ...verify, algorithms: [keyAlgorithm(JWT_PUBLIC_KEY)] } }
  }
  return {
    decode: { complete: true },
    secret: {
      public: async (request: FastifyRequest, { header }: { header: Parameters<KeySet['find']>[0] }) => {
        const { pem, signedBy } = await keys!.find(header)
        request.signedBy = signedBy
        return pem
      },
      private: ''
    },
    verify: { ...verify, cache: CACHED_TOKENS, algorithms: ['RS256', 'ES256'] }
  } as unknown as FastifyJWTOptions
}

function translate (error: Error & { code?: string }): Error {
  const { code = '', message } = error
  const isMissing = code.startsWith('FST_JWT_NO_AUTHORIZATION') || code === 'FST_JWT_BAD_REQUEST' || code === 'FST_JWT_BAD_COOKIE_REQUEST'
  if (isMissing) return new TidingsError('TIDINGS_TOKEN_MISSING')
  if (code === 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED') return new TidingsError('TIDINGS_TOKEN_EXPIRED')
  // The library throws a RangeError when it formats `exp` as a date and cannot.
  if (error instanceof RangeError) return new TidingsError('TIDINGS_TOKEN_INVALID', 'exp is no time')
  if (!code.startsWith('FST_JWT') && !code.startsWith('FAST_JWT')) return error
  return new TidingsError('TIDINGS_TOKEN_INVALID', message.replace('Authorization token is invalid: ', '').replace(/\.$/, '')).because(reasonOf(message))
}

/** The library has one code for several failures, so its message tells them apart. */
function reasonOf (message: string): TokenReason {
  if (/algorithm/.test(message)) return 'algorithm'
  if (/signature is invalid/.test(message)) return 'signature'
  if (/\biss claim/.test(message)) return 'issuer'
  if (/\baud claim/.test(message)) return 'audience'
  return /\bclaim\b/.test(message) ? 'claims' : 'malformed'
}
