// What answers when no node does, and what `helm test` runs: the very files of the chart, on a real nginx and a real node.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { startNode } from '../fixtures/node.ts'
import { findNginx } from '../fixtures/parts.ts'
import { freePort, makeFolder, spawnChild } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer } from '../fixtures/tokens.ts'
import { eventually } from '../fixtures/wait.ts'
import { chart, find, render } from './chart.ts'

t.test('stub: 200, a wait of its own for each and an end, readable for a page of any origin; an EventSource tries again', async (t) => {
  const part = await findNginx()
  if (part.kind !== 'binary') throw new Error('this check needs an nginx on the PATH')
  const port = await freePort()
  const folder = makeFolder(t)
  const configuration = find(render('ingress'), 'ConfigMap', '-stub').data['nginx.conf'] as string
  writeFileSync(join(folder, 'nginx.conf'), configuration.replace('listen 8080', `listen 127.0.0.1:${port}`).replaceAll('/tmp/', `${folder}/`))
  spawnChild(t, part.path, ['-c', join(folder, 'nginx.conf'), '-g', 'daemon off;'])
  const url = `http://127.0.0.1:${port}`
  const ask = async () => await fetch(`${url}/api/notifications/subscribe`, { headers: { origin: 'https://app.example' } })
  await eventually(ask, ({ ok }) => ok, { what: 'does the stub answer' })
  const waits = new Set<string>()
  for (let i = 0; i < 40; i++) {
    const answer = await ask()
    t.equal(answer.status, 200)
    t.match(Object.fromEntries(answer.headers), {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      'access-control-allow-origin': 'https://app.example',
      'access-control-allow-credentials': 'true',
      vary: 'Origin'
    })
    const text = await answer.text()
    t.match(text, /^retry: \d+\nevent: ping\ndata: {}\n\n$/)
    waits.add(text)
  }
  const size = async (headers: Record<string, string>, path = '/api/notifications/subscribe') => (await fetch(url + path, { headers })).status
  t.equal(await size({ cookie: `a=${'x'.repeat(15_000)}` }), 200, 'headers as large as a node takes')
  t.equal(await size({ cookie: `a=${'x'.repeat(20_000)}` }), 200, 'and larger')
  t.equal(await size({}, `/api/notifications/subscribe?ticket=${'x'.repeat(20_000)}`), 200, 'a line of more than 16 KB')
  t.ok(waits.size >= 4, `${waits.size} different waits among 40`)
  const client = connect(t, { url, token: 'none', retryCapMs: 10 })
  await client.ended(3)
  t.not(client.state, 'closed')
})

t.test('stub: the waits of nginx.conf', async (t) => {
  const waits = (text: string) => /split_clients \$request_id \$retry_ms \{([^}]*)\}/.exec(text)![1]!.match(/\S+ +\d+;/g)
  t.same(waits(readFileSync(join(chart, 'files/stub.nginx.conf'), 'utf8')), waits(readFileSync(join(import.meta.dirname, '../../nginx.conf'), 'utf8')))
})

t.test('helm test: passes on a node that works, fails with a sentence on one without Redis and on none', async (t) => {
  const [container] = find(render('minimal'), 'Pod').spec.containers
  const test = async (url: string) => {
    const child = spawnChild(t, process.execPath, [...container.command.slice(1), ...container.args], { env: { PATH: process.env.PATH, TIDINGS_URL: url }, name: 'helm test' })
    return { ...await child.exited, said: child.lines.join('\n') }
  }
  t.equal(container.env.find(({ name }: { name: string }) => name === 'TIDINGS_URL').value, 'http://news-tidings:80')
  const redis = await startRedis(t, { own: true })
  const node = await startNode(t, { env: { ...redis.env, ...createIssuer().env } })
  t.match(await test(node.url), { code: 0, said: /ok {2}\/readyz: 200/ })
  const streams = async () => (await fetch(`${node.url}/readyz?for=streams`)).status
  t.equal(await streams(), 200)
  await redis.stop()
  await node.waitForLine(/trying again/)
  t.equal(await streams(), 200, 'it can still answer a stream: "come back later"')
  t.match(await test(node.url), { code: 1, said: /NOT OK {2}\/readyz: 503[^]*\n?ok {2}\/metrics/ })
  t.match(await test(`http://127.0.0.1:${await freePort()}`), { code: 1, said: /ECONNREFUSED/ })
})
