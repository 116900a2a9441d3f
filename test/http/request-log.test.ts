// What log lines say of their request, although requests have no logger of their own.
import { Writable } from 'node:stream'
import Fastify, { LogController } from 'fastify'
import { pino } from 'pino'
import t from 'tap'
import { requestOf, withoutChildren } from '../../src/http/request-log.ts'

const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

t.test('lines name their request and its trace, and a request in a line has no headers', async (t) => {
  const lines: Array<Record<string, unknown>> = []
  const log = pino({ base: { node: 'one' } }, new Writable({
    write: (text, _encoding, done) => {
      lines.push(JSON.parse(String(text)))
      done()
    }
  }))
  const app = Fastify({ loggerInstance: withoutChildren(log), logController: new LogController({ disableRequestLogging: true }) })
  t.teardown(async () => { await app.close() })
  app.get('/', async (request) => {
    request.log.info({ ...requestOf(request), req: request }, 'line')
    request.log.error({ ...requestOf(request), err: new Error('reason') }, 'line')
    return {}
  })
  await app.inject({ url: '/', headers: { authorization: 'secret' } })
  await app.inject({ url: '/', headers: { traceparent: TRACEPARENT } })
  t.match(lines, [
    { node: 'one', reqId: 'req-1', req: { method: 'GET', url: '/' }, msg: 'line' },
    { node: 'one', reqId: 'req-1', err: { message: 'reason', stack: String }, msg: 'line' },
    { reqId: 'req-2', trace_id: '0af7651916cd43dd8448eb211c80319c' },
    { reqId: 'req-2', trace_id: '0af7651916cd43dd8448eb211c80319c' }
  ])
  t.notOk('trace_id' in lines[0]!)
  t.notMatch(JSON.stringify(lines), 'secret')
})
