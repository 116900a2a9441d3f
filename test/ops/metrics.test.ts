// What a node says to Prometheus: names and units by its conventions, the older form and OpenMetrics, exemplars.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { PartitionedBroker } from '../../src/broker/redis/partitions/partitions.ts'
import { Metrics } from '../../src/http/registry.ts'
import { startService } from '../http/service.ts'
import { run, tools } from './tools.ts'

const { promtool } = await tools()
/** What only Redis has, and only several partitions; nobody is asked anything. */
const { meters } = new PartitionedBroker({
  url: 'redis://127.0.0.1:1', prefix: 'none', nodeName: 'none', log: { info () {}, warn () {} }, partitions: 2, historyLength: 1, groupHistoryLength: 1, historySeconds: 1, maxDataBytes: 1
})

t.test('promtool check metrics: nothing to say of any metric of a node', async (t) => {
  const service = await startService(t)
  const { text } = await service.call('GET', '/metrics', { token: null })
  t.equal(run(promtool, ['check', 'metrics'], { input: text }), '')
  const ofRedis = new Metrics('n')
  for (const meter of meters) ofRedis.add(meter)
  const { body } = await ofRedis.text()
  t.match(body, 'tidings_redis_call_seconds_bucket{le="+Inf",node="n"} 0\n')
  t.match(body, 'tidings_partition_owed{partition="1",node="n"} 0\n')
  t.equal(run(promtool, ['check', 'metrics'], { input: body }), '')
  t.throws(() => run(promtool, ['check', 'metrics'], { input: '# HELP ill_total Counts.\n# TYPE ill_total gauge\nill_total 1\n' }), /non-counter metrics/, 'it would')
})

t.test('OpenMetrics, for who names it: the same numbers, counters by their bare names, and an end', async (t) => {
  const service = await startService(t)
  const scrape = async (accept: string) => {
    const answer = await fetch(`${service.url}/metrics`, { headers: { accept } })
    return { type: answer.headers.get('content-type')!, lines: (await answer.text()).split('\n').filter((line) => line.startsWith('tidings_') || line.startsWith('#')) }
  }
  const open = await scrape('application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5')
  const plain = await scrape('text/plain;version=0.0.4')
  t.match(open.type, /^application\/openmetrics-text; version=1\.0\.0/)
  t.match(plain.type, /^text\/plain; version=0\.0\.4/)
  t.equal(open.lines.at(-1), '# EOF')
  t.ok(open.lines.includes('# TYPE tidings_streams_opened counter') && plain.lines.includes('# TYPE tidings_streams_opened_total counter'))
  const samples = (lines: string[]) => lines.filter((line) => !line.startsWith('#')).map((line) => line.split(' ')[0]).sort()
  t.same(samples(open.lines), samples(plain.lines))
  const names = open.lines.flatMap((line) => /^# TYPE (\S+)/.exec(line)?.[1] ?? [])
  t.same(names, [...new Set(names)], 'each name once, as the format wants it')
})

t.test('exemplars: the trace that a late notification belongs to, in OpenMetrics alone', async (t) => {
  const metrics = new Metrics('n')
  const observe = metrics.histogram('tidings_some_seconds', 'Some.', [0.1, 1])
  metrics.counter('tidings_things_total', 'Things.', () => ({ one: 1, other: 0 }), 'kind')
  observe(0.05)
  observe(0.5, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')
  observe(7, '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')
  // Of these no trace is recorded, as of most if a sampler draws: they take no other's place.
  observe(0.04, '00-ffffffff16cd43dd8448eb211c80319c-b7ad6b7169203331-00')
  observe(7, '00-ffffffff16cd43dd8448eb211c80319c-b7ad6b7169203331-02')
  const { body } = await metrics.text('application/openmetrics-text')
  t.notMatch(body, 'ffffffff16cd43dd8448eb211c80319c')
  t.match(body, /^tidings_some_seconds_bucket\{le="1",node="n"\} 3 # \{trace_id="0af7651916cd43dd8448eb211c80319c"\} 0\.5 \d+(\.\d+)?$/m)
  t.match(body, /^tidings_some_seconds_bucket\{le="\+Inf",node="n"\} 5 # \{trace_id="4bf92f3577b34da6a3ce929d0e0e4736"\} 7 \d+(\.\d+)?$/m)
  t.match(body, '# TYPE tidings_things counter\ntidings_things_total{kind="one",node="n"} 1\ntidings_things_total{kind="other",node="n"} 0\n')
  t.notMatch((await metrics.text()).body, 'trace_id')
  t.match((await metrics.text()).body, '# TYPE tidings_things_total counter')
})

t.test('docs/operations.md, what a node counts: each metric, with its kind and help', async (t) => {
  const service = await startService(t)
  const { text } = await service.call('GET', '/metrics', { token: null })
  const said = [
    ...[...text.matchAll(/^# HELP (tidings_\S+) (.*)\n# TYPE \S+ (\w+)$/gm)].map(([, name, help, kind]) => `${name} ${kind} ${help}`),
    ...meters.map(({ name, kind, help }) => `${name} ${kind} ${help}`)
  ]
  const told = [...readFileSync(join(import.meta.dirname, '../../docs/operations.md'), 'utf8').matchAll(/^\| `(tidings_\w+)(?:\{\w+\})?` \| (\w+) \| (.*) \|$/gm)]
    .map(([, name, kind, help]) => `${name} ${kind} ${help}`)
  t.same(told.sort(), said.sort())
})

t.test('metrics, streams that resume, are refused and do not read: counted', async (t) => {
  const service = await startService(t, { env: { STREAM_BUFFER_BYTES: '8388608', HISTORY_LENGTH: '5', GROUP_HISTORY_LENGTH: '5' } })
  const read = async (name: string, label?: string) => await service.metric(name, label)
  t.equal(await read('tidings_syncs_total', 'resume="incomplete"'), 0, 'there before it happens')
  const first = service.client(t, {}, { reconnect: false })
  const { id } = await first.live()
  t.equal(await read('tidings_syncs_total', 'resume="fresh"'), 1)
  await service.client(t, {}, { lastEventId: id! }).live()
  t.equal(await read('tidings_syncs_total', 'resume="complete"'), 1)
  await service.client(t, {}, { lastEventId: 'not ours' }).live()
  t.equal(await read('tidings_syncs_total', 'resume="incomplete"'), 1)
  t.equal(await read('tidings_refused_total', 'code="TIDINGS_TOKEN_INVALID"'), 0)
  await service.call('GET', '/api/notifications/subscribe', { token: 'none' })
  t.equal(await read('tidings_refused_total', 'code="TIDINGS_TOKEN_INVALID"'), 1)
  t.same([await read('tidings_streams_waiting'), await read('tidings_slow_streams'), await read('tidings_buffered_bytes')], [0, 0, 0])
  first.pause()
  for (let i = 0; i < 200 && await read('tidings_slow_streams') === 0; i++) await service.publish('user:42', 'x'.repeat(60_000))
  t.equal(await read('tidings_slow_streams'), 1)
  t.ok(await read('tidings_buffered_bytes') > 0)
})
