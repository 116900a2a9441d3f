// Whether a good token still counts: the user may have logged out since it was issued.
import type { Broker } from '../broker/broker.ts'
import { fail } from '../errors.ts'
import type { Principal } from './auth.ts'

/** Throws TIDINGS_TOKEN_REVOKED (401). */
export async function admitted (broker: Broker, { userId, issuedAtSeconds }: Principal): Promise<void> {
  const { verdict } = await broker.visit({ userId, issuedAtSeconds })
  if (verdict === 'revoked') throw fail('TIDINGS_TOKEN_REVOKED')
}
