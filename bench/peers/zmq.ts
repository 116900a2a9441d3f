// Publishing over ZeroMQ, which Pushpin documents for many messages a second: a PUSH socket of ZMTP 3.0 (RFC 23), no
// more than that.
import net from 'node:net'
import type { Scope } from '../../test/fixtures/wait.ts'

export async function openZmqPush (scope: Scope, port: number): Promise<{ send: (message: string) => void, check: () => void }> {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
  await new Promise<void>((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
  scope.teardown(() => { socket.destroy() })
  let fault: string | undefined
  socket.on('error', (error) => { fault = error.message })
  socket.on('close', () => { fault ??= 'the connection closed' })

  const greeting = Buffer.alloc(64)
  greeting.writeUInt8(0xff, 0)
  greeting.writeUInt8(0x7f, 9)
  greeting.writeUInt8(3, 10)
  greeting.write('NULL', 12)
  socket.write(greeting)
  const ready = Buffer.from('\x05READY\x0bSocket-Type\0\0\0\x04PUSH', 'latin1')
  socket.write(Buffer.concat([Buffer.from([4, ready.length]), ready]))
  // Its greeting and READY: what it takes is known, and a PUSH socket is sent nothing else.
  let heard = 0
  await new Promise<void>((resolve) => { socket.on('data', (bytes) => { if ((heard += bytes.length) > 64) resolve() }) })

  return {
    send: (message) => {
      const body = Buffer.from(message)
      const head = Buffer.alloc(9)
      head.writeUInt8(2, 0)
      head.writeBigUInt64BE(BigInt(body.length), 1)
      socket.write(Buffer.concat([head, body]))
    },
    check: () => { if (fault !== undefined) throw new Error(`publishing failed: ${fault}`) }
  }
}
