// A peer: Socket.IO over WebSocket with its Redis adapter (REDIS_PORT), set as its performance page recommends:
// bufferutil is there, the first request is let go. Of what it offers beside, eiows (another WebSocket server) and
// other parsers are not used.
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { sayListening } from '../../servers/listening.ts'
import { load } from '../packages.ts'

const { Server } = await load('socket.io')
const { createAdapter } = await load('@socket.io/redis-adapter')
const { Redis } = await load('ioredis')
await load('bufferutil') // ws takes it by itself, and without a word goes on when it is not there
const port = Number(process.env['REDIS_PORT'])

const server = createServer((request, response) => {
  if (request.method !== 'POST') return
  void text(request).then((json) => {
    io.emit('message', JSON.parse(json))
    response.writeHead(202).end()
  })
})
const io = new Server(server, { transports: ['websocket'], serveClient: false, adapter: createAdapter(new Redis(port), new Redis(port)) })
// "Discard the initial HTTP request", for memory.
io.engine.on('connection', (socket: { request: unknown }) => { socket.request = null })
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => { sayListening(server) })
