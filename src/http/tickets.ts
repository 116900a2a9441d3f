// POST /api/notifications/tickets: so that no token stands in a URL, where EventSource can put nothing else.
import { createHash, randomBytes } from 'node:crypto'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { Broker } from '../broker/broker.ts'
import { fail } from '../errors.ts'
import type { Principal } from './auth.ts'
import { admitted } from './admission.ts'
import { refuseCrossSite } from './cross-site.ts'
import { bearer, errorResponses } from './schemas.ts'

const TICKET_SECONDS = 30
/** A pass lives as long as its token, but not longer than browsers keep a cookie. */
const MAX_PASS_SECONDS = 400 * 86_400
/** Where the pass of a spent ticket is sent, and nowhere else. */
const STREAM_PATH = '/api/notifications/subscribe'

const secret = (): string => randomBytes(32).toString('base64url')
// Only hashes are kept: who can read Redis cannot use what stands there.
const hash = (text: string): string => createHash('sha256').update(text).digest('base64url')

export const tickets: FastifyPluginAsyncTypebox<{ broker: Broker }> = async (app, { broker }) => {
  app.post('/api/notifications/tickets', {
    schema: {
      tags: ['stream'],
      summary: 'A ticket for one stream',
      description: 'Open the stream with ?ticket=… within 30 s. Its reconnects need the cookie that the stream sets.',
      security: bearer,
      response: {
        201: Type.Object({ ticket: Type.String(), expiresIn: Type.Integer({ description: 'Seconds.' }) }),
        ...errorResponses(401, 403, 503)
      }
    }
  }, async (request, reply) => {
    const principal = await app.authenticate(request)
    await admitted(broker, principal)
    const home = broker.homeOf(principal.userId)
    const ticket = `${home}.${secret()}`
    await broker.put(home, `ticket:${hash(ticket)}`, JSON.stringify(principal), TICKET_SECONDS)
    reply.code(201).header('cache-control', 'no-store')
    return { ticket, expiresIn: TICKET_SECONDS }
  })
}

/**
 * The principal of a ticket. Its first use spends it and sets a cookie, the pass; EventSource reconnects to the same URL with the spent
 * ticket, and is let in if it brings the pass of the same user. So a URL that leaked is worth nothing without the cookie, which no
 * script can read, and the cookie nothing without a ticket of that user. Neither outlives the token.
 * Throws TIDINGS_BAD_TICKET (401), TIDINGS_CROSS_SITE (403).
 */
export async function redeem (
  ticket: string, request: FastifyRequest, reply: FastifyReply, { broker, allowedOrigins }: { broker: Broker, allowedOrigins: readonly string[] }
): Promise<Principal> {
  // It says itself where it is kept.
  const home = ticket.slice(0, Math.max(0, ticket.indexOf('.')))
  const id = hash(ticket)
  const fresh = await broker.take(home, `ticket:${id}`)
  const kept = fresh ?? await broker.get(home, `spent:${id}`)
  if (kept === undefined) throw fail('TIDINGS_BAD_TICKET')
  const principal = JSON.parse(kept) as Principal
  const seconds = Math.min(Math.ceil((principal.expiresAtMs - Date.now()) / 1000), MAX_PASS_SECONDS)
  if (seconds <= 0) throw fail('TIDINGS_TOKEN_EXPIRED')

  // Named after the user: two users in one browser, as in two tabs, do not push each other out.
  const name = `tidings_pass_${hash(principal.userId).slice(0, 16)}`
  if (fresh === undefined) {
    // From here on it is the cookie that speaks.
    refuseCrossSite(request, allowedOrigins)
    const pass = request.cookies[name]
    if (pass === undefined || await broker.get(home, `pass:${hash(pass)}`) !== principal.userId) throw fail('TIDINGS_BAD_TICKET')
    return principal
  }
  const pass = secret()
  await Promise.all([
    broker.put(home, `spent:${id}`, kept, seconds),
    broker.put(home, `pass:${hash(pass)}`, principal.userId, seconds)
  ])
  // Not reply.setCookie: that is written by a hook which a hijacked reply does not run.
  reply.header('set-cookie', request.server.serializeCookie(name, pass, { path: STREAM_PATH, httpOnly: true, secure: true, sameSite: 'strict', maxAge: seconds }))
  return principal
}
