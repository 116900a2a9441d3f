// What Fastify alone answers: an empty route with the body schema of POST /api/notifications and the same check of the
// token.
import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import { sayListening } from './listening.ts'

const text = { type: 'string' }
const app = Fastify({ ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: true, allowUnionTypes: true } } })
await app.register(jwt, { secret: process.env['JWT_SECRET']!, verify: { algorithms: ['HS256'], requiredClaims: ['sub', 'exp'], cache: 10_000 } })
app.post('/api/notifications', {
  schema: {
    body: {
      type: 'object',
      required: ['to', 'data'],
      additionalProperties: false,
      properties: {
        to: { type: ['string', 'array'], items: text, minItems: 1, maxItems: 1000 },
        event: { ...text, default: 'message' },
        data: {}
      }
    },
    response: {
      202: {
        type: 'object',
        properties: {
          notifications: { type: 'array', items: { type: 'object', properties: { to: text, id: text, receivers: { type: 'integer' } } } }
        }
      }
    }
  },
  onRequest: async (request) => {
    const { scope } = await request.jwtVerify<{ scope: string }>()
    if (!scope.split(' ').includes('notifications:publish')) throw new Error('the scope is missing')
  }
}, async (_request, reply) => {
  reply.code(202)
  return { notifications: [{ to: 'user:1', id: '1763794000123456', receivers: 0 }] }
})
await app.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
sayListening(app.server)
