// Traces: from a publisher in Python through Redis to two nodes, from HTTP, of streams that connect and resume; and off, nothing.
import { execFile } from 'node:child_process'
import { type AddressInfo, createServer } from 'node:net'
import { promisify } from 'node:util'
import { ROOT_CONTEXT } from '@opentelemetry/api'
import { SamplingDecision, TraceIdRatioBasedSampler } from '@opentelemetry/sdk-trace'
import t from 'tap'
import { Tamper, tamperAbsent } from '../../chaos/tamper.ts'
import { connect, type Client } from '../fixtures/client.ts'
import { startCollector } from '../fixtures/collector.ts'
import { startNode, type TestNode } from '../fixtures/node.ts'
import { freePort } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, MANAGE, PUBLISH } from '../fixtures/tokens.ts'

/** Has a node say which files of OpenTelemetry it loads; its API comes with prom-client. */
const TELLS_OF_OTEL = 'data:text/javascript,' + encodeURIComponent(`
  import { registerHooks } from 'node:module'
  registerHooks({ load (url, context, next) { if (/@opentelemetry.(?!api)/.test(url)) console.log('LOADED ' + url); return next(url, context) } })`)

const redis = await startRedis(t)
const collector = await startCollector(t)
const issuer = createIssuer()
// Blanks around a value are no part of it.
const env = {
  ...redis.env, ...issuer.env, RETRY_MS: '50', LOG_LEVEL: 'debug', OTEL_EXPORTER_OTLP_ENDPOINT: ` ${collector.url} `, OTEL_BSP_SCHEDULE_DELAY: '100', OTEL_SERVICE_NAME: 'notifications', OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test%20bed,service.name=other'
}
const [one, two] = await Promise.all(['node-1', 'node-2'].map(async (name) => await startNode(t, { env, name, nodeArgs: ['--import', TELLS_OF_OTEL] }))) as [TestNode, TestNode]
const hasLoaded = ({ lines }: TestNode): boolean => lines.some((line) => line.startsWith('LOADED '))
const client = (node: TestNode, options: object = {}): Client => connect(t, { url: node.url, token: issuer.token({ sub: '42' }), retryCapMs: 50, ...options })
const [a, b] = [client(one), client(two)]
const positions = [(await a.live()).id!, (await b.live()).id!]

async function publish (body: object, headers: Record<string, string> = {}, at = one): Promise<any> {
  const answer = await fetch(`${at.url}/api/notifications`, {
    method: 'POST', headers: { authorization: `Bearer ${issuer.token({ sub: 'service', scope: PUBLISH })}`, 'content-type': 'application/json', ...headers }, body: JSON.stringify(body)
  })
  t.equal(answer.status, 202)
  return (await answer.json() as any).notifications[0]
}

t.test('trace, begun by a Python publisher that calls Redis, has a process span on each node that delivers', async (t) => {
  const [traceId, spanId] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7']
  const { stdout } = await promisify(execFile)('python3', ['test/fixtures/publish.py', redis.prefix, 'user:42', `00-${traceId}-${spanId}-01`], { env: { ...process.env, ...redis.env } })
  const id = stdout.trim()
  t.match(id, /^\d{16}$/)
  for (const stream of [a, b]) t.match(await stream.next(), { id, json: { from: 'python' } })
  const spans = await collector.until((span) => span.traceId === traceId, 2, 'two spans of the trace')
  t.same(spans.map(({ node }) => node).sort(), ['node-1', 'node-2'])
  for (const { name, kind, service, parentSpanId, links, attributes, startNs, endNs } of spans) {
    t.match({ name, kind, service, parentSpanId, links }, { name: 'process user', kind: 5, service: 'notifications', parentSpanId: spanId, links: [{ traceId, spanId }] })
    t.match(attributes, {
      'messaging.system': 'tidings', 'messaging.operation.type': 'process', 'messaging.destination.name': 'user:42', 'messaging.message.id': id, 'tidings.streams': '1'
    })
    for (const part of ['queue', 'coalesce', 'write']) {
      const ms = Number(attributes[`tidings.${part}_ms`])
      t.ok(ms >= 0 && ms < 60_000, `${part}: ${ms} ms`)
    }
    t.ok(endNs >= startNs)
  }
  const metrics = await (await fetch(`${one.url}/metrics`, { headers: { accept: 'application/openmetrics-text' } })).text()
  t.match(metrics, new RegExp(`tidings_publish_to_write_seconds_bucket.* # \\{trace_id="${traceId}"\\}`), 'and the histogram points at it')
})

t.test('traces, with a collector that is away, are told in the log, and keep nothing from being delivered', async (t) => {
  const lone = await startNode(t, { env: { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${await freePort()}`, OTEL_EXPORTER_OTLP_TIMEOUT: '200' } })
  const stream = client(lone)
  await stream.live()
  await lone.waitForLine(/"traces cannot be sent; /)
  t.match(lone.logs.find(({ msg }) => /^traces cannot be sent/.test(msg)), { level: 40, reason: /./, lost: 1 })
  const { id } = await publish({ to: 'user:42', data: 'nobody traces it' })
  t.match(await stream.next(), { id })
  stream.close()
})

t.test('traces, with a collector that takes them and never answers: the node still ends by itself', async (t) => {
  const asked = Promise.withResolvers<void>()
  const silent = createServer((socket) => { socket.on('error', () => {}).on('data', () => { asked.resolve() }) })
  await new Promise<void>((resolve) => { silent.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { silent.close() })
  const lone = await startNode(t, { env: { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(silent.address() as AddressInfo).port}` } })
  const stream = client(lone)
  await stream.live()
  await asked.promise
  stream.close()
  t.same(await lone.stop(), { code: 0, signal: null })
  t.match(lone.logs.at(-1), { msg: 'closed' })
})

t.test('trace, of a group whose name has a slash, names it whole', async (t) => {
  const member = connect(t, { url: two.url, token: issuer.token({ sub: '43', groups: ['a/b'] }) })
  await member.live()
  const traceId = '5bf92f3577b34da6a3ce929d0e0e4736'
  const { id } = await publish({ to: 'group:a/b', data: 1 }, { traceparent: `00-${traceId}-00f067aa0ba902b7-01` })
  t.match(await member.next(), { id })
  const [span] = await collector.until((span) => span.traceId === traceId && span.kind === 5, 1, 'the process span')
  t.match(span, { name: 'process group', attributes: { 'messaging.destination.name': 'group:a/b' } })
})

t.test('trace, of a publish over HTTP, goes on from the caller\'s header, and its log lines name it', async (t) => {
  const [traceId, spanId] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331']
  const { id } = await publish({ to: 'user:42', data: 1 }, { traceparent: `00-${traceId}-${spanId}-01` })
  const [send] = await collector.until((span) => span.traceId === traceId && span.kind === 4, 1, 'the send span')
  t.match(send, { name: 'send user', node: 'node-1', parentSpanId: spanId, attributes: { 'messaging.message.id': id, 'messaging.operation.type': 'send', 'tidings.receivers': '2' } })
  const spans = await collector.until((span) => span.traceId === traceId && span.kind === 5, 2, 'the process spans')
  t.ok(spans.every(({ parentSpanId }) => parentSpanId === send!.spanId))
  t.ok(await one.waitForLine(new RegExp(`"trace_id":"${traceId}".*"msg":"request"`)))
})

t.test('trace, of a publish without a header, begins with it; of one that is not to be sampled, there is none', async (t) => {
  const { id } = await publish({ to: 'user:42', data: 2 })
  const [send] = await collector.until(({ kind, attributes }) => kind === 4 && attributes['messaging.message.id'] === id, 1, 'the send span')
  t.equal(send!.parentSpanId, '')
  await collector.until((span) => span.traceId === send!.traceId && span.kind === 5, 2, 'the process spans')
  const unsampled = 'ffffffff16cd43dd8448eb211c80319c'
  const { id: quiet } = await publish({ to: 'user:42', data: 3 }, { traceparent: `00-${unsampled}-b7ad6b7169203331-00` })
  const { id: next } = await publish({ to: 'user:42', data: 4 }, { traceparent: 'nonsense' })
  for (const stream of [a, b]) t.match([await stream.next(({ json }) => json === 3), await stream.next(({ json }) => json === 4)], [{ id: quiet }, { id: next }])
  // Each node sends its spans in the order in which they end: those of the one before would be here by now.
  const those = await collector.until(({ attributes }) => attributes['messaging.message.id'] === next, 3, 'all spans of the next one')
  t.same(those.map(({ node, name }) => `${node} ${name}`).sort(), ['node-1 process user', 'node-1 send user', 'node-2 process user'])
  t.equal(new Set(those.map(({ traceId }) => traceId)).size, 1)
  t.same(collector.spans.filter(({ traceId, attributes }) => traceId === unsampled || attributes['messaging.message.id'] === quiet), [])
})

t.test('span, of a publish that is a repetition, or is refused by the broker, says so', async (t) => {
  const spanOf = async (traceId: string) => (await collector.until((span) => span.traceId === traceId && span.kind === 4, 1, 'the send span'))[0]
  const [first, second, third] = ['a', 'b', 'c'].map((digit) => digit.repeat(32)) as [string, string, string]
  for (const traceId of [first, second]) await publish({ to: 'user:42', data: 6 }, { traceparent: `00-${traceId}-b7ad6b7169203331-01`, 'idempotency-key': 'once' })
  t.match(await spanOf(first), { isError: false, attributes: { 'tidings.replayed': undefined }, resource: { 'deployment.environment.name': 'test bed', 'service.name': 'notifications' } })
  t.match(await spanOf(second), { isError: false, attributes: { 'tidings.replayed': true } })

  const gone = issuer.token({ sub: 'gone', scope: `${PUBLISH} ${MANAGE}` })
  await fetch(`${one.url}/api/users/gone/streams`, { method: 'DELETE', headers: { authorization: `Bearer ${gone}` } })
  const refused = await fetch(`${two.url}/api/notifications`, {
    method: 'POST', headers: { authorization: `Bearer ${gone}`, 'content-type': 'application/json', traceparent: `00-${third}-b7ad6b7169203331-01` }, body: '{"to":"user:42","data":7}'
  })
  t.equal(refused.status, 401)
  t.match(await spanOf(third), { isError: true, attributes: { 'error.type': 'Revoked' } })
})

t.test('spans, of streams that connect and resume, tell what they were', async (t) => {
  await collector.until(({ name }) => name === 'connect', 2, 'both streams')
  const again = client(two, { lastEventId: positions[1] })
  t.match(await again.live(), { json: { resume: 'complete' } })
  const [resume] = await collector.until(({ name }) => name === 'resume', 1, 'the stream that came back')
  t.match(resume, { node: 'node-2', kind: 2, parentSpanId: '', attributes: { 'tidings.resume': 'complete', 'enduser.id': '42' } })
  t.ok(Number(resume!.attributes['tidings.replayed']) > 0)
})

t.test('spans, of a node whose clock was set back half an hour since its start, have the times of one clock', { skip: tamperAbsent() ?? false }, async (t) => {
  const tamper = new Tamper(t)
  const node = await startNode(t, { env: { ...env, ...tamper.env }, name: 'moved' })
  await client(node).live()
  await collector.until(({ node, name }) => node === 'moved' && name === 'connect', 1, 'the span of the stream')
  const nowMs = Date.now()
  tamper.moveClock(-1800)
  const stream = client(node)
  await stream.live()
  const { id } = await publish({ to: 'user:42', data: 1 }, {}, node)
  await stream.next((event) => event.id === id)
  for (const kind of ['connect', 'send user', 'process user']) {
    const spans = await collector.until(({ node, name }) => node === 'moved' && name === kind, kind === 'connect' ? 2 : 1, kind)
    const { startNs, endNs, attributes } = spans.at(-1)!
    const aheadSeconds = (Number(startNs / 1_000_000n) - nowMs) / 1000
    t.ok(aheadSeconds > -1801 && aheadSeconds < -1700, `${kind}: ${aheadSeconds} s`)
    t.ok(endNs >= startNs && endNs - startNs < 60_000_000_000n, `${kind} ends after it starts`)
    if (kind === 'process user') t.equal(attributes['tidings.queue_ms'], '0', 'not less than nothing, by two clocks')
  }
})

t.test('a node, with the sampler traceidratio, sends of the traces that come those which it draws by their ids', async (t) => {
  const half = await startNode(t, { env: { ...env, OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.5' }, name: 'node-half' })
  const stream = client(half)
  await stream.live()
  const sampler = new TraceIdRatioBasedSampler(0.5)
  const ids = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0').padEnd(31, '0') + '1')
  const find = (decision: SamplingDecision): string => ids.find((id) => sampler.shouldSample(ROOT_CONTEXT, id).decision === decision)!
  const [other, drawn] = [find(SamplingDecision.NOT_RECORD), find(SamplingDecision.RECORD_AND_SAMPLED)]
  for (const traceId of [other, drawn]) await publish({ to: 'user:42', data: traceId }, { traceparent: `00-${traceId}-b7ad6b7169203331-01` })
  const ofHalf = (traceId: string) => (span: { traceId: string, node: string }): boolean => span.traceId === traceId && span.node === 'node-half'
  await collector.until(ofHalf(drawn), 1, 'the span of the one that is drawn')
  await collector.until((span) => span.traceId === other && span.kind === 5, 2, 'those of the other two nodes, which send all')
  t.same(collector.spans.filter(ofHalf(other)), [])
  stream.close()
})

t.test('a node, with OTEL_SDK_DISABLED, loads nothing of it and still passes a trace on', async (t) => {
  const off = await startNode(t, { env: { ...env, OTEL_SDK_DISABLED: 'true' }, name: 'node-off', nodeArgs: ['--import', TELLS_OF_OTEL] })
  t.same([hasLoaded(one), hasLoaded(off)], [true, false])
  const stream = client(off)
  await stream.live()
  const traceId = '1111111116cd43dd8448eb211c80319c'
  const answer = await fetch(`${off.url}/api/notifications`, {
    method: 'POST',
    headers: { authorization: `Bearer ${issuer.token({ sub: 'service', scope: PUBLISH })}`, 'content-type': 'application/json', traceparent: `00-${traceId}-b7ad6b7169203331-01` },
    body: JSON.stringify({ to: 'user:42', data: 5 })
  })
  t.equal(answer.status, 202)
  await stream.next(({ json }) => json === 5)
  const spans = await collector.until((span) => span.traceId === traceId, 2, 'the other nodes\' spans')
  t.same(spans.map(({ node, parentSpanId }) => [node, parentSpanId]).sort(), [['node-1', 'b7ad6b7169203331'], ['node-2', 'b7ad6b7169203331']])
})
