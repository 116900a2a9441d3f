// A node that takes the keys of a key server, and clocks that are turned forward, so that its set grows old.
import type { Test } from 'tap'
import type { startRedis } from '../fixtures/redis.ts'
import { createSigner, type KeyServer } from './key-server.ts'
import { startNodes } from './nodes.ts'

export const TOKEN_INVALID = { status: 401, body: { code: 'TIDINGS_TOKEN_INVALID' } }
export const KEYS_UNAVAILABLE = { status: 503, body: { code: 'TIDINGS_KEYS_UNAVAILABLE' } }

/** The clocks of this process. They are right again at the begin of each test, and at the end of the file. */
export function turnClocks (t: Test): { aheadMs: number } {
  const clock = { aheadMs: 0 }
  const { now } = Date
  const elapsed = performance.now.bind(performance)
  Date.now = () => now() + clock.aheadMs
  performance.now = () => elapsed() + clock.aheadMs
  t.teardown(() => { Date.now = now; performance.now = elapsed })
  t.beforeEach(() => { clock.aheadMs = 0 })
  return clock
}

export async function startKeyed (t: Test, redis: Awaited<ReturnType<typeof startRedis>>, keys: KeyServer, count = 1) {
  const all = await startNodes(t, 'memory', redis, { count, issuer: { ...createSigner('RS256', 'none').issuer, env: keys.env } })
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
