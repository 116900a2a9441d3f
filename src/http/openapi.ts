// The OpenAPI document at /docs/json, and the page at /docs that shows it. The routes' schemas are its only source.
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import type { Config } from '../config.ts'
import { version } from '../version.ts'

/** Call this before any route is registered. */
export async function describeRoutes (app: FastifyInstance, { TOKEN_COOKIE }: Pick<Config, 'TOKEN_COOKIE'>): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Tidings', description: 'Notifications to browsers over Server-Sent Events, from any number of nodes.', version },
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
          cookie: { type: 'apiKey', in: 'cookie', name: TOKEN_COOKIE },
          ticket: { type: 'apiKey', in: 'query', name: 'ticket' },
          ticketHeader: { type: 'http', scheme: 'ticket', description: 'Authorization: Ticket <ticket>, a new one for each request.' }
        }
      }
    }
  })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    // With this directive a page at http://server:8080 would load its own scripts by https, where nobody answers.
    transformStaticCSP: (policy) => policy.replace(/\s*upgrade-insecure-requests;?/, '')
  })
}
