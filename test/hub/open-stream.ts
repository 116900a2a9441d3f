// One stream that is served over a real socket to a real client.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { Batch } from '../../src/hub/batch.ts'
import { type Frame, notificationFrame, retryLine } from '../../src/hub/frame.ts'
import { Channel } from '../../src/hub/channels.ts'
import type { EndReason } from '../../src/hub/exits.ts'
import { connectionOf } from '../../src/hub/line.ts'
import { Stream } from '../../src/hub/stream.ts'
import { type Client, type ClientOptions, connect } from '../fixtures/client.ts'

export const frame = (id: number, data: unknown = id): Frame => notificationFrame({ id, event: 'message', json: JSON.stringify(data) })
export const datas = (client: Client): string[] => client.notifications.map(({ data }) => data)

export const fresh = { resume: 'fresh', replayed: 0, seen: '0', read: '0', unseen: 0, unread: 0, groups: [], heartbeatSeconds: 15 } as const

export const channel = new Channel('user:1')

/** Hands notifications to a stream as the coalescer does, to be written together at its next flush. */
export function queue (stream: Stream, ...frames: readonly Frame[]): void {
  const root = new Batch()
  for (const frame of frames) stream.takes(frame, channel, root)
}

export interface Opened {
  readonly stream: Stream
  readonly client: Client
  readonly response: ServerResponse
  /** Every call of onEnd. */
  readonly ends: EndReason[]
  readonly ended: Promise<void>
}

export async function open (t: Test, { bufferBytes = 1_048_576, ...options }: Partial<ClientOptions> & { bufferBytes?: number } = {}): Promise<Opened> {
  const ends: EndReason[] = []
  const ended = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<{ stream: Stream, response: ServerResponse }>()
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    response.flushHeaders()
    const owner = { userId: '1', groups: [], admittedAt: 1, issuedAtSeconds: 0, expiresAtSeconds: Infinity, reconnectsFrom: 'fresh' as const }
    opened.resolve({
      response,
      stream: new Stream(connectionOf(response), owner, { bufferBytes, retryLine: retryLine(100) }, performance.now(), (_stream, reason) => {
        ends.push(reason)
        ended.resolve()
      })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect(t, { reconnect: false, ...options, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { stream, response } = await opened.promise
  stream.channels.push(channel)
  return { stream, response, client, ends, ended: ended.promise }
}
