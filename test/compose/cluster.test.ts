// docker-compose.cluster.yml: six Redis, three nodes, nginx. A master is killed, and everybody gets what is published then.
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { eventually, startStack } from './stack.ts'

t.setTimeout(600_000)

t.test('docker-compose.cluster.yml, with a master killed, goes on with a replica', async (t) => {
  const issuer = createIssuer()
  const stack = await startStack(t, { ...issuer.env, HEARTBEAT_SECONDS: '1', REDIS_PASSWORD: 'secret' }, ['docker-compose.cluster.yml'])
  const token = issuer.token({ sub: 'shop', scope: PUBLISH })
  const publish = async (to: string, data: string): Promise<void> => {
    const key = randomUUID()
    await eventually(`a publish to ${to} to be taken`, async () => {
      const answer = await fetch(`${stack.url}/api/notifications`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', 'Idempotency-Key': key },
        body: JSON.stringify({ to, data })
      })
      const body = await answer.text()
      if (answer.status !== 202) throw new Error(`${answer.status} ${body}`)
    })
  }
  const clients = await Promise.all(Array.from({ length: 12 }, async (_, i) => {
    const client = connect(t, { url: stack.url, token: issuer.token({ sub: `user ${i}`, groups: ['Stock'] }), name: `user ${i}` })
    await client.live()
    return client
  }))
  const hasAll = async (data: string): Promise<void> => {
    await publish('group:Stock', data)
    await Promise.all(clients.map((_, i) => publish(`user:user ${i}`, `${data} ${i}`)))
    await Promise.all(clients.map((client, i) => client.changed.until(() => {
      const got = client.notifications.map(({ json }) => json as string)
      return got.includes(data) && got.includes(`${data} ${i}`) ? true : undefined
    }, { what: `${client.name} to have ${data}`, withinMs: 60_000 })))
  }
  await hasAll('before')
  const [redis = ''] = await stack.containers('redis')
  t.match(await stack.docker('exec', redis, 'redis-cli', 'LLEN', 'tidings:partitions').catch(String), /8|MOVED/)
  await stack.docker('kill', redis)
  await hasAll('after')
  for (const client of clients) {
    const got = client.notifications.map(({ json }) => json as string)
    t.equal(new Set(got).size, got.length, 'nothing twice')
  }
  await stack.docker('start', redis)
  await hasAll('whole again')
})
