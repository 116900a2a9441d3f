// The demo page's routes: the page, its files, and the session that gives a visitor everyone's tokens

import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'

export interface DemoUser {
  id: string
  name: string
  groups: string[]
  /** Index of the node that this user's stream is opened on. */
  node: number
  token: string
}

export interface DemoPageOptions {
  users: DemoUser[]
  groups: string[]
  /** May publish and manage. */
  publisherToken: string
  /** The nodes' ports, once known: the second node starts after the first. */
  ports: () => number[]
}

const FILES = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/demo/bell.js': ['bell.js', 'text/javascript; charset=utf-8'],
  '/demo/demo.css': ['demo.css', 'text/css; charset=utf-8'],
  '/demo/demo.js': ['demo.js', 'text/javascript; charset=utf-8'],
  '/demo/panel.js': ['panel.js', 'text/javascript; charset=utf-8'],
  '/demo/publish.js': ['publish.js', 'text/javascript; charset=utf-8'],
  '/demo/stream.js': ['stream.js', 'text/javascript; charset=utf-8'],
  '/demo/icon.svg': ['icon.svg', 'image/svg+xml']
} as const

const LOCAL_HOSTNAMES = new Set(['localhost', '127.0.0.1'])

export async function demoPage (app: FastifyInstance, options: DemoPageOptions): Promise<void> {
  const { users, groups, publisherToken, ports } = options

  // The session below hands tokens to whoever asks. A name that was rebound to 127.0.0.1 must not get them (DNS
  // rebinding)
  app.addHook('onRequest', async (request, reply) => {
    if (LOCAL_HOSTNAMES.has(request.hostname)) return
    return reply.code(403).type('text/plain').send('The demo answers to localhost and 127.0.0.1 only.\n')
  })

  for (const [url, [file, contentType]] of Object.entries(FILES)) {
    const content = readFileSync(new URL(file, import.meta.url))
    app.get(url, { schema: { hide: true } }, async (request, reply) => {
      const otherNodes = ports().slice(1).map((port) => `http://${request.hostname}:${port}`)
      return reply.headers({
        'content-type': contentType,
        'cache-control': 'no-cache',
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'content-security-policy': [
          "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:",
          ['connect-src', "'self'", ...otherNodes].join(' '),
          "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"
        ].join('; ')
      }).send(content)
    })
  }

  // For the demo only. Here the visitor plays everyone: both users and the service that publishes. In production a
  // login gives a user their own token and no other, and a token with a scope to publish or manage never comes near a
  // browser. Two users in one browser: so each token goes as a header, where a real page has the cookie of the one who
  // signed in.
  app.post('/demo/session', { schema: { hide: true } }, async (_request, reply) => {
    return reply.header('cache-control', 'no-store').send({
      token: publisherToken,
      users,
      groups,
      nodes: ports().map((port, index) => ({ name: `node ${index + 1}`, port }))
    })
  })
}
