// Tokens as a service that signs users in would mint them (HS256).
import { createHmac, randomBytes } from 'node:crypto'

export const secret = randomBytes(32).toString('hex')

export function token (claims: { readonly sub: string, readonly [claim: string]: unknown }): string {
  const nowSeconds = Math.floor(Date.now() / 1000)
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ ...claims, iat: nowSeconds, exp: nowSeconds + 86_400 })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}
