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
  const allowed = new Set(scopes)
  for (const address of addresses) {
    const [kind, ...rest] = address.split(':')
    const name = rest.join(':')
    const byKind = `${PUBLISH_SCOPE}:${kind}`
    // A scope ends at a space, so a name with one is percent-encoded. Plain it may stand where that says nothing
    // else.
    const byName = name === '' ? byKind : `${byKind}:${encodeURIComponent(name)}`
    const byPlainName = name.includes('%') ? byName : `${byKind}:${name}`
    if (!allowed.has(byKind) && !allowed.has(byName) && !allowed.has(byPlainName)) throw new TidingsError('TIDINGS_SCOPE_MISSING', byName)
  }
}
