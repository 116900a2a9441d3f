// What an event stream is as an HTTP answer, and what Node keeps of it. The only file beside hub/line.ts that
// touches the raw response; what it knows of Node's inside was checked with Node 24.21.
import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FastifySSEPlugin } from 'fastify-sse-v2'

const CONTENT_TYPE = 'text/event-stream; charset=utf-8'
const CACHE_CONTROL = 'no-store, no-transform'

/** The routes of the streams begin so. */
export const STREAM_PATH = '/api/notifications/subscribe'

/** To be called once, where the routes are registered that open streams. */
export async function allowEventStreams (app: FastifyInstance): Promise<void> {
  // The hint when to reconnect stands in the block of the stream's first event, not in one of its own: see comeBack.
  await app.register(FastifySSEPlugin, { retryDelay: false })
}

export const isHttp11 = ({ raw }: FastifyRequest): boolean => raw.httpVersion === '1.1'

/** Whether a stream can be written at all: the client is still there, and no other answer stands before this one. */
export function lineOf (reply: FastifyReply): 'ready' | 'queued' | 'gone' {
  if (reply.raw.destroyed) return 'gone'
  return reply.raw.socket === null ? 'queued' : 'ready'
}

/**
 * Sends status and headers at once by fastify-sse-v2 (which hijacks, and carries CORS and other reply headers over),
 * then takes its pipe off again: the pipe costs 9 KB a connection and looks at no backpressure. The stream writes its
 * shared bytes itself.
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
    // The plugin forbids caches less than we do, and it sets that after all reply headers.
    raw.setHeader('cache-control', CACHE_CONTROL)
    raw.removeHeader('x-no-compression')
    // It says keep-alive also to HTTP/1.0 and to `Connection: close`; Node knows better.
    raw.removeHeader('connection')
    raw.writeHead = writeHead
    return writeHead.apply(raw, args)
  } as typeof writeHead
  reply.sse({})
  letGo(raw)
  return raw
}

/** 204: `EventSource` stops for good. */
export function stop (reply: FastifyReply): void {
  reply.code(204).send()
}

/**
 * 200, a hint and an end: `EventSource` tries again by itself. The hint stands in the block of an event, since
 * several client libraries take a block with nothing but `retry:` for an empty message, and one ignores it.
 */
export function comeBackAnswer (retryMs: number): { headers: Record<string, string>, body: string } {
  return {
    headers: { 'content-type': CONTENT_TYPE, 'cache-control': CACHE_CONTROL, 'x-accel-buffering': 'no' },
    body: `retry: ${Math.round(retryMs)}\nevent: ping\ndata: {}\n\n`
  }
}

export function comeBack (reply: FastifyReply, retryMs: number): void {
  const { headers, body } = comeBackAnswer(retryMs)
  reply.headers(headers).send(body)
}

/** For a client that has left before it was answered. */
export function answerNobody (reply: FastifyReply): void {
  reply.hijack()
}

const nothing: readonly never[] = []
let outgoingHeaders: symbol | undefined

/**
 * Frees what a request and its reply hold in memory once only the stream remains: Fastify's request and reply, both
 * sides' headers, and the rope of strings that the head was put together from. That is about half of the heap of an
 * idle stream (docs/performance.md). The headers must have been sent, and the response may only be written to by its
 * socket and ended.
 */
function letGo (response: ServerResponse): void {
  // Fastify waits for the end with a closure that holds its request and reply; it is told that all is done.
  for (const listener of response.listeners('finish')) if (listener.name === 'onResFinished') listener()
  response.on('error', ignore)

  const { req } = response
  req.rawHeaders = nothing as unknown as string[]
  req.headers = nothing as unknown as typeof req.headers

  // Node keeps the head that it has sent, as `_header` (truthy: sent) and in parts under a symbol. Nothing reads
  // either again.
  outgoingHeaders ??= Object.getOwnPropertySymbols(response).find(({ description }) => description === 'kOutHeaders')
  Object.assign(response, { _header: 'sent' })
  if (outgoingHeaders !== undefined) Object.assign(response, { [outgoingHeaders]: null })
}

// The stream hears 'close', which follows.
function ignore (): void {}
