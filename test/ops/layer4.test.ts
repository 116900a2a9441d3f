// ops/haproxy/haproxy.cfg on a real HAProxy: nodes that end TLS themselves behind a balancer of layer 4, through drain and loss.
import { once } from 'node:events'
import net from 'node:net'
import t from 'tap'
import { makeCertificate } from '../fixtures/certificate.ts'
import { connect } from '../fixtures/client.ts'
import { startHaproxy } from '../fixtures/haproxy.ts'
import { Ledger } from '../fixtures/ledger.ts'
import { startNode, type TestNode } from '../fixtures/node.ts'
import { freePort } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { eventually } from '../fixtures/wait.ts'

const issuer = createIssuer()
const STREAMS = 20

t.test('HAProxy in mode tcp, in front of nodes with TLS: each client\'s address, streams on every node, a drain and a loss without a dead tab', async (t) => {
  const redis = await startRedis(t)
  const { env: certificate } = makeCertificate(t)
  const nodes: Array<TestNode & { opsPort: number }> = []
  for (let i = 0; i < 2; i++) {
    const opsPort = await freePort()
    const node = await startNode(t, {
      env: {
        ...issuer.env, ...redis.env, ...certificate, OPS_PORT: String(opsPort), PROXY_PROTOCOL: 'on', TRUST_PROXY: '127.0.0.1', DRAIN_SECONDS: '1', RETRY_MS: '20'
      }
    })
    nodes.push(Object.assign(node, { opsPort }))
  }
  const front = await startHaproxy(t, { nodes })
  const url = `https://127.0.0.1:${front.port}`
  const streams = async ({ opsPort }: { opsPort: number }): Promise<number> => {
    const line = (await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text()).split('\n').find((line) => line.startsWith('tidings_streams{'))
    return Number(line?.split(' ').at(-1))
  }
  const operator = issuer.token({ sub: 'operator', scope: PUBLISH })
  const ledger = new Ledger(t)
  const publish = async (): Promise<void> => {
    const data = { mark: ledger.mark() }
    const { body } = await eventually(async () => {
      const answer = await fetch(`${url}/api/notifications`, {
        method: 'POST', headers: { authorization: `Bearer ${operator}`, 'content-type': 'application/json', 'idempotency-key': data.mark }, body: JSON.stringify({ to: 'group:g', data })
      })
      return { status: answer.status, body: await answer.json() as any }
    }, ({ status }) => status === 202, { what: 'is a publish taken' })
    ledger.sent({ to: 'group:g', id: body.notifications[0].id, data })
  }

  const clients = await Promise.all(Array.from({ length: STREAMS }, async (_, i) => {
    const client = connect(t, { url, token: issuer.token({ sub: `${i}`, groups: ['g'] }), localAddress: '127.0.0.7', retryCapMs: 50 })
    await client.live()
    ledger.open(client, ['group:g'])
    return client
  }))
  t.ok((await Promise.all(nodes.map(streams))).every((count) => count >= STREAMS / 4), 'each has its share')
  await nodes[0]!.waitForLine(/"ip":"127.0.0.7"/)
  await publish()

  const [first, second] = nodes as [typeof nodes[0], typeof nodes[0]]
  t.match(await first.stop(), { code: 0 })
  await publish()
  await ledger.settled()
  t.equal(await streams(second), STREAMS, 'all came to the other')
  t.ok(clients.every(({ syncs }) => syncs.at(-1)!.json.resume !== 'incomplete'))

  await startNode(t, {
    port: first.port,
    env: { ...issuer.env, ...redis.env, ...certificate, OPS_PORT: String(first.opsPort), PROXY_PROTOCOL: 'on', TRUST_PROXY: '127.0.0.1', RETRY_MS: '20' }
  })
  const attempts = clients.map(({ connections }) => connections.length)
  await second.kill()
  await Promise.all(clients.map(async (client, i) => await client.ended(attempts[i]!)))
  await publish()
  await ledger.settled()
  ledger.assertExact(t)
  t.ok(clients.every(({ syncs }) => syncs.at(-1)!.json.resume === 'complete'), 'after a kill too')

  const direct = net.connect(first.port, '127.0.0.1')
  direct.on('error', () => {})
  await once(direct, 'connect')
  direct.write('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n')
  await once(direct, 'close')
  t.pass('whoever comes from the balancer\'s address without its header is cut')
})
