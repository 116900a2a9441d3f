// What a request and its reply keep in memory once only the stream goes on: let go of it. docs/performance.md has the figures.
import type { ServerResponse } from 'node:http'

const nothing: readonly never[] = []
let outgoingHeaders: symbol | undefined

/**
 * For a response whose headers are sent and that will only ever be written to by its socket, and then ended. Fastify's request and
 * reply, both sides' headers and the rope of strings that the head was put together from: about half of the heap of an idle stream.
 */
export function letGo (response: ServerResponse): void {
  // Fastify waits for the end with a closure that holds its request and reply; it is told that all is done.
  for (const listener of response.listeners('finish')) if (listener.name === 'onResFinished') listener()
  response.on('error', ignore)

  const { req } = response
  req.rawHeaders = nothing as unknown as string[]
  req.headers = nothing as unknown as typeof req.headers

  // Node keeps the head that it has sent, as `_header` (truthy: sent) and in parts under a symbol. Nothing reads either again.
  outgoingHeaders ??= Object.getOwnPropertySymbols(response).find(({ description }) => description === 'kOutHeaders')
  Object.assign(response, { _header: 'sent' })
  if (outgoingHeaders !== undefined) Object.assign(response, { [outgoingHeaders]: null })
}

// The stream hears 'close', which follows.
function ignore (): void {}
