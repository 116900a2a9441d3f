// A peer: plain fastify-sse-v2, reply.sse() for each stream, serialised once.
import { sayListening } from '../../servers/listening.ts'
import { load } from '../packages.ts'

const { default: Fastify } = await load('fastify')
const app = Fastify()
const replies = new Set<{ sse: (message: object) => void }>()
let id = Date.now() * 1000

await app.register((await load('fastify-sse-v2')).FastifySSEPlugin)
app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request: unknown, body: string, done: (error: null, body: string) => void) => { done(null, body) })

app.get('/events', async (request: { raw: { once: (event: string, done: () => void) => void } }, reply: { sse: (message: object) => void }) => {
  reply.sse({ comment: 'open' })
  replies.add(reply)
  request.raw.once('close', () => { replies.delete(reply) })
  return reply
})
app.post('/publish', async (request: { body: string }, reply: { code: (status: number) => void }) => {
  const message = { id: String(++id), data: request.body }
  for (const to of replies) to.sse(message)
  reply.code(202)
  return ''
})
await app.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
sayListening(app.server)
