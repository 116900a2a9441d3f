// Publishing scopes: for every address, for one kind of address, or for one address.
import { TidingsError } from '../errors.ts'
import { decode } from '../percent.ts'
import type { Address } from '../notification.ts'

export const PUBLISH_SCOPE = 'notifications:publish'

/** True if the token may publish nothing at all, so that its body need not be read. */
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

/** Splits a scope for one address into the kind and the name. */
const NAMED = new RegExp(`^(${PUBLISH_SCOPE}:(?:user|group):)(.+)$`, 's')

/**
 * Decodes the name in a scope. Names are percent-encoded because scopes are separated by spaces. A scope that cannot be
 * decoded matches nothing.
 */
function decoded (scope: string): string {
  const [, begin = '', name] = NAMED.exec(scope) ?? []
  if (name === undefined) return scope
  const text = decode(name)
  return text === undefined ? '' : begin + text
}
