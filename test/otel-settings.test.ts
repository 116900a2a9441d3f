// OpenTelemetry's variables: when traces are wanted, which are sampled, and what is said of what cannot be read.
import t from 'tap'
import { readOtelSettings } from '../src/otel-settings.ts'

const OTEL_EXPORTER_OTLP_ENDPOINT = 'http://collector:4318'

function read (env: Record<string, string>): { settings: ReturnType<typeof readOtelSettings>, said: string[] } {
  const said: string[] = []
  return { settings: readOtelSettings(env, (text) => { said.push(text) }), said }
}

t.test('traces, without an endpoint, or switched off, are not wanted', async (t) => {
  for (const env of [{}, { OTEL_SERVICE_NAME: 'x' }, { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SDK_DISABLED: 'TRUE' }, { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER: 'none' }, { OTEL_EXPORTER_OTLP_ENDPOINT: ' ' }]) {
    t.same(read(env as Record<string, string>), { settings: undefined, said: [] })
  }
  t.ok(read({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://collector:4318/v1/traces' }).settings)
})

t.test('traces, with an endpoint alone, are all that others or we begin', async (t) => {
  t.same(read({ OTEL_EXPORTER_OTLP_ENDPOINT }), {
    settings: { serviceName: 'tidings', sampler: { isParentBased: true, ratio: 1 }, delayMs: 5000, queueLength: 2048, batchLength: 512 }, said: []
  })
})

t.test('samplers, by their names and argument, are the six of the specification', async (t) => {
  for (const [name, isParentBased, ratio] of [
    ['always_on', false, 1], ['always_off', false, 0], ['traceidratio', false, 0.25], ['parentbased_always_on', true, 1], ['parentbased_always_off', true, 0], ['parentbased_traceidratio', true, 0.25]
  ] as const) {
    t.same(read({ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: '0.25' }), { settings: { serviceName: 'tidings', sampler: { isParentBased, ratio }, delayMs: 5000, queueLength: 2048, batchLength: 512 }, said: [] }, name)
  }
})

t.test('settings, that cannot be read, are said and have no effect', async (t) => {
  const { settings, said } = read({
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER: 'zipkin', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', OTEL_TRACES_SAMPLER: 'xray', OTEL_BSP_SCHEDULE_DELAY: 'soon', OTEL_BSP_MAX_QUEUE_SIZE: '100'
  })
  t.match(settings, { sampler: { isParentBased: true, ratio: 1 }, delayMs: 5000, queueLength: 100, batchLength: 100 })
  t.equal(said.length, 4)
  for (const OTEL_EXPORTER_OTLP_ENDPOINT of ['collector:4318', 'grpc://collector:4317', 'http://', 'http://a b', 'http:/collector']) {
    t.match(read({ OTEL_EXPORTER_OTLP_ENDPOINT }), { settings: undefined, said: [/^OTEL_EXPORTER_OTLP_ENDPOINT must be a URL/] }, OTEL_EXPORTER_OTLP_ENDPOINT)
  }
  const all = {
    OTEL_EXPORTER_OTLP_HEADERS: 'api-key=secret,nothing', OTEL_RESOURCE_ATTRIBUTES: 'a=%zz', OTEL_EXPORTER_OTLP_TIMEOUT: '10s', OTEL_EXPORTER_OTLP_COMPRESSION: 'zstd'
  }
  const unread = read({ OTEL_EXPORTER_OTLP_ENDPOINT, ...all })
  t.same(unread.said.map((text) => text.split(' ')[0]).sort(), Object.keys(all).sort())
  t.notMatch(unread.said.join(), 'secret')
  t.same(read({ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS: 'api-key=a%20b=, x=y,', OTEL_EXPORTER_OTLP_TIMEOUT: '500', OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: 'gzip' }).said, [])
  t.match(read({ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '2' }), { settings: { sampler: { ratio: 1 } }, said: [/from 0 to 1/] })
})
