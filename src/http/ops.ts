// /livez, /readyz, /metrics: for whoever runs the node.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { Broker } from '../broker/broker.ts'
import type { Hub } from '../hub/hub.ts'
import type { LogCounts } from '../log.ts'
import { metrics } from './metrics.ts'
import type { Refusals } from './refusals.ts'
import { content } from './schemas.ts'

const Status = Type.Object({ status: Type.String(), broker: Type.String(), detail: Type.String() })

export const ops: FastifyPluginAsyncTypebox<{ hub: Hub, broker: Broker, refusals: Refusals, nodeName: string, logCounts: Readonly<LogCounts> }> = async (app, { hub, broker, refusals, nodeName, logCounts }) => {
  const prometheus = metrics({ hub, broker, refusals, nodeName, logCounts })

  app.get('/livez', {
    schema: { tags: ['operations'], summary: 'The process answers', response: { 200: Type.Object({ status: Type.String() }) } }
  }, async () => ({ status: 'ok' }))

  app.get('/readyz', {
    schema: {
      tags: ['operations'],
      summary: 'Messages really arrive here',
      description: 'With ?for=streams: it can answer a stream, if only with "come back later". For balancers that would answer an error status, ' +
        'which ends an EventSource for ever, when Redis is away and so no node is ready.',
      querystring: Type.Object({ for: Type.Optional(Type.Literal('streams')) }),
      response: { 200: Status, 503: Status }
    }
  }, async (request, reply) => {
    const { up, detail } = broker.state()
    const status = hub.isDraining ? 'draining' : up ? 'ready' : 'not ready'
    const isGood = request.query.for === 'streams' ? status !== 'draining' : status === 'ready'
    if (!isGood) reply.code(503)
    return { status, broker: broker.name, detail }
  })

  app.get('/metrics', {
    schema: { tags: ['operations'], summary: 'Prometheus', response: { 200: content('text/plain', '# TYPE tidings_streams gauge\ntidings_streams{node="node-1"} 42\n', 'The text format of Prometheus.') } }
  }, async (request, reply) => {
    const { type, body } = await prometheus.text(request.headers.accept)
    return await reply.type(type).send(body)
  })
}
