// What nobody announces: connections that say nothing when a node closes, and a Redis that is emptied while its line stands.
import net from 'node:net'
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { startNode } from '../fixtures/node.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, MANAGE, PUBLISH } from '../fixtures/tokens.ts'

t.test('SIGTERM, with connections that never sent a whole request: exit 0 within the budget', async (t) => {
  const issuer = createIssuer()
  const node = await startNode(t, { env: { ...issuer.env, DRAIN_SECONDS: '1' } })
  for (const begun of ['', 'GET /livez HTTP/1.1\r\nHost: x', 'POST /api/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{']) {
    const socket = net.connect(node.port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    await new Promise((resolve) => { socket.once('connect', resolve) })
    socket.on('error', () => {})
    socket.write(begun)
  }
  const startedAt = performance.now()
  const { code } = await node.stop()
  t.equal(code, 0)
  t.ok(performance.now() - startedAt < 10_000, 'it does not wait for them')
})

t.test('SIGTERM, while a client has yet to take most of its answer: it gets all of it, and the node ends with 0', async (t) => {
  const issuer = createIssuer()
  const node = await startNode(t, { env: { ...issuer.env, DRAIN_SECONDS: '10' } })
  const headers = { authorization: `Bearer ${issuer.token({ sub: 'operator', scope: PUBLISH })}`, 'content-type': 'application/json' }
  // Far more than the kernel holds on the way.
  for (let i = 0; i < 200; i++) {
    const answer = await fetch(`${node.url}/api/notifications`, { method: 'POST', headers, body: JSON.stringify({ to: 'user:ann', data: 'x'.repeat(65_000) }) })
    if (answer.status !== 202) throw new Error(`publish: ${answer.status}`)
  }
  const socket = net.connect(node.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.write(`GET /api/notifications?limit=100 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${issuer.token({ sub: 'ann' })}\r\n\r\n`)
  await new Promise((resolve) => { socket.once('readable', resolve) })
  const stopped = node.stop()
  await node.waitForLine(/"closing"/)
  let got = 0
  let head = ''
  socket.on('data', (piece) => {
    if (!head.includes('\r\n\r\n')) head += piece.toString('latin1')
    got += piece.length
    // As slow as a line is; a node that does not wait is gone long before.
    socket.pause()
    setTimeout(() => { socket.resume() }, 10)
  })
  await new Promise((resolve) => { socket.once('close', resolve) })
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1])
  t.ok(length > 6_000_000, `${length} bytes were promised`)
  t.equal(got, head.indexOf('\r\n\r\n') + 4 + length)
  t.equal((await stopped).code, 0)
})

for (const [what, cut] of [['its line stands', []], ['only the line for commands breaks', ['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes']]] as const) {
  t.test(`Redis, emptied while ${what}: live streams are told, and their groups are known again`, async (t) => {
    const issuer = createIssuer()
    const redis = await startRedis(t, { own: true })
    const node = await startNode(t, { env: { ...issuer.env, ...redis.env } })
    const operator = issuer.token({ sub: 'operator', scope: `${PUBLISH} ${MANAGE}` })
    const client = connect(t, { url: node.url, token: issuer.token({ sub: '1', groups: ['a'] }) })
    await client.live()
    await redis.cli('FLUSHALL')
    if (cut.length > 0) await redis.cli(...cut)
    await client.until(() => client.syncs.find(({ json }) => json.resume === 'incomplete'), 'incomplete, without a reconnect')
    t.equal(client.connections.length, 1)
    const answer = await fetch(`${node.url}/api/users/1/groups`, { headers: { authorization: `Bearer ${operator}` } })
    t.same(await answer.json(), { groups: ['a'] })
  })
}

for (const REDIS_PARTITIONS of ['1', '2']) {
  t.test(`Redis, emptied, and published to before any node looks (partitions: ${REDIS_PARTITIONS}): live streams are told`, async (t) => {
    const issuer = createIssuer()
    const redis = await startRedis(t, { own: true })
    const node = await startNode(t, { env: { ...issuer.env, ...redis.env, REDIS_PARTITIONS } })
    const authorization = `Bearer ${issuer.token({ sub: 'operator', scope: `${PUBLISH} ${MANAGE}` })}`
    await fetch(`${node.url}/api/users/1/groups/Room`, { method: 'PUT', headers: { authorization } })
    const client = connect(t, { url: node.url, token: issuer.token({ sub: '1' }) })
    t.same((await client.live()).json.groups, ['Room'])
    await redis.cli('FLUSHALL')
    const answer = await fetch(`${node.url}/api/notifications`, {
      method: 'POST', headers: { authorization, 'content-type': 'application/json' }, body: JSON.stringify({ to: 'user:1', data: 'after' })
    })
    t.equal(answer.status, 202)
    const told = await client.until(() => client.syncs.find(({ json }) => json.resume === 'incomplete'), 'incomplete, although it stands beyond what was lost')
    t.same(told.json.groups, [])
    t.same(client.notifications.map(({ json }) => json), ['after'], 'once')
    t.equal(client.connections.length, 1)
  })
}
