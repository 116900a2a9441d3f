// Cookies and other people's pages: a request that a browser sends for a foreign site does not speak for the user.
import type { FastifyRequest } from 'fastify'
import { TidingsError } from '../errors.ts'

/**
 * For requests that are authenticated by a cookie. Browsers say where a request comes from (Fetch Metadata, and
 * Origin): from our own origin, from one of CORS_ORIGINS, or typed in by the user. Everything else is refused.
 * Programs other than browsers send neither.
 */
export function refuseCrossSite (request: FastifyRequest, allowedOrigins: readonly string[]): void {
  const { origin } = request.headers
  const site = request.headers['sec-fetch-site']
  if (origin !== undefined) {
    if (allowedOrigins.includes(origin) || site === 'same-origin' || origin === ownOrigin(request)) return
    throw new TidingsError('TIDINGS_CROSS_SITE')
  }
  if (site !== undefined && site !== 'same-origin' && site !== 'none') throw new TidingsError('TIDINGS_CROSS_SITE')
}

/** As a browser writes it: a proxy may pass on the host with the port of its scheme, or in other letters. */
function ownOrigin ({ protocol, host }: FastifyRequest): string | undefined {
  const url = `${protocol}://${host}`
  return URL.canParse(url) ? new URL(url).origin : undefined
}
