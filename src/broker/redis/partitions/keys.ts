// What happens to each kind of key when a partition is divided.
import { nameOf } from './slots.ts'

/**
 * `user`: goes with its user. `shared`: copied to each part that has members, and to the home. `each`: copied to each
 * part. `own`: belongs to the partition itself and is made again. `answer`: the stored answer of an idempotency key.
 * `pointer`: where that answer is. `unknown`: not ours, left where it is.
 */
export type Kind =
  | { readonly kind: 'user', readonly userId: string }
  | { readonly kind: 'shared', readonly address: string }
  | { readonly kind: 'pointer' | 'answer', readonly key: string }
  | { readonly kind: 'each' | 'own' | 'unknown' }

/** Keys of an address: `<kind>:user:<id>`, `<kind>:group:<name>`, `<kind>:all`. `was` is followed by an id. */
const OF_ADDRESSES = new Set(['log', 'trim', 'keys', 'gone', 'late', 'was'])
const OF_USERS = new Set(['groups', 'inbox', 'trail', 'reads', 'revoked', 'session'])
/** Made again: the directory is rebuilt, and no debts are left. `config`, `clock` and `born` are set up separately. */
const OWN = new Set(['config', 'clock', 'born', 'members', 'joined', 'outbox', 'sent', 'taken', 'copied', 'courier', 'partitions'])
/** Counters, tickets, answers to services, and records about streams. */
const EACH = new Set(['hits', 'kept', 'overlong', 'idem-fcall', 'receipts', 'written'])
const POINTER = 'idempotency:'

/**
 * How long a pointer is kept. Longer than the answer that it leads to, so that a retry finds either both or neither.
 */
export const KEY_SECONDS = 90_000

/** `rest`: the key without its prefix and colon. */
export function kindOf (rest: string): Kind {
  const end = rest.indexOf(':')
  const [kind, name] = end === -1 ? [rest, ''] : [rest.slice(0, end), rest.slice(end + 1)]
  if (OF_ADDRESSES.has(kind)) {
    const address = kind === 'was' ? name.slice(0, name.lastIndexOf(':')) : name
    if (address.startsWith('user:')) return { kind: 'user', userId: nameOf(address) }
    return { kind: address === 'all' || address.startsWith('group:') ? 'shared' : 'unknown', address }
  }
  if (OF_USERS.has(kind)) return { kind: 'user', userId: name }
  if (kind === 'idem') return { kind: 'answer', key: name }
  if (kind === 'kept' && name.startsWith(POINTER)) return { kind: 'pointer', key: name.slice(POINTER.length) }
  if (OWN.has(kind)) return { kind: 'own' }
  return { kind: EACH.has(kind) ? 'each' : 'unknown' }
}
