// GET /client.js: serves the browser module that client/build.ts has built.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'

/** Pages of any origin may load the module: it is public and the same for everybody. */
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
    // Weak, because the compressed and the plain response have the same content.
    const etag = `W/"${version}"`
    reply.headers({ ...headers, etag, 'cache-control': cacheControl })
    // The CORS plugin allows credentials, which must not go with `*`.
    reply.removeHeader('access-control-allow-credentials')
    if (request.headers['if-none-match']?.includes(`"${version}"`)) return reply.code(304).send()
    if (isZipped) reply.header('content-encoding', 'gzip')
    return reply.send(isZipped ? zipped : plain)
  }

  const schema = { hide: true }
  app.get('/client.js', { schema }, async (request, reply) => send(request, reply, 'no-cache'))

  // Immutable if the version is this node's. During a rolling update another version may be asked for: then this node
  // sends its own, not to be cached.
  app.get<{ Params: { version: string } }>('/client/:version.js', { schema }, async (request, reply) =>
    send(request, reply, request.params.version === version ? 'public, max-age=31536000, immutable' : 'no-cache'))
}
