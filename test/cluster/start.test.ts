// Redis is not there at the start: the node says so, keeps trying, turns nobody away for good, and comes alive when Redis does.
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { startNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, MANAGE, PUBLISH } from '../fixtures/tokens.ts'

t.test('a node, started without its Redis, waits for it and then works', async (t) => {
  const redis = await startRedis(t, { started: false })
  const issuer = createIssuer()
  const node = await startNode(t, { env: { ...redis.env, ...issuer.env }, ready: false })
  const token = issuer.token({ sub: '42', groups: ['Complaints'], scope: `${PUBLISH} ${MANAGE}` })
  const client = connect(t, { url: node.url, token, retryCapMs: 100 })
  const publish = () => fetch(`${node.url}/api/notifications`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'idempotency-key': 'the-same' },
    body: JSON.stringify({ to: 'user:42', data: { title: 'x' } })
  })

  const line = await node.waitForLine((line) => /"level":[45]0/.test(line) && /redis/i.test(line))
  t.notMatch(line, token, 'says in its log that Redis is not there')
  t.equal((await fetch(`${node.url}/livez`)).status, 200, 'it is alive')
  const ready = await fetch(`${node.url}/readyz`)
  t.equal(ready.status, 503, 'and not ready')
  t.match(await ready.text(), /redis/i, 'and says why')
  t.equal((await fetch(`${node.url}/metrics`)).status, 200, 'metrics are there')

  const refused = await publish()
  t.equal(refused.status, 503)
  t.match(refused.headers.get('retry-after'), /^[1-9]\d*$/, 'a publisher is told when to come back')
  t.match(await refused.json(), { statusCode: 503, code: /^TIDINGS_/, message: String })

  // Twice, so that it is seen to come back by itself.
  for (const number of [1, 2]) {
    const { status, headers, body, ending } = await client.ended(number)
    t.match({ status, type: headers['content-type'], body, ending }, { status: 200, type: /^text\/event-stream/, body: /^retry: \d+\nevent: ping\ndata: {}\n\n$/, ending: 'end' }, 'a browser is told to come back')
  }
  t.not(client.state, 'closed')

  await redis.start()
  await node.ready()
  const sync = await client.live(1)
  t.match(sync.json, { resume: 'fresh', groups: ['Complaints'] }, 'the client came in by itself')
  const taken = await publish()
  t.equal(taken.status, 202)
  const { notifications: [{ id, receivers }] } = await taken.json() as { notifications: [{ id: string, receivers: number }] }
  t.equal(receivers, 1)
  t.match(await client.next(), { id: String(id), json: { title: 'x' } })
  t.same(await node.stop(), { code: 0, signal: null }, 'SIGTERM ends it')
})

t.test('a node, stopped while it still waits for Redis, exits with 0', async (t) => {
  const redis = await startRedis(t, { started: false })
  const node = await startNode(t, { env: { ...redis.env, ...createIssuer().env }, ready: false })
  t.same(await node.stop(), { code: 0, signal: null })
})

t.test('a node, started with settings that are wrong, names every fault at once and ends', async (t) => {
  const said = await startNode(t, { env: { RETRY_MS: 'soon', HEARTBEAT_SECONDS: '-1' } }).then(() => 'it started', (error: Error) => error.message)
  for (const name of ['JWT_SECRET', 'RETRY_MS', 'HEARTBEAT_SECONDS']) t.match(said, name)
})
