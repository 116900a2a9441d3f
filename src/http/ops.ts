// /livez, /readyz and /metrics: health and metrics for operators.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type, { type Static } from 'typebox'
import { metrics, type MetricsOptions } from './metrics.ts'
import { content, errorResponses } from './schemas.ts'

const Readiness = Type.Object({
  status: Type.Unsafe<'ready' | 'not ready' | 'draining'>({ type: 'string', enum: ['ready', 'not ready', 'draining'] }),
  broker: Type.String(),
  detail: Type.String(),
  warnings: Type.Array(Type.String(), { description: 'Things that work now but are not reliable, one sentence each.' }),
  partitions: Type.Optional(Type.Array(Type.Object({ up: Type.Boolean(), detail: Type.String() }, { title: 'PartitionState' }), { description: 'With several partitions: the state of each, in order.' }))
}, { title: 'Readiness', description: 'Whether publishing and receiving work, and if not, why.' })
/** The answer with one HTTP status, with an example of its own. */
const readiness = (status: Static<typeof Readiness>['status']) => ({ ...Readiness, examples: [{ status, broker: 'memory', detail: 'embedded', warnings: [] }] })

export const ops: FastifyPluginAsyncTypebox<MetricsOptions> = async (app, options) => {
  const { hub, broker } = options
  const { prometheus, close } = metrics(options)
  app.addHook('onClose', async () => { close() })

  app.get('/livez', {
    schema: {
      operationId: 'getLiveness',
      tags: ['operations'],
      summary: 'The process answers',
      response: { 200: Type.Object({ status: Type.String() }, { title: 'Liveness', description: 'The process answers.', examples: [{ status: 'ok' }] }), ...errorResponses() }
    }
  }, async () => ({ status: 'ok' }))

  app.get('/readyz', {
    schema: {
      operationId: 'getReadiness',
      tags: ['operations'],
      summary: 'Messages really arrive here',
      description: 'With ?for=streams: it can answer a stream, if only with "come back later". For balancers that would answer an error status, ' +
        'which ends an EventSource for ever, when the broker is away and so no node is ready.',
      querystring: Type.Object({ for: Type.Optional(Type.Literal('streams', { description: 'What the node must be able to do.' })) }),
      response: { 200: readiness('ready'), 503: readiness('draining'), ...errorResponses('TIDINGS_BAD_REQUEST') }
    }
  }, async (request, reply) => {
    const { up, detail, warnings, partitions } = broker.state()
    const status: Static<typeof Readiness>['status'] = hub.isDraining ? 'draining' : up ? 'ready' : 'not ready'
    const isGood = request.query.for === 'streams' ? status !== 'draining' : status === 'ready'
    if (!isGood) reply.code(503)
    return { status, broker: broker.name, detail, warnings: [...warnings], ...partitions !== undefined && { partitions: [...partitions] } }
  })

  app.get('/metrics', {
    schema: {
      operationId: 'getMetrics',
      tags: ['operations'],
      summary: 'Prometheus',
      response: {
        200: content({
          'text/plain': '# TYPE tidings_streams gauge\ntidings_streams{node="node-1"} 42\n',
          'application/openmetrics-text': '# TYPE tidings_streams gauge\ntidings_streams{node="node-1"} 42\n# EOF\n'
        }, 'The text format of Prometheus, or OpenMetrics if Accept names it.'),
        ...errorResponses()
      }
    }
  }, async (request, reply) => {
    const { type, body } = await prometheus.text(request.headers.accept)
    return await reply.type(type).send(body)
  })
}
