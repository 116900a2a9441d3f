// What a stranger can send in one piece: whatever stands in it, reading it never keeps the node from others.
import net from 'node:net'
import t from 'tap'
import { startService } from '../http/service.ts'

/** What takes time that grows with the square of so many bytes, takes many seconds. */
const TOO_LONG_MS = 2000

t.test('64 KB in one piece that are no request: answered or ended at once, whatever stands in them', async (t) => {
  const service = await startService(t)
  const pieces: Record<string, string> = {
    'a path without an end': `GET /${'a'.repeat(65_530)}`,
    'a query without an end': `GET /?${'?'.repeat(65_530)}`,
    'a path, then something else': `GET ${'a'.repeat(32_000)}${'\x0b'.repeat(32_000)} HTTP/1.1\r\n`,
    'a method without an end': 'A'.repeat(65_535),
    spaces: `GET ${' '.repeat(65_530)}`,
    'origins without an end': `GET / HTTP/1.1\r\n${'Origin: '.repeat(8000)}`,
    'an origin of spaces': `GET / HTTP/1.1\r\nOrigin:${' '.repeat(65_500)}`,
    'an origin without its line end': `GET / HTTP/1.1\r\nOrigin: ${'a'.repeat(65_500)}`,
    lines: '\r\n'.repeat(32_000)
  }
  for (const [name, piece] of Object.entries(pieces)) {
    const socket = net.connect({ host: '127.0.0.1', port: Number(new URL(service.url).port) })
    socket.on('error', () => {})
    const closed = new Promise((resolve) => { socket.once('close', resolve) })
    const beganMs = performance.now()
    socket.resume().end(piece)
    await closed
    const tookMs = Math.round(performance.now() - beganMs)
    t.ok(tookMs < TOO_LONG_MS, `${name}: ${tookMs} ms`)
  }
})
