// A key server (JWKS_URL) that counts who asks, can rotate, hang, talk nonsense and go away; and issuers whose keys it serves.
import { createPublicKey } from 'node:crypto'
import { once } from 'node:events'
import http, { type RequestListener } from 'node:http'
import { createIssuer, type Claims, type Issuer } from '../fixtures/tokens.ts'
import { freePort } from '../fixtures/process.ts'
import type { Scope } from '../fixtures/wait.ts'

/** Signs with a `kid`. */
export interface Signer {
  kid: string
  issuer: Issuer
  /** As it stands in a key set. */
  jwk: object
  token: (claims?: Claims, header?: object) => string
}

export function createSigner (algorithm: 'RS256' | 'ES256', kid: string): Signer {
  const issuer = createIssuer(algorithm)
  const now = Math.floor(Date.now() / 1000)
  return {
    kid,
    issuer,
    jwk: { ...createPublicKey(issuer.env.JWT_PUBLIC_KEY!).export({ format: 'jwk' }), kid, alg: algorithm, use: 'sig' },
    token: (claims, header) => issuer.sign({ alg: algorithm, typ: 'JWT', kid, ...header }, { sub: '42', iat: now, exp: now + 3600, ...claims })
  }
}

export interface KeyServer {
  env: { JWKS_URL: string }
  /** What it serves; replace it to rotate. */
  keys: object[]
  /** How often it was asked. */
  requests: number
  /** Takes the place of the key set. */
  answer: RequestListener | undefined
  start: () => Promise<void>
  stop: () => Promise<void>
}

export async function startKeyServer (t: Scope, keys: object[]): Promise<KeyServer> {
  const port = await freePort()
  let server: http.Server | undefined
  const it: KeyServer = {
    env: { JWKS_URL: `http://127.0.0.1:${port}/keys` },
    keys,
    requests: 0,
    answer: undefined,
    start: async () => {
      server = http.createServer((request, response) => {
        it.requests++
        if (it.answer) it.answer(request, response)
        else response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: it.keys }))
      }).listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
    stop: async () => {
      if (!server?.listening) return
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }
  t.teardown(it.stop)
  await it.start()
  return it
}
