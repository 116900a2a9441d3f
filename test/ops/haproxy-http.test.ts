// HAProxy in mode http with what docs/deployment.md has one set there.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { startHaproxy } from '../fixtures/haproxy.ts'
import { startNode } from '../fixtures/node.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'

const page = readFileSync(join(import.meta.dirname, '../../docs/deployment.md'), 'utf8')

t.test('HAProxy in mode http, set as docs/deployment.md has it: passes a notification on at once, and the end of a client', async (t) => {
  const [, cell = ''] = /^\| HAProxy .*? \| (.*?) \|/m.exec(page) ?? []
  const options = [...cell.matchAll(/`(.*?)`/g)].map(([, option]) => `  ${option}\n`).join('')
  t.match(options, 'option http-no-delay\n  option abortonclose')
  const issuer = createIssuer()
  const node = await startNode(t, { env: { ...issuer.env, TRUST_PROXY: 'loopback', HEARTBEAT_SECONDS: '60' } })
  const front = await startHaproxy(t, {
    nodes: [],
    conf: (port) => `defaults\n  mode http\n${options}  timeout connect 2s\n  timeout client 1m\n  timeout server 1m\nlisten tidings\n  bind 127.0.0.1:${port}\n  server node 127.0.0.1:${node.port}\n`
  })
  const client = connect(t, { url: `http://127.0.0.1:${front.port}`, token: issuer.token({ sub: 'ann' }) })
  await client.live()
  const waits: number[] = []
  for (let i = 0; i < 5; i++) {
    const begin = performance.now()
    await fetch(`${node.url}/api/notifications`, {
      method: 'POST', headers: { authorization: `Bearer ${issuer.token({ sub: 'shop', scope: PUBLISH })}`, 'content-type': 'application/json' }, body: '{"to":"user:ann","data":1}'
    })
    await client.next()
    waits.push(Math.round(performance.now() - begin))
  }
  // Without it each takes 0.2 s. A busy machine may delay some of them, but not all.
  t.ok(Math.min(...waits) < 150, `${waits.join(', ')} ms`)
  client.close()
  const line = JSON.parse(await node.waitForLine(/"stream end"/))
  t.match(line, { reason: 'client' })
})
