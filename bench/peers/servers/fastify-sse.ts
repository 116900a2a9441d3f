// A peer: @fastify/sse, a set of replies, serialised once.
import { sayListening } from '../../servers/listening.ts'
import { load } from '../packages.ts'

const { default: Fastify } = await load('fastify')
const app = Fastify()
const replies = new Set<{ sse: { send: (message: object) => Promise<void> } }>()
let id = Date.now() * 1000

await app.register(await load('@fastify/sse'), { heartbeatInterval: 15_000, serializer: (data: string) => data })
app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request: unknown, body: string, done: (error: null, body: string) => void) => { done(null, body) })

app.get('/events', { sse: 'only' }, async (_request: unknown, reply: { sse: { keepAlive: () => void, onClose: (done: () => void) => void, send: (message: object) => Promise<void> } }) => {
  reply.sse.keepAlive()
  await reply.sse.send({ data: '"connected"' }) // the head leaves with the first message
  replies.add(reply)
  reply.sse.onClose(() => { replies.delete(reply) })
})
app.post('/publish', async (request: { body: string }, reply: { code: (status: number) => void }) => {
  const message = { id: String(++id), data: request.body }
  for (const { sse } of replies) sse.send(message).catch(() => {})
  reply.code(202)
  return ''
})
await app.listen({ host: '127.0.0.1', port: 0, backlog: 4096 })
sayListening(app.server)
