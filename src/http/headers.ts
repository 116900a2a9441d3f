// The headers that stand on every answer, also on those that are given before any route: who answered, and what a
// browser may not do with it.
/**
 * Those of helmet's that mean something to an API; the pages (/docs) send a policy of their own. They are constants:
 * helmet puts its values together anew for each request, a fifth of what a publish costs. Strict-Transport-Security
 * is for whoever ends TLS to say, which is us only where we do.
 */
const securityHeaders = {
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY'
} as const

export function commonHeaders (nodeName: string, isTls: boolean): Record<string, string> {
  return { 'tidings-node': nodeName, ...securityHeaders, ...(isTls && { 'strict-transport-security': 'max-age=31536000' }) }
}

/** What @fastify/cors would say, for an answer that no hook sees. */
export function corsHeaders ({ headers: { origin } }: { headers: { origin?: string | undefined } }, allowed: readonly string[]): Record<string, string> {
  if (allowed.length === 0) return {}
  if (origin === undefined || !allowed.includes(origin)) return { vary: 'Origin' }
  return { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', vary: 'Origin' }
}
