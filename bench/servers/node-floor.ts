// The floor in Node: each line on stdin is encoded once and written to every raw socket. No HTTP parser, no names, no
// checks.
import net from 'node:net'

const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n'
const streams = new Set<net.Socket>()

const server = net.createServer({ noDelay: true }, (socket) => {
  socket.once('data', () => {
    socket.write(head)
    streams.add(socket)
  })
  socket.on('error', () => {})
  socket.on('close', () => { streams.delete(socket) })
})

let rest = ''
process.stdin.setEncoding('utf8').on('data', (text: string) => {
  const lines = (rest + text).split('\n')
  rest = lines.pop()!
  let chunks = ''
  for (const line of lines) {
    const event = `id: ${Date.now()}000\ndata: ${line}\n\n`
    chunks += `${Buffer.byteLength(event).toString(16)}\r\n${event}\r\n`
  }
  const bytes = Buffer.from(chunks)
  if (bytes.length > 0) for (const socket of streams) socket.write(bytes)
}).on('end', () => { process.exit(0) })

server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  console.log(`listening on ${(server.address() as net.AddressInfo).port}`)
})
