// What an idle stream keeps of the request that opened it: nothing. Looked at on the server's own objects, and by the garbage collector.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { eventually } from '../fixtures/wait.ts'
import { assertError, HANDLED, type Service, startService } from './service.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const HEADER = 'a header of a thousand characters '.repeat(30).trim()

interface Opened {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** What was ever piped into the response: fastify-sse-v2's stream. */
  readonly pipes: Array<WeakRef<Readable>>
  /** What must be gone, by name. */
  readonly memories: Map<string, WeakRef<object>>
}

/** Opens a stream and waits until it is live. Node's objects are held, as its socket holds them; all else only weakly. */
async function open (t: Test, service: Service): Promise<Opened> {
  const pipes: Opened['pipes'] = []
  const memories: Opened['memories'] = new Map()
  const remember = (name: string, what: object): void => { memories.set(name, new WeakRef(what)) }
  const arrival = new Promise<Pick<Opened, 'request' | 'response'>>((resolve) => {
    // Before Fastify's own listener, which may answer at once.
    service.app.server.prependOnceListener('request', (request, response) => {
      remember('request headers', request.headers)
      remember('raw request headers', request.rawHeaders)
      response.on('pipe', (pipe) => { pipes.push(new WeakRef(pipe)) })
      resolve({ request, response })
    })
  })
  const handled = (message: unknown): void => {
    const { request, reply } = message as { request: object, reply: object }
    remember('Fastify\'s request', request)
    remember('Fastify\'s reply', reply)
  }
  subscribe(HANDLED, handled)
  t.teardown(() => unsubscribe(HANDLED, handled))
  await service.client(t, { sub: 'idle' }, { headers: { 'X-Long': HEADER }, reconnect: false }).live()
  unsubscribe(HANDLED, handled)
  return { ...await arrival, pipes, memories }
}

t.test('stream, idle, has let go of both sides\' headers and of the plugin\'s pipe', async (t) => {
  const service = await startService(t)
  const { request, response, pipes } = await open(t, service)
  t.same(request.rawHeaders, [], 'the request\'s headers as they came')
  t.same({ ...request.headers }, {}, 'and by name')
  t.ok(response.headersSent, 'the head counts as sent')
  t.same(response.getHeaderNames(), [], 'the outgoing headers')
  t.notMatch((response as unknown as { _header: string })._header, 'HTTP/1.1', 'and the head that was put together from them')
  t.equal(pipes.length, 1, 'there was a pipe')
  const pipe = pipes[0]!.deref()
  t.ok(pipe === undefined || pipe.destroyed, 'which was ended')
  t.equal(pipe?.listenerCount('data') ?? 0, 0, 'and feeds nobody')
  t.equal(response.listenerCount('unpipe'), 0, 'nor does the response listen to it')
})

t.test('stream, idle, leaves headers, request, reply and pipe to the garbage collector, and goes on', async (t) => {
  const service = await startService(t)
  const { response, pipes, memories } = await open(t, service)
  t.equal(memories.size, 4, [...memories.keys()].join(', '))
  // @fastify/jwt's queue keeps the last jobs until it has others; those that come after are no business of the stream's.
  for (const sub of ['a', 'b', 'c', 'd']) assertError(t, await service.call('GET', '/api/users/idle/groups', { token: service.token({ sub }) }), 'TIDINGS_SCOPE_MISSING')
  for (const [i, pipe] of pipes.entries()) memories.set(`pipe ${i}`, pipe as WeakRef<object>)
  // A promise that has just settled may hold one of them for a turn more.
  const left = await eventually(async () => {
    collectGarbage()
    return [...memories].filter(([, memory]) => memory.deref() !== undefined).map(([name]) => name)
  }, (left) => left.length === 0, { what: 'what is left of the request' }).catch((error: Error) => [error.message])
  t.same(left, [], 'nothing is left')
  t.notOk(response.destroyed)
  const { body } = await service.publish('user:idle', 'still there')
  t.equal(body.notifications[0].receivers, 1, 'the stream goes on')
})
