// GET /client.js: the browser module, as client/build.ts has made it.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'

/** A module script of any page may load it: it is public, and knows nothing of whoever asks. */
const headers = {
  'content-type': 'text/javascript; charset=utf-8',
  'access-control-allow-origin': '*',
  'cross-origin-resource-policy': 'cross-origin',
  vary: 'accept-encoding'
}

export const client: FastifyPluginAsync = async (app) => {
  const plain = readFileSync(new URL('../../client/dist/tidings.js', import.meta.url))
  const zipped = gzipSync(plain, { level: 9 })
  const version = createHash('sha256').update(plain).digest('base64url').slice(0, 16)

  function send (request: FastifyRequest, reply: FastifyReply, cacheControl: string): FastifyReply {
    const isZipped = /\bgzip\b(?!;\s*q=0(?:\.0+)?\s*(?:,|$))/.test(request.headers['accept-encoding'] ?? '')
    // Weak: one content, with and without compression.
    const etag = `W/"${version}"`
    reply.headers({ ...headers, etag, 'cache-control': cacheControl })
    // The allow-list of CORS_ORIGINS goes with credentials, the star without.
    reply.removeHeader('access-control-allow-credentials')
    if (request.headers['if-none-match']?.includes(`"${version}"`)) return reply.code(304).send()
    if (isZipped) reply.header('content-encoding', 'gzip')
    return reply.send(isZipped ? zipped : plain)
  }

  const schema = { hide: true }
  app.get('/client.js', { schema }, async (request, reply) => send(request, reply, 'no-cache'))

  // For ever the same under its own name. A node of another version is asked, too, while a new one is rolled out: it
  // gives what it has.
  app.get<{ Params: { version: string } }>('/client/:version.js', { schema }, async (request, reply) =>
    send(request, reply, request.params.version === version ? 'public, max-age=31536000, immutable' : 'no-cache'))
}
