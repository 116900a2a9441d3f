// The headers of every answer, also of those before any route: which node answered, and what browsers and caches may
// not do.
/**
 * Those of helmet's headers that make sense for an API; the pages (/docs) set their own policy. They are constants,
 * because helmet computes its values for each request, which took a fifth of the cost of a publish.
 * Strict-Transport-Security is for whoever terminates TLS, so it is set only if this node does.
 */
const securityHeaders = {
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY'
} as const

/**
 * A cache in front may keep an answer that says nothing about it, and give it to other users: nginx by its own
 * settings, and 204 and 404 by RFC 9110, 15.1. A 204 on the path of the streams would end every EventSource for good.
 * Files may be kept, and say so themselves.
 */
const caching = { 'cache-control': 'no-store' } as const

export function commonHeaders (nodeName: string, isTls: boolean): Record<string, string> {
  return { 'tidings-node': nodeName, ...caching, ...securityHeaders, ...(isTls && { 'strict-transport-security': 'max-age=31536000' }) }
}

/** The headers that @fastify/cors would set, for answers that no hook sees. */
export function corsHeaders ({ headers: { origin } }: { headers: { origin?: string | undefined } }, allowed: readonly string[]): Record<string, string> {
  if (allowed.length === 0) return {}
  if (origin === undefined || !allowed.includes(origin)) return { vary: 'Origin' }
  return { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', vary: 'Origin' }
}
