// Protects cookies from foreign pages (CSRF): a request that a browser sends for another site is refused.
import type { FastifyRequest } from 'fastify'
import { TidingsError } from '../errors.ts'

/**
 * For requests that a cookie authenticates. Browsers say where a request comes from (Fetch Metadata and Origin). Our
 * own origin, CORS_ORIGINS and addresses that the user typed are allowed; anything else throws TIDINGS_CROSS_SITE.
 * Programs other than browsers send neither header, and are allowed.
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

/**
 * Our own origin as a browser writes it. A proxy may pass the host on with the default port, or in other letter case.
 */
function ownOrigin ({ protocol, host }: FastifyRequest): string | undefined {
  const url = `${protocol}://${host}`
  return URL.canParse(url) ? new URL(url).origin : undefined
}
