// The OpenAPI document at /docs/json, and the page at /docs that shows it. The routes' schemas are its only source.
import { isDeepStrictEqual } from 'node:util'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import type { Config } from '../config.ts'
import { errorTable } from '../errors.ts'
import { version } from '../version.ts'
import { turnOf } from './event-stream.ts'

/** Call this before any route is registered. */
export async function describeRoutes (app: FastifyInstance, { TOKEN_COOKIE }: Pick<Config, 'TOKEN_COOKIE'>): Promise<void> {
  await app.register(swagger, {
    transformObject: (document) => 'openapiObject' in document ? withNames(document.openapiObject) : document.swaggerObject,
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
  await app.register(async (docs) => {
    // Anybody may ask for these files. Of many requests in one piece, each would open its file and hold it.
    docs.addHook('preHandler', async (_request, reply) => { await turnOf(reply) })
    await docs.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: true,
      // With this directive a page at http://server:8080 would load its own scripts by https, where nobody answers.
      transformStaticCSP: (policy) => policy.replace(/\s*upgrade-insecure-requests;?/, '')
    })
  })
}

/**
 * Moves each schema with a title, and the examples of errors, to the components: a generated client has one type of
 * that name then, not one for each place. Two schemas with one title must be the same.
 */
function withNames<Document extends object> (document: Document): Document {
  const schemas: Record<string, unknown> = {}
  const examples: Record<string, unknown> = {}
  const moved = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(moved)
    if (typeof node !== 'object' || node === null) return node
    const { title, ...rest } = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, /^examples?$/.test(key) ? movedExamples(value) : moved(value)]))
    if (typeof title !== 'string' || rest.type !== 'object') return title === undefined ? rest : { title, ...rest }
    schemas[title] ??= rest
    if (!isDeepStrictEqual(schemas[title], rest)) throw new Error(`OpenAPI: two schemas are called ${title}`)
    return { $ref: `#/components/schemas/${title}` }
  }
  // What is in an example is data, whatever its members are called.
  const movedExamples = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
    return Object.fromEntries(Object.entries(value).map(([name, example]) => {
      if (!(name in errorTable)) return [name, example]
      examples[name] = example
      return [name, { $ref: `#/components/examples/${name}` }]
    }))
  }
  const { components, ...rest } = document as { components?: object }
  return { ...moved(rest) as Document, components: { ...components, schemas, examples } }
}
