// The limit of requests of one address, by a clock that the test turns.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { limitAddresses } from '../../src/http/address-rate.ts'
import { STREAM_PATH } from '../../src/http/event-stream.ts'
import type { Refusals } from '../../src/http/refusals.ts'

type Hook = (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => void

/** `ask`: true if the request was let through. */
function limit (perMinute: number) {
  const clock = { nowMs: 0 }
  const counted: string[] = []
  const headers: Record<string, unknown> = {}
  let hook!: Hook
  limitAddresses({ addHook: (_name: string, given: Hook) => { hook = given } } as unknown as FastifyInstance, {
    perMinute, isTrusted: false, refusals: { count: (code: string) => { counted.push(code) } } as unknown as Refusals, retryMs: () => 3000, nowMs: () => clock.nowMs
  })
  const reply = { header: (name: string, value: unknown) => { headers[name] = value }, headers: () => reply, send: () => reply }
  const ask = (ip: string, url = '/api/notifications'): boolean => {
    let isTaken = false
    hook({ ip, routeOptions: { url } } as FastifyRequest, reply as unknown as FastifyReply, (error) => { isTaken = error === undefined })
    return isTaken
  }
  return { ask, clock, counted, headers }
}

t.test('requests of one address, at one moment: as many as five seconds of the rate, and then one whenever its time has passed', async (t) => {
  const { ask, clock, headers } = limit(60)
  t.same(Array.from({ length: 6 }, () => ask('8.8.8.8')), [true, true, true, true, true, false])
  t.ok(headers['retry-after'])
  clock.nowMs += 1000
  t.same([ask('8.8.8.8'), ask('8.8.8.8')], [true, false])
})

t.test('streams of one address, past the rate: each that is told to come back is counted', async (t) => {
  const { ask, counted } = limit(6)
  t.same([ask('8.8.8.8', STREAM_PATH), ask('8.8.8.8', STREAM_PATH), ask('8.8.8.8', `${STREAM_PATH}/:userId`)], [true, false, false])
  t.same(counted, ['TIDINGS_TOO_MANY_REQUESTS', 'TIDINGS_TOO_MANY_REQUESTS'])
  t.ok(ask('8.8.8.8'), 'other requests are counted apart')
})

t.test('addresses, more than are remembered: one that goes on asking is not forgotten for those that were silent longer', async (t) => {
  const { ask } = limit(12)
  t.same([ask('8.8.8.8'), ask('8.8.8.8')], [true, false])
  for (let i = 0; i < 150_000; i++) {
    ask(`9.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
    if (i % 50_000 === 0 && ask('8.8.8.8')) t.fail(`let through after ${i} others`)
  }
  t.notOk(ask('8.8.8.8'))
  t.ok(ask('9.0.0.0'), 'and these are')
})
