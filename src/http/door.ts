// What a connection passes before HTTP, where the node is its own front: whom a balancer speaks for, how many one
// address may have, and an end for those who never get as far as a request.
import type { Server as HttpServer } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { networkOf, trustedProxies } from './client-address.ts'
import { type ProxyHeader, readProxyHeader } from './proxy-protocol.ts'

export interface DoorOptions {
  /** Connections end TLS here. */
  readonly isTls: boolean
  /** A balancer that is trusted begins each connection with a PROXY header. */
  readonly hasProxyHeaders: boolean
  readonly isTrusted: false | ((address: string) => boolean)
  /** Open connections of one public address; 0: no limit. */
  readonly maxPerAddress: number
  readonly log: Pick<FastifyBaseLogger, 'warn'>
}

/** A balancer sends its header with the first bytes; this is far above any way between machines. */
const HEADER_TIMEOUT_MS = 5000
const MINUTE_MS = 60_000

/**
 * Private addresses, which may each stand for everybody: proxies, balancers, Docker's gateway. The same as in
 * nginx.conf.
 */
export const isShared = trustedProxies(['loopback', 'linklocal', 'uniquelocal', '100.64.0.0/10']) as (address: string) => boolean

/** To be called before the server listens. Where nothing of it is asked for, connections go where they always went. */
export function guardDoor (server: HttpServer, { isTls, hasProxyHeaders, isTrusted, maxPerAddress, log }: DoorOptions): void {
  if (!isTls && !hasProxyHeaders && maxPerAddress === 0) return
  const insiders = server.listeners('connection') as Array<(socket: Socket) => void>
  const sockets = new Set<Socket>()
  const counts = new Map<string, number>()
  const handshakes = new WeakMap<Socket, NodeJS.Timeout>()
  let toldAtMs = -Infinity
  let untold = 0

  const admit = (socket: Socket): void => {
    if (maxPerAddress > 0 && !count(socket)) {
      socket.destroy()
      return
    }
    if (isTls) limitHandshake(socket)
    for (const listener of insiders) listener.call(server, socket)
    // Node's TLS takes what was read already from the socket by itself, and it alone may.
    if (socket.isPaused() && !isTls) queueMicrotask(() => { socket.resume() })
  }
  /** Whether this address may have one more. */
  const count = (socket: Socket): boolean => {
    const { remoteAddress = '' } = socket
    if (isShared(remoteAddress) || (isTrusted !== false && isTrusted(remoteAddress))) return true
    const network = networkOf(remoteAddress)
    const open = counts.get(network) ?? 0
    if (open >= maxPerAddress) return false
    counts.set(network, open + 1)
    socket.once('close', () => {
      const left = counts.get(network)! - 1
      if (left === 0) counts.delete(network)
      else counts.set(network, left)
    })
    return true
  }
  /** As long as a head may take. Node's own limit only tells us, and an answer would wait for the handshake. */
  const limitHandshake = (socket: Socket): void => {
    const timer = setTimeout(() => { socket.destroy() }, server.headersTimeout)
    handshakes.set(socket, timer)
    socket.once('close', () => { clearTimeout(timer) })
  }
  const refuse = (socket: Socket, balancer: string | undefined, reason: string): void => {
    socket.destroy()
    untold++
    if (performance.now() - toldAtMs < MINUTE_MS) return
    log.warn({ balancer, reason, count: untold }, 'no PROXY header from an address in TRUST_PROXY; the connection was ended; have the balancer send one, or take it out of TRUST_PROXY')
    toldAtMs = performance.now()
    untold = 0
  }

  server.on('secureConnection', ({ _parent: socket }: Inside) => { clearTimeout(handshakes.get(socket!)) })
  server.removeAllListeners('connection')
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => { sockets.delete(socket) })
    const balancer = peerOf(socket)
    if (!hasProxyHeaders || isTrusted === false || balancer === undefined || !isTrusted(balancer)) return admit(socket)
    awaitHeader(socket, (found) => {
      if (typeof found === 'string') return refuse(socket, balancer, found)
      speakFor(socket, found)
      admit(socket)
    })
  })

  // Node's own ends those that have got as far as HTTP: not who is in its handshake, or silent before its header.
  const { closeAllConnections } = server
  server.closeAllConnections = () => {
    closeAllConnections.call(server)
    for (const socket of sockets) socket.destroy()
  }
}

/**
 * Calls back with the header, the socket paused and the client's bytes put back; or with what is wrong. Not if it
 * leaves without a word.
 */
function awaitHeader (socket: Socket, done: (found: ProxyHeader | 'late' | 'bad') => void): void {
  let bytes: Buffer | undefined
  const finish = (found: ProxyHeader | 'late' | 'bad'): void => {
    clearTimeout(timer)
    socket.off('data', read).off('error', leave).off('close', leave).off('end', leave)
    done(found)
  }
  const leave = (): void => {
    clearTimeout(timer)
    socket.off('data', read).destroy()
  }
  const read = (piece: Buffer): void => {
    bytes = bytes === undefined ? piece : Buffer.concat([bytes, piece])
    const found = readProxyHeader(bytes)
    if (found === 'more') return
    if (found === 'bad') return finish(found)
    socket.pause()
    if (bytes.length > found.length) socket.unshift(bytes.subarray(found.length))
    finish(found)
  }
  const timer = setTimeout(() => { finish('late') }, HEADER_TIMEOUT_MS)
  socket.on('data', read).on('error', leave).on('close', leave).on('end', leave)
}

interface Inside {
  _handle: { getpeername?: (out: Partial<{ address: string, port: number, family: string }>) => number } | null
  _peername?: object | undefined
  encrypted?: boolean
  /** Of a socket of TLS: the one below it. */
  _parent?: Socket
}

/** Asked of the handle: the socket would remember the answer. */
function peerOf (socket: Socket): string | undefined {
  const out: { address?: string } = {}
  const { _handle: handle } = socket as unknown as Inside
  return handle?.getpeername?.(out) === 0 ? out.address : undefined
}

/** From here on `remoteAddress` is the client's, also through TLS, which asks the handle below it. */
function speakFor (socket: Socket, { source, isEncrypted }: ProxyHeader): void {
  const inside = socket as unknown as Inside
  if (source !== undefined && inside._handle !== null) {
    inside._handle.getpeername = (out) => {
      Object.assign(out, source)
      return 0
    }
    inside._peername = undefined
  }
  // What Fastify calls the protocol of a request.
  if (isEncrypted) inside.encrypted = true
}
