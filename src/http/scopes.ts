// Who may publish what: everything, one kind of address, or one address.
import { TidingsError } from '../errors.ts'
import type { Address } from '../notification.ts'

export const PUBLISH_SCOPE = 'notifications:publish'

/** Whether no scope allows to publish anything: then there is no need to read a body. */
export function publishesNothing (scopes: readonly string[]): boolean {
  return !scopes.some((scope) => scope === PUBLISH_SCOPE || scope.startsWith(`${PUBLISH_SCOPE}:`))
}

/** Throws TIDINGS_SCOPE_MISSING (403) for the first address that no scope covers. */
export function requireScopes (scopes: readonly string[], addresses: readonly Address[]): void {
  if (scopes.includes(PUBLISH_SCOPE)) return
  const allowed = new Set(scopes.map(decoded))
  for (const address of addresses) {
    const [kind, ...rest] = address.split(':')
    const byKind = `${PUBLISH_SCOPE}:${kind}`
    const name = rest.join(':')
    if (allowed.has(byKind) || (name !== '' && allowed.has(`${byKind}:${name}`))) continue
    throw new TidingsError('TIDINGS_SCOPE_MISSING', name === '' ? byKind : `${byKind}:${encodeURIComponent(name)}`)
  }
}

/** What of a scope is a name: behind the kind. */
const NAMED = new RegExp(`^(${PUBLISH_SCOPE}:(?:user|group):)(.+)$`, 's')

/**
 * A scope ends at a space, so a name in it is percent-encoded, and each language does so in its own way (`%2f`,
 * `%21`): what is compared is what it means. A `%` that encodes nothing names nobody.
 */
function decoded (scope: string): string {
  const [, begin = '', name] = NAMED.exec(scope) ?? []
  if (name === undefined) return scope
  try {
    return begin + decodeURIComponent(name)
  } catch {
    return ''
  }
}
