// What connections pass before HTTP on a node without a proxy in front: the PROXY header of a balancer, the limit of
// connections for each address, and a time limit for connections that never send a request.
import type { Server as HttpServer } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { networkOf, trustedProxies } from './client-address.ts'
import { type ProxyHeader, readProxyHeader } from './proxy-protocol.ts'

export interface DoorOptions {
  /** This node terminates TLS. */
  readonly isTls: boolean
  /** Trusted balancers begin each connection with a PROXY header. */
  readonly hasProxyHeaders: boolean
  readonly isTrusted: false | ((address: string) => boolean)
  /** The most open connections of one public address; 0: no limit. */
  readonly maxPerAddress: number
  readonly log: Pick<FastifyBaseLogger, 'warn'>
}

/** A balancer sends its header with the first bytes, so this is far above any network delay. */
const HEADER_TIMEOUT_MS = 5000
/** Headers of proxies that read HTTP. */
const FORWARDED = ['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto'] as const
const MINUTE_MS = 60_000

/**
 * Private addresses are not limited, since many clients may come through one of them: proxies, balancers, Docker's
 * gateway. nginx.conf has the same list.
 */
export const isShared = trustedProxies(['loopback', 'linklocal', 'uniquelocal', '100.64.0.0/10']) as (address: string) => boolean

/** Call this before the server listens. Without TLS, PROXY headers and a limit it does nothing. */
export function guardDoor (server: HttpServer, { isTls, hasProxyHeaders, isTrusted, maxPerAddress, log }: DoorOptions): void {
  if (!isTls && !hasProxyHeaders && maxPerAddress === 0) return
  const insiders = server.listeners('connection') as Array<(socket: Socket) => void>
  const sockets = new Set<Socket>()
  const takes = connectionLimit(maxPerAddress, isTrusted)
  const handshakes = new WeakMap<Socket, NodeJS.Timeout>()
  const nameless = new WeakSet<Socket>()
  let loggedAtMs = -Infinity
  let unlogged = 0

  const admit = (socket: Socket): void => {
    if (!takes(socket)) {
      socket.destroy()
      return
    }
    if (isTls) limitHandshake(socket)
    for (const listener of insiders) listener.call(server, socket)
    // Node's TLS itself takes the bytes that were put back, and nobody else may read them.
    if (socket.isPaused() && !isTls) queueMicrotask(() => { socket.resume() })
  }
  /**
   * Gives the TLS handshake as much time as a request's headers. Node's own handshake timeout only emits an event, and
   * a TLS answer would have to wait for the handshake.
   */
  const limitHandshake = (socket: Socket): void => {
    const timer = setTimeout(() => { socket.destroy() }, server.headersTimeout)
    handshakes.set(socket, timer)
    socket.once('close', () => { clearTimeout(timer) })
  }
  const refuse = (socket: Socket, balancer: string | undefined, reason: string): void => {
    socket.destroy()
    unlogged++
    if (performance.now() - loggedAtMs < MINUTE_MS) return
    log.warn({ balancer, reason, count: unlogged }, 'no PROXY header from an address in TRUST_PROXY; the connection was ended; have the balancer send one, or take it out of TRUST_PROXY')
    loggedAtMs = performance.now()
    unlogged = 0
  }

  server.on('secureConnection', ({ _parent: socket }: Inside) => { clearTimeout(handshakes.get(socket!)) })
  server.removeAllListeners('connection')
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => { sockets.delete(socket) })
    const balancer = peerOf(socket)
    if (!hasProxyHeaders || isTrusted === false || balancer === undefined || !isTrusted(balancer)) return admit(socket)
    awaitHeader(socket, (header) => {
      if (typeof header === 'string') return refuse(socket, balancer, header)
      speakFor(socket, header)
      if (header.source === undefined) nameless.add(socket)
      admit(socket)
    })
  })

  // The address is the balancer's, which is trusted. But it passes bytes on and writes no headers of HTTP.
  if (hasProxyHeaders) {
    server.prependListener('request', ({ headers, socket }) => {
      if (nameless.has((socket as unknown as Inside)._parent ?? socket)) for (const name of FORWARDED) Reflect.deleteProperty(headers, name)
    })
  }

  // Node's own version ends connections that have reached HTTP, but not those in a TLS handshake or before their
  // header.
  const { closeAllConnections } = server
  server.closeAllConnections = () => {
    closeAllConnections.call(server)
    for (const socket of sockets) socket.destroy()
  }
}

/** Returns a function that counts a connection until it closes. It returns false if its address has too many. */
function connectionLimit (maxPerAddress: number, isTrusted: DoorOptions['isTrusted']): (socket: Socket) => boolean {
  if (maxPerAddress === 0) return () => true
  const counts = new Map<string, number>()
  return (socket) => {
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
}

/**
 * Calls back with the PROXY header, after pausing the socket and putting the client's bytes back, or with what is
 * wrong. Does not call back if the connection closes before.
 */
function awaitHeader (socket: Socket, done: (header: ProxyHeader | 'late' | 'bad') => void): void {
  let bytes: Buffer | undefined
  const finish = (header: ProxyHeader | 'late' | 'bad'): void => {
    clearTimeout(timer)
    socket.off('data', read).off('error', leave).off('close', leave).off('end', leave)
    done(header)
  }
  const leave = (): void => {
    clearTimeout(timer)
    socket.off('data', read).destroy()
  }
  const read = (piece: Buffer): void => {
    bytes = bytes === undefined ? piece : Buffer.concat([bytes, piece])
    const header = readProxyHeader(bytes)
    if (header === 'more') return
    if (header === 'bad') return finish(header)
    socket.pause()
    if (bytes.length > header.length) socket.unshift(bytes.subarray(header.length))
    finish(header)
  }
  const timer = setTimeout(() => { finish('late') }, HEADER_TIMEOUT_MS)
  socket.on('data', read).on('error', leave).on('close', leave).on('end', leave)
}

interface Inside {
  _handle: { getpeername?: (out: Partial<{ address: string, port: number, family: string }>) => number } | null
  _peername?: object | undefined
  encrypted?: boolean
  /** On a TLS socket: the TCP socket below it. */
  _parent?: Socket
}

/** The address of the peer. Asks the handle, because the socket would cache the answer. */
function peerOf (socket: Socket): string | undefined {
  const out: { address?: string } = {}
  const { _handle: handle } = socket as unknown as Inside
  return handle?.getpeername?.(out) === 0 ? out.address : undefined
}

/** Makes `remoteAddress` the client's. This works through TLS too, which asks the handle below it. */
function speakFor (socket: Socket, { source, isEncrypted }: ProxyHeader): void {
  const inside = socket as unknown as Inside
  if (source !== undefined && inside._handle !== null) {
    inside._handle.getpeername = (out) => {
      Object.assign(out, source)
      return 0
    }
    inside._peername = undefined
  }
  // Fastify derives `request.protocol` from this.
  if (isEncrypted) inside.encrypted = true
}
