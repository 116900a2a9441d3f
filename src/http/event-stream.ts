// The HTTP response of an event stream, and freeing what Node keeps in memory for it. Only this file and hub/line.ts
// touch the raw response. The knowledge of Node's internals was checked with Node 24.21.
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FastifySSEPlugin } from 'fastify-sse-v2'
import { comeBackBlock } from '../hub/frame.ts'

const CONTENT_TYPE = 'text/event-stream; charset=utf-8'
const CACHE_CONTROL = 'no-store, no-transform'

/** The paths of all stream routes start with this. */
export const STREAM_PATH = '/api/notifications/subscribe'

/** Call this once, in the scope that registers the stream routes. */
export async function allowEventStreams (app: FastifyInstance): Promise<void> {
  // `retry:` goes out in the block of the first event, not in a block of its own: see hub/frame.ts.
  await app.register(FastifySSEPlugin, { retryDelay: false })
}

export const isHttp11 = ({ raw }: FastifyRequest): boolean => raw.httpVersion === '1.1'

/** Node keeps only the first of several Host headers in `headers`. */
export function hasTwoHosts ({ raw: { rawHeaders } }: FastifyRequest): boolean {
  let count = 0
  for (let i = 0; i < rawHeaders.length; i += 2) if (rawHeaders[i]!.length === 4 && rawHeaders[i]!.toLowerCase() === 'host') count++
  return count > 1
}

/**
 * For a request that is answered before its body is there. Node destroys a connection after its last answer. The kernel
 * resets it if the client is still sending, and the reset may overtake the answer. nginx takes that for a fault of the
 * node: anybody could have it pass over all nodes. So only our side is closed, and what still comes is thrown away
 * until the body is there (requestTimeout).
 */
export function takeTheRest ({ raw, socket, headers }: FastifyRequest): void {
  if (raw.complete || (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined)) return
  socket.destroySoon = () => {
    Reflect.deleteProperty(socket, 'destroySoon')
    if (raw.complete) return socket.destroySoon()
    socket.end()
    raw.resume().once('end', () => { socket.destroySoon() })
  }
}

/**
 * Ends a connection behind the answer to a request that is there as a whole; at once, if that is a stream. Returns
 * false if no such answer is under way.
 */
export function endBehindAnswer (socket: Socket): boolean {
  const { _httpMessage: response } = socket as { _httpMessage?: ServerResponse | null }
  if (response?.req.complete !== true) return false
  if (response.headersSent && !response.writableEnded) socket.destroy()
  else response.once('finish', () => { socket.destroySoon() })
  return true
}

/** The bytes of all answers of a connection that the kernel has taken. */
export function takenBytesOf (socket: FastifyRequest['socket']): number {
  // With TLS only the TCP socket below knows.
  const { _handle: handle } = (Reflect.get(socket, '_parent') ?? socket) as { _handle?: { bytesWritten: number, writeQueueSize: number } | null }
  return handle === undefined || handle === null ? 0 : handle.bytesWritten - handle.writeQueueSize
}

/**
 * Whether a stream can be written. `gone`: the client has left. `queued`: another answer on the same connection is
 * still being sent (HTTP pipelining).
 */
export function lineOf (reply: FastifyReply): 'ready' | 'queued' | 'gone' {
  if (reply.raw.destroyed) return 'gone'
  return reply.raw.socket === null ? 'queued' : 'ready'
}

/**
 * Resolves when the answers before this one on its connection are sent (HTTP pipelining). Never, if the client leaves
 * before.
 */
export async function turnOf ({ raw }: FastifyReply): Promise<void> {
  if (raw.socket === null) await new Promise<void>((resolve) => { raw.once('socket', () => { resolve() }) })
}

/**
 * Sends status and headers at once through fastify-sse-v2, which hijacks the reply and copies CORS and other headers.
 * Then removes the plugin's pipe, which costs 9 KB a connection and ignores backpressure. The stream writes to the
 * response directly, so that all streams can share the same bytes.
 */
export function openEventStream (reply: FastifyReply): ServerResponse {
  const { raw } = reply
  reply.header('x-accel-buffering', 'no')
  raw.once('pipe', (source) => {
    source.unpipe(raw)
    source.destroy()
  })
  const { writeHead } = raw
  raw.writeHead = function (this: ServerResponse, ...args: Parameters<typeof writeHead>) {
    // The plugin sets a weaker Cache-Control than ours, after all reply headers.
    raw.setHeader('cache-control', CACHE_CONTROL)
    raw.removeHeader('x-no-compression')
    // The plugin says keep-alive even to HTTP/1.0 and to `Connection: close`. Node sets the right header by itself.
    raw.removeHeader('connection')
    raw.writeHead = writeHead
    return writeHead.apply(raw, args)
  } as typeof writeHead
  reply.sse({})
  // It may be left from an answer before this one (connections.ts).
  if ((raw.socket?.timeout ?? 0) > 0) raw.setTimeout(0)
  letGo(raw)
  return raw
}

/** Answers 204, which makes `EventSource` stop for good. */
export function stop (reply: FastifyReply): void {
  reply.code(204).send()
}

/** Answers 200 with `retry:` and ends, so that `EventSource` reconnects by itself. */
export function comeBackAnswer (retryMs: number): { headers: Record<string, string>, body: string } {
  return {
    headers: { 'content-type': CONTENT_TYPE, 'cache-control': CACHE_CONTROL, 'x-accel-buffering': 'no' },
    body: comeBackBlock(retryMs)
  }
}

export function comeBack (reply: FastifyReply, retryMs: number): void {
  const { headers, body } = comeBackAnswer(retryMs)
  reply.headers(headers).send(body)
}

/** For a client that left before it got an answer: nothing is sent. */
export function answerNobody (reply: FastifyReply): void {
  reply.hijack()
}

const nothing: readonly never[] = []
let outgoingHeaders: symbol | undefined

/**
 * Frees what a stream no longer needs of its request: Fastify's request and reply, the headers of both sides, and the
 * string of the response head. That is about half of the heap of an idle stream (docs/performance.md). Call it after
 * the headers were sent. From then on the response may only be ended, or written to through its socket.
 */
function letGo (response: ServerResponse): void {
  // Fastify's `finish` listener holds the request and the reply until the end. Calling it now lets go of both.
  for (const listener of response.listeners('finish')) if (listener.name === 'onResFinished') listener()
  response.on('error', ignore)

  const { req } = response
  req.rawHeaders = nothing as unknown as string[]
  req.headers = nothing as unknown as typeof req.headers

  // Node keeps the sent head as `_header` (any truthy value means "sent") and in parts under a symbol. Nothing reads
  // either of them again.
  outgoingHeaders ??= Object.getOwnPropertySymbols(response).find(({ description }) => description === 'kOutHeaders')
  Object.assign(response, { _header: 'sent' })
  if (outgoingHeaders !== undefined) Object.assign(response, { [outgoingHeaders]: null })
}

// The stream handles the 'close' that follows.
function ignore (): void {}
