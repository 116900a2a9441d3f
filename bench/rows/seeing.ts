// One node on Redis that notes and tells more or less of what it does: receipts, traces.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Scope } from '../../test/fixtures/wait.ts'
import { allocatedBytes, durable, redisAbsent, startNode, startRedis } from '../harness/parts.ts'
import type { Service } from '../harness/service.ts'
import { allocations } from '../harness/start.ts'
import type { Row } from './row.ts'
import { GROUP, named, subscribe } from './tidings.ts'

interface Seeing {
  readonly name: string
  readonly title: string
  readonly receipts: 'off' | 'sampled' | 'all'
  readonly traces?: true
}

const kinds: readonly Seeing[] = [
  { name: 'off', title: 'RECEIPTS=off', receipts: 'off' },
  { name: 'sampled', title: 'RECEIPTS=sampled', receipts: 'sampled' },
  { name: 'all', title: 'RECEIPTS=all', receipts: 'all' },
  { name: 'traces', title: 'RECEIPTS=off, a span for each notification', receipts: 'off', traces: true }
]

/** Takes what nodes send to a collector, and answers that it was taken. */
async function startSink (scope: Scope): Promise<string> {
  const sink = createServer((request, response) => {
    request.resume().on('end', () => { response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end() })
  })
  await new Promise<void>((resolve) => { sink.listen(0, '127.0.0.1', resolve) })
  scope.teardown(() => new Promise((resolve) => {
    sink.close(resolve)
    sink.closeAllConnections()
  }))
  return `http://127.0.0.1:${(sink.address() as AddressInfo).port}`
}

function row (service: Service, { name, title, receipts, traces }: Seeing): Row {
  return {
    ...named(service, `seeing-${name}`, title),
    kind: 'tidings',
    absent: redisAbsent,
    start: async (scope, { profileFolder }) => {
      const redis = await startRedis(scope)
      const settings = { ...service.settings, RECEIPTS: receipts, ...traces && { OTEL_EXPORTER_OTLP_ENDPOINT: await startSink(scope) } }
      const node = await startNode(scope, { ...service, settings }, redis, profileFolder, undefined, [allocations])
      let trace = 1n
      return {
        request: (i) => subscribe(i, [node.port]),
        liveOn: 'sync',
        // Each message carries one, whether the node looks at it or not.
        publish: (json) => { redis.line.send(durable(`group:${GROUP}`, json, 'TRACEPARENT', `00-${(trace++).toString(16).padStart(32, '0')}-00f067aa0ba902b7-01`)) },
        check: () => { redis.line.check() },
        servers: () => [node.pid],
        others: { redis: () => [redis.pid] },
        allocated: async () => await allocatedBytes(node)
      }
    }
  }
}

export const seeingRows = (services: readonly Service[]): Row[] => kinds.flatMap((kind) => services.map((service) => row(service, kind)))
