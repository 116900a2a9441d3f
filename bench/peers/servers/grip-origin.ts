// The application behind Pushpin: it answers each connect with the instruction to hold the stream open, and nothing
// else.
import { createServer } from 'node:http'
import { sayListening } from '../../servers/listening.ts'

const server = createServer((_request, response) => {
  response.writeHead(200, {
    'Content-Type': 'text/event-stream',
    'Grip-Hold': 'stream',
    'Grip-Channel': 'bench',
    'Grip-Keep-Alive': ':\\n\\n; format=cstring; timeout=15'
  }).end(':\n\n')
})
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => { sayListening(server) })
