// A peer: better-sse on Node's own HTTP server, one channel for all, serialised once.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { sayListening } from '../../servers/listening.ts'
import { load } from '../packages.ts'

const { createChannel, createSession } = await load('better-sse')
const channel = createChannel()
let id = Date.now() * 1000

const server = createServer((request, response) => { void answer(request, response) })
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => { sayListening(server) })

async function answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method === 'POST') {
    channel.broadcast(await text(request), 'message', { eventId: String(++id) })
    response.writeHead(202).end()
    return
  }
  channel.register(await createSession(request, response, { serializer: (data: string) => data, keepAlive: 15_000 }))
}
