// Traces at the OpenTelemetry Collector's own receiver: one of a publisher in Python, through Redis, to two nodes.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { startNode } from '../fixtures/node.ts'
import { freePort, spawnChild } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { tools } from './tools.ts'

interface KeyValue { key: string, value: { stringValue?: string, intValue?: string } }
interface Span { traceId: string, spanId: string, parentSpanId?: string, name: string, kind: number, links?: Array<{ traceId: string, spanId: string }>, attributes: KeyValue[] }
interface Taken { resourceSpans: Array<{ resource: { attributes: KeyValue[] }, scopeSpans: Array<{ spans: Span[] }> }> }

const { otlp } = await tools()
const valueOf = (attributes: KeyValue[], key: string): string | undefined => {
  const value = attributes.find((one) => one.key === key)?.value
  return value?.stringValue ?? value?.intValue
}

t.test('collector, a trace that a Python publisher began: taken from both nodes, and one of HTTP with its send span', async (t) => {
  const spans: Array<Span & { node: string | undefined }> = []
  const port = await freePort()
  const collector = spawnChild(t, otlp, [`127.0.0.1:${port}`], {
    name: 'collector',
    onLine: (line) => {
      if (!line.startsWith('{')) return
      const { resourceSpans } = JSON.parse(line) as Taken
      for (const { resource, scopeSpans } of resourceSpans) {
        for (const span of scopeSpans.flatMap(({ spans }) => spans)) {
          // What a node sends once more, since the answer was late, is no other span.
          if (spans.every(({ spanId }) => spanId !== span.spanId)) spans.push({ ...span, node: valueOf(resource.attributes, 'service.instance.id') })
        }
      }
    }
  })
  await collector.waitForLine(/^listening/)
  const arrived = async (traceId: string, count: number): Promise<typeof spans> => {
    const those = (): typeof spans => spans.filter((span) => span.traceId === traceId)
    if (those().length < count) await collector.waitForLine(() => those().length >= count)
    return those()
  }

  const redis = await startRedis(t)
  const issuer = createIssuer()
  const env = { ...redis.env, ...issuer.env, OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_BSP_SCHEDULE_DELAY: '100' }
  const nodes = await Promise.all(['node-1', 'node-2'].map(async (name) => await startNode(t, { env, name })))
  const streams = nodes.map(({ url }) => connect(t, { url, token: issuer.token() }))
  for (const stream of streams) await stream.live()

  const [traceId, spanId] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7']
  const { stdout } = await promisify(execFile)('python3', [join(import.meta.dirname, '../fixtures/publish.py'), redis.prefix, 'user:42', `00-${traceId}-${spanId}-01`], { env: { ...process.env, ...redis.env } })
  for (const stream of streams) t.match(await stream.next(), { id: stdout.trim(), json: { from: 'python' } })
  const processed = await arrived(traceId, 2)
  t.same(processed.map(({ node }) => node).sort(), ['node-1', 'node-2'])
  for (const { name, kind, parentSpanId, links, attributes } of processed) {
    t.match({ name, kind, parentSpanId, links }, { name: 'process user', kind: 5, parentSpanId: spanId, links: [{ traceId, spanId }] })
    t.equal(valueOf(attributes, 'messaging.message.id'), stdout.trim())
  }

  const other = '0af7651916cd43dd8448eb211c80319c'
  const answer = await fetch(`${nodes[0]!.url}/api/notifications`, {
    method: 'POST',
    headers: { authorization: `Bearer ${issuer.token({ scope: PUBLISH })}`, 'content-type': 'application/json', traceparent: `00-${other}-b7ad6b7169203331-01` },
    body: JSON.stringify({ to: 'user:42', data: 1 })
  })
  t.equal(answer.status, 202)
  t.same((await arrived(other, 3)).map(({ name, node }) => `${name} ${node}`).sort(), ['process user node-1', 'process user node-2', 'send user node-1'])
})
