// A takeover message that never arrives: the number in Redis repairs it within one heartbeat.
import t from 'tap'
import { callsOf, startRedis } from '../fixtures/redis.ts'
import { startNodes } from './nodes.ts'
import { startRedisLine } from './redis-line.ts'

/** Its own: CLIENT KILL and CLIENT PAUSE below must hit nobody else. */
const redis = await startRedis(t, { own: true })
const HEARTBEAT_MS = 2000
/** The clockwork ticks once a second, and this machine may be busy. */
const SLACK_MS = 1500

async function start (t: any) {
  const lines = [await startRedisLine(t, redis), await startRedisLine(t, redis)]
  const all = await startNodes(t, 'redis', redis, {
    env: { SESSION_POLICY: 'single', HEARTBEAT_SECONDS: String(HEARTBEAT_MS / 1000) }, redisUrl: (node) => lines[node]!.url
  })
  return { ...all, lines }
}

t.test('takeover, its message lost, is repaired within one heartbeat', async (t) => {
  const all = await start(t)
  const older = all.client(t, { sub: 'ann' })
  await older.live()
  all.lines[0]!.losesTakeovers = true
  const newer = all.client(t, { sub: 'ann' }, { node: 1 })
  await newer.live()
  const begin = performance.now()
  t.equal((await older.closed()).status, 204)
  const took = performance.now() - begin
  t.ok(took <= HEARTBEAT_MS + SLACK_MS, `${Math.round(took)} ms`)
  t.ok(all.lines[0]!.lost >= 1, 'a message was really lost')
  await newer.next(({ event }) => event === 'ping')
  t.equal(newer.connections.length, 1, 'the newer tab stays')
})

t.test('takeover, many lost at once, is repaired for all with one question to Redis', async (t) => {
  const all = await start(t)
  const users = Array.from({ length: 30 }, (_, i) => `user-${i}`)
  const older = users.map((sub) => all.client(t, { sub }))
  await Promise.all(older.map((tab) => tab.live()))
  all.lines[0]!.losesTakeovers = true
  const newer = users.map((sub) => all.client(t, { sub }, { node: 1 }))
  await Promise.all(newer.map((tab) => tab.live()))
  const asked = async () => await callsOf(redis, 'fcall')
  const before = await asked()
  const since = performance.now()
  await Promise.all(older.map((tab) => tab.closed()))
  t.ok(older.every(({ connection }) => connection.status === 204))
  // Two nodes, a slot or two each in the time that it took, and an `admit` for no one: their last id ends them before. And each second
  // both look whether the library still stands.
  const questions = await asked() - before
  t.ok(questions <= 10 + 2 * Math.ceil((performance.now() - since) / 1000), `${questions} calls for 30 users`)
  t.ok(newer.every(({ connections, state }) => connections.length === 1 && state === 'open'))
})

t.test('takeover, while the older node\'s subscriber is killed, ends the older tab', async (t) => {
  const all = await start(t)
  const older = all.client(t, { sub: 'ann' })
  await older.live()
  all.lines[0]!.losesTakeovers = true
  const killing = redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub')
  const newer = all.client(t, { sub: 'ann' }, { node: 1 })
  await killing
  t.equal((await older.closed()).status, 204)
  await newer.live()
  t.notOk(newer.events.some(({ event }) => event === 'replaced'))
})

t.test('takeover, while the older node is cut off from Redis, ends the older tab when it is back, which got nothing meanwhile', async (t) => {
  const all = await start(t)
  const older = all.client(t, { sub: 'ann' })
  await older.live()
  all.lines[0]!.cut({ refuse: true })
  const newer = all.client(t, { sub: 'ann' }, { node: 1 })
  await newer.live()
  await all.call('POST', '/api/notifications', { node: 1, body: { to: 'user:ann', data: 'for the newer' } })
  await newer.next()
  all.lines[0]!.mend()
  t.equal((await older.closed()).status, 204)
  t.same(older.notifications, [], 'what came after the takeover was not for it')
  t.equal(newer.connections.length, 1)
})

t.test('takeover, while Redis stands still, ends with exactly one', async (t) => {
  const all = await start(t)
  const older = all.client(t, { sub: 'ann' })
  await older.live()
  await redis.cli('CLIENT', 'PAUSE', 700, 'ALL')
  const newer = all.client(t, { sub: 'ann' }, { node: 1 })
  await newer.live()
  t.equal((await older.closed()).status, 204)
  t.equal(newer.state, 'open')
})

t.test('session, Redis empty after a restart, stays with its holder', async (t) => {
  const all = await start(t)
  const tab = all.client(t, { sub: 'ann' })
  await tab.live()
  await redis.cli('DEL', `${all.prefix}:session:ann`)
  await tab.next(({ event }) => event === 'ping')
  await tab.next(({ event }) => event === 'ping')
  t.match(await redis.cli('GET', `${all.prefix}:session:ann`), /^\d{16} /, 'the heartbeat has put it back')
  tab.drop()
  t.equal((await tab.live(2)).json.resume, 'complete')
})
