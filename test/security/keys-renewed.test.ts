// A key set that does not fit any more: a key was replaced and kept its kid, or the clocks went back since it was fetched.
import t from 'tap'
import { startRedis } from '../fixtures/redis.ts'
import { PUBLISH } from '../fixtures/tokens.ts'
import { createSigner, startKeyServer, type KeyServer } from './key-server.ts'
import { startNodes } from './nodes.ts'

const redis = await startRedis(t, { started: false })
const INVALID = { status: 401, body: { code: 'TIDINGS_TOKEN_INVALID' } }

/** The clocks of this process, turned forward. */
const clock = { aheadMs: 0 }
const { now } = Date
Date.now = () => now() + clock.aheadMs
const elapsed = performance.now.bind(performance)
performance.now = () => elapsed() + clock.aheadMs
t.teardown(() => { Date.now = now })
t.beforeEach(() => { clock.aheadMs = 0 })

async function start (t: any, keys: KeyServer) {
  const all = await startNodes(t, 'memory', redis, { count: 1, issuer: { ...createSigner('RS256', 'none').issuer, env: keys.env } })
  return {
    ...all,
    stream: async (token: string) => {
      const client = all.bare(t, { token, reconnect: false })
      const { status, headers } = await client.opened()
      // A stream goes on; a hint to come back is all there is and ends.
      if (status !== 200) return { status, body: JSON.parse((await client.ended()).body), client }
      if (headers['content-length'] !== undefined) return { status: 'later', body: (await client.ended()).body, client }
      return { status: 'live', body: await client.live(), client }
    },
    publish: async (token: string) => await all.call('POST', '/api/notifications', { token, body: { to: 'all', data: 1 } })
  }
}

t.test('rotation, of a key that keeps its kid: the new key is taken at the first token of it; forged ones ask the server once in 10 seconds', async (t) => {
  const [first, second, third] = [createSigner('ES256', 'sig'), createSigner('ES256', 'sig'), createSigner('ES256', 'sig')]
  const keys = await startKeyServer(t, [first.jwk])
  const all = await start(t, keys)
  t.match(await all.stream(first.token()), { status: 'live' })
  t.match(await all.stream(second.token()), INVALID, 'not the key of the set, which is new')
  t.equal(keys.requests, 1)

  keys.keys = [second.jwk]
  clock.aheadMs += 10_500
  t.match(await all.stream(second.token()), { status: 'live' }, 'at once, since a 401 would end it for good')
  t.match(await all.publish(second.token({ scope: PUBLISH })), { status: 202 })
  t.match(await all.stream(first.token()), INVALID, 'the key that was replaced')
  t.equal(keys.requests, 2)

  clock.aheadMs += 10_500
  const storm = async () => await Promise.all(Array.from({ length: 50 }, async (_, i) => await all.publish(third.token({ sub: String(i), scope: PUBLISH }))))
  for (let round = 0; round < 2; round++) t.ok((await storm()).every(({ status }) => status === 401))
  t.equal(keys.requests, 3)

  clock.aheadMs += 10_500
  keys.answer = (_request, response) => { response.writeHead(500).end() }
  t.ok((await storm()).every(({ status }) => status === 401), 'no proof of a new key')
  t.match(await all.stream(second.token()), { status: 'live' }, 'the known key is good all the time')
})

t.test('unknown kid, after the wall clock went back an hour: found after 10 seconds', async (t) => {
  const [first, second] = [createSigner('ES256', 'first'), createSigner('ES256', 'second')]
  const keys = await startKeyServer(t, [first.jwk])
  const all = await start(t, keys)
  t.match(await all.stream(first.token()), { status: 'live' })
  keys.keys = [first.jwk, second.jwk]
  clock.aheadMs += 10_500
  const ahead = Date.now
  Date.now = () => ahead() - 3_600_000
  t.teardown(() => { Date.now = ahead })
  t.match(await all.stream(second.token()), { status: 'live' })
})
