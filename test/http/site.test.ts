// docs/deployment.md: what it has one put into one's own nginx, run as printed; its numbers and names are those of the files.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { connect } from '../fixtures/client.ts'
import { startNginx, startOtherNginx } from '../fixtures/nginx.ts'
import { startNode } from '../fixtures/node.ts'
import { makeFolder } from '../fixtures/process.ts'
import { createIssuer, MANAGE, PUBLISH } from '../fixtures/tokens.ts'

const root = join(import.meta.dirname, '../..')
const read = (name: string): string => readFileSync(join(root, name), 'utf8')
const page = read('docs/deployment.md')

t.test('docs/deployment.md, under your own site: one origin for page, stream, tickets and publishing; a dead upstream ends no EventSource', async (t) => {
  const issuer = createIssuer()
  const node = await startNode(t, { env: { ...issuer.env, TRUST_PROXY: 'loopback' } })
  const front = await startNginx(t, { nodes: [node.port] })
  const [, printed = ''] = /```nginx\n([\s\S]*?)```/.exec(page) ?? []
  t.equal(printed.match(/127\.0\.0\.1:8080/g)?.length, 3)
  const site = (await startOtherNginx(t, `location / { return 200 "the site"; } location ~* \\.(js|php)$ { return 404; } ${printed.replaceAll('127.0.0.1:8080', `127.0.0.1:${front.port}`)}`))
  t.equal(await (await fetch(site)).text(), 'the site')
  t.match(await (await fetch(`${site}/client.js`)).text(), /export/)
  const client = connect(t, { url: site, token: issuer.token({ sub: 'ann' }), via: 'cookie', retryCapMs: 50 })
  await client.live()
  const ticket = await fetch(`${site}/api/notifications/tickets`, { method: 'POST', headers: { origin: site, cookie: `tidings_token=${issuer.token({ sub: 'ann' })}` } })
  t.equal(ticket.status, 201, 'the page\'s own origin is known')
  const answer = await fetch(`${site}/api/notifications`, {
    method: 'POST', headers: { authorization: `Bearer ${issuer.token({ sub: 'shop', scope: PUBLISH })}`, 'content-type': 'application/json' }, body: '{"to":"user:ann","data":"hello"}'
  })
  t.equal(answer.status, 202)
  t.equal((await client.next()).json, 'hello')
  for (const bytes of [9_000, 20_000, 40_000]) {
    const later = await fetch(`${site}/api/notifications/subscribe`, { headers: { cookie: `a=${'x'.repeat(bytes)}; tidings_token=bad` }, signal: AbortSignal.timeout(10_000) })
    if (bytes > 16_384) t.match([later.status, await later.text()], [200, /^retry: \d+\nevent: ping/], `${bytes} bytes of cookies`)
    else t.match([later.status, await later.json()], [401, { code: 'TIDINGS_TOKEN_INVALID' }], 'the node looks at it')
  }
  const large = await fetch(`${site}/api/notifications`, {
    method: 'POST', headers: { authorization: `Bearer ${issuer.token({ sub: 'shop', scope: PUBLISH })}`, 'content-type': 'application/json' }, body: `{"to":"user:ann","data":"${'x'.repeat(1_100_000)}"}`
  })
  t.match([large.status, await large.json()], [413, { code: /^TIDINGS_/ }], 'a large body is the node\'s to judge')
  await front.kill()
  const { connections } = client
  await client.until(() => connections.find(({ number, ending }) => number > 2 && ending === 'end'), 'two answers of the site itself')
  t.same([...new Set(connections.map(({ status }) => status))], [200])
  t.match(connections.at(-1)!.body, /^(retry: [2-5]000\nevent: ping\ndata: \{\}\n\n)?$/)
  const aside = await fetch(`${site}/api/notifications/subscribe/ann.js`, { headers: { origin: 'https://pages.example' } })
  t.match([aside.status, aside.headers.get('access-control-allow-origin'), await aside.text()], [200, 'https://pages.example', /^retry: /], 'readable for other origins, whatever the user is called')
})

t.test('site, whose nginx keeps answers: gives none of ours to anybody else, and no 204 to everybody', async (t) => {
  const issuer = createIssuer()
  const node = await startNode(t, { env: { ...issuer.env, TRUST_PROXY: 'loopback' } })
  const front = await startNginx(t, { nodes: [node.port] })
  const folder = makeFolder(t)
  for (const behind of [front.url, node.url]) {
    const zone = `z${new URL(behind).port}`
    const site = await startOtherNginx(t, `large_client_header_buffers 4 64k; location / { proxy_pass ${behind}; proxy_cache ${zone}; proxy_cache_valid any 1h; }`, { http: `proxy_cache_path ${folder}/${zone} keys_zone=${zone}:1m;` })
    const ask = async (path: string, headers: Record<string, string> = {}): Promise<number> => {
      const stop = new AbortController()
      const { status } = await fetch(`${site}${path}`, { headers, signal: stop.signal })
      stop.abort()
      return status
    }
    const authorization = `Bearer ${issuer.token({ sub: 'ann', scope: MANAGE })}`
    t.equal(await ask('/api/notifications/subscribe', { 'last-event-id': '!closed' }), 204)
    t.equal(await ask('/api/notifications/subscribe', { authorization }), 200, 'a stream')
    for (const path of ['/api/users/ann/groups', '/api/users/ann/presence', '/api/notifications/position']) {
      t.equal(await ask(path), 401)
      t.equal(await ask(path, { authorization }), 200, path)
      t.equal(await ask(path), 401, path)
    }
    t.equal(await ask('/api/notifications', { cookie: `a=${'x'.repeat(5000)}; b=${'x'.repeat(5000)}; c=${'x'.repeat(7500)}` }), 431)
    t.equal(await ask('/api/notifications', { authorization }), 200, 'after one whose headers were too large')
  }
})

t.test('docs/deployment.md, settings of compose: each with its default as docker-compose.yml has it, and none left out', async (t) => {
  const rows = [...page.matchAll(/^\| `([A-Z_]+)` \| (.*?) \| .* \|$/gm)].map(([, name, value]) => `${name} ${value!.replaceAll('`', '')}`)
  const ours = /^(TIDINGS_(?!TLS|CERT|BALANCERS)|REDIS_(PASSWORD|MAX|MEMORY)|NODE_MEMORY|NGINX_)/
  const used = [...new Set([...read('docker-compose.yml').matchAll(/\$\{([A-Z_]+):-([^}]*)\}/g)].map(([, name, value]) => `${name} ${value}`))].filter((entry) => ours.test(entry))
  t.same(rows.filter((row) => ours.test(row)).sort(), used.sort())
  for (const name of ['TIDINGS_TLS_PORT', 'TIDINGS_CERTIFICATES', 'TIDINGS_BALANCERS']) {
    t.ok(rows.includes(`${name} unset`), name)
    t.match(read('docker-compose.yml'), name)
    t.match(read('ops/nginx/start.sh'), name)
  }
})

t.test('docs/deployment.md, limits: the numbers of nginx.conf', async (t) => {
  const conf = read('nginx.conf')
  const limits = page.slice(page.indexOf('### Limits'), page.indexOf('## Under your own site'))
  const number = (pattern: RegExp): string => Number(pattern.exec(conf)?.[1]).toLocaleString('en')
  for (const [row, pattern] of [
    ['open streams | $', /limit_conn streams (\d+);/], ['other requests under way | $', /limit_conn requests (\d+);/],
    ['new streams | $ a second', /zone=stream_rate:10m rate=(\d+)r/], ['other requests | $ a second', /zone=request_rate:10m rate=(\d+)r/],
    [', $ at once | the same', /zone=stream_rate burst=(\d+) nodelay/], [', $ at once | 429', /zone=request_rate burst=(\d+) nodelay/],
    ['groups | $ MB', /client_max_body_size (\d+)m;/], ['any other body | $ KB', /client_max_body_size (\d+)k;/]
  ] as const) t.match(limits, row.replace('$', number(pattern)))
})
