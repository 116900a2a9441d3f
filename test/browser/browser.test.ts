// Chromium with nothing but its own EventSource, through the real nginx: it receives, outlives the nodes, and stops when told to.
import t from 'tap'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { openPage, startBrowser } from '../fixtures/browser.ts'
import { startCluster } from '../fixtures/cluster.ts'
import { Ledger } from '../fixtures/ledger.ts'

// RETRY_MS as it is by default: what a browser really waits.
const cluster = await startCluster(t, { env: { RETRY_MS: '3000' } })
const { nginx, nodes, publish, redis } = cluster
const browser = await startBrowser(t)

t.test('a page, with a plain EventSource through nginx, receives and outlives all nodes', async (t) => {
  const ledger = new Ledger(t)
  const token = cluster.token({ sub: 'ada', groups: ['Complaints'] })
  const stream = await openPage(browser, { origin: nginx.url, token, name: 'the page', names: ['stock'] })
  t.teardown(() => stream.page.close())
  const [first] = await stream.until(() => stream.syncs.length > 0 ? stream.syncs : undefined, 'the sync')
  t.match(first, { id: /^\d+$/, json: { resume: 'fresh', groups: ['Complaints'] } })
  ledger.open(stream, ['user:ada', 'group:Complaints'])
  const some = async () => {
    for (const { url } of nodes) {
      for (const to of ['user:ada', 'group:Complaints', 'all', 'user:somebody-else']) await publish(ledger, { to, at: [url], value: 'ü\n\u2028' })
      await publish(ledger, { to: 'user:ada', event: 'stock', at: [url] })
    }
  }
  await some()
  await ledger.settled()
  ledger.assertExact(t, 'it got exactly what it was owed')

  await Promise.all(nodes.map((node) => node.kill()))
  // One error for the line that was lost, more for nginx, which answers in the nodes' stead.
  await stream.until(() => stream.errors.length >= 3 ? true : undefined, 'three errors', 30_000)
  const data = { mark: ledger.mark() }
  const [id] = await redis.cli('FCALL', 'tidings_publish', 1, redis.prefix, 'group:Complaints', 'message', JSON.stringify(data)) as [string]
  ledger.sent({ to: 'group:Complaints', id, data })
  await Promise.all(nodes.map((_, index) => cluster.restart(index)))
  await some()
  const second = await stream.until(() => stream.syncs[1], 'the sync of the resumed stream', 30_000)
  t.match(second, { json: { resume: 'complete' } })
  await some()
  await ledger.settled()
  ledger.assertExact(t, 'nothing was lost and nothing came twice')
  t.ok(stream.errors.every((readyState) => readyState === 0), 'its state was never CLOSED')
  t.equal(await stream.readyState(), 1)
})

t.test('a page, whose last event had an id that starts with "!", is answered 204 and stops', async (t) => {
  // Stands for a node that ends a stream for good; what comes back after that goes to the real one.
  const asked: (string | undefined)[] = []
  const door = http.createServer((request, response) => {
    if (request.url !== '/api/notifications/subscribe') return response.end('a page')
    asked.push(request.headers['last-event-id'] as string | undefined)
    if (asked.length === 1) {
      response.setHeader('content-type', 'text/event-stream')
      return response.end('retry: 50\n\nid: !replaced\nevent: replaced\ndata: {}\n\n')
    }
    const { hostname, port } = new URL(nginx.url)
    request.pipe(http.request({ hostname, port, path: request.url, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(response)
    }))
  }).listen(0, '127.0.0.1')
  await once(door, 'listening')
  t.teardown(() => {
    door.closeAllConnections()
    door.close()
  })
  const origin = `http://127.0.0.1:${(door.address() as AddressInfo).port}`
  const stream = await openPage(browser, { origin, token: cluster.token({ sub: 'ada' }), name: 'the replaced page' })
  t.teardown(() => stream.page.close())
  await stream.until(() => stream.errors.includes(2) ? true : undefined, 'the state CLOSED')
  t.same(asked, [undefined, '!replaced'])
  t.same(stream.errors, [0, 2])
  t.match(stream.events, [{ event: 'replaced' }])

  const again = await openPage(browser, { origin: nginx.url, token: cluster.token({ sub: 'ada' }), name: 'the page, opened again' })
  t.teardown(() => again.page.close())
  t.match(await again.until(() => again.syncs[0], 'the sync'), { json: { resume: 'fresh' } }, '"use here" works')
})
