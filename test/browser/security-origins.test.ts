// Chromium on pages of other origins: the one in CORS_ORIGINS works in full, every other is refused, and its cookie speaks for nobody.
import t from 'tap'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Page } from 'playwright-core'
import { startBrowser } from '../fixtures/browser.ts'
import { startCluster } from '../fixtures/cluster.ts'
import { MANAGE, PUBLISH } from '../fixtures/tokens.ts'
import { eventually } from '../fixtures/wait.ts'

/** A site of somebody: an empty page. */
async function startSite (hostname: string): Promise<string> {
  const server = http.createServer((_request, response) => { response.setHeader('content-type', 'text/html').end('<!doctype html><title>a site</title>') }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `http://${hostname}:${(server.address() as AddressInfo).port}`
}
const app = await startSite('127.0.0.1')
// The same site (cookies know no ports), another origin; and another site altogether.
const [sister, foreign] = [await startSite('127.0.0.1'), await startSite('localhost')]
const cluster = await startCluster(t, { env: { CORS_ORIGINS: app, LOG_LEVEL: 'debug', RETRY_MS: '300' } })
const { nginx, nodes, call } = cluster
const service = nginx.url
const requests = () => cluster.nodes.flatMap(({ logs }) => logs.filter(({ msg }) => msg === 'request'))

/** A page of that site, in a browser of its own that holds the user's token in the laxest cookie there is. */
async function visit (t: any, site: string, sub: string): Promise<Page> {
  const browser = await startBrowser(t)
  const value = cluster.token({ sub, scope: `${PUBLISH} ${MANAGE}` })
  await browser.addCookies([{ name: 'tidings_token', value, domain: '127.0.0.1', path: '/', httpOnly: true, secure: true, sameSite: 'None' }])
  const page = await browser.newPage()
  await page.goto(site)
  await page.evaluate(() => {
    const scope = globalThis as any
    scope.listen = (url: string) => {
      const source = new scope.EventSource(url, { withCredentials: true })
      const heard: unknown[] = scope.heard = []
      source.addEventListener('sync', ({ data }: { data: string }) => heard.push(`sync ${JSON.parse(data).resume}`))
      source.addEventListener('closed', () => heard.push('closed'))
      source.onmessage = ({ data }: { data: string }) => heard.push(`message ${data}`)
      source.onerror = () => heard.push(`error ${source.readyState}`)
    }
    scope.ask = async (url: string, options: object) => {
      try {
        const answer = await scope.fetch(url, { credentials: 'include', ...options })
        return { status: answer.status, type: answer.type, text: await answer.text() }
      } catch (error) {
        return { status: 'failed', text: String(error) }
      }
    }
  })
  return page
}
const listen = async (page: Page, path = '/api/notifications/subscribe') => await page.evaluate((url) => (globalThis as any).listen(url), service + path)
const hears = async (page: Page, what: string) => await page.waitForFunction((what) => (globalThis as any).heard.includes(what), what, { timeout: 20_000 })
const ask = async (page: Page, path: string, options: object = {}): Promise<{ status: number | string, text: string }> =>
  await page.evaluate(async ({ url, options }) => await (globalThis as any).ask(url, options), { url: service + path, options })

t.test('origin in CORS_ORIGINS: the stream with credentials, through the loss of every node; and every kind of request', async (t) => {
  const page = await visit(t, app, 'ann')
  await listen(page)
  await hears(page, 'sync fresh')
  const json = { 'content-type': 'application/json' }
  t.match(await ask(page, '/api/notifications', { method: 'POST', headers: { ...json, 'idempotency-key': 'k' }, body: JSON.stringify({ to: 'user:ann', data: 1 }) }), { status: 202 })
  await hears(page, 'message 1')
  t.match(await ask(page, '/api/users/ann/groups/g', { method: 'PUT' }), { status: 200 })
  t.match(await ask(page, '/api/users/ann/groups/g', { method: 'DELETE' }), { status: 200 })
  t.match(await ask(page, '/api/users/ann/groups', { method: 'PUT', headers: json, body: '{"groups":["a"]}' }), { status: 200 })
  t.match(await ask(page, '/api/users/ann/presence'), { status: 200, text: /"online":true/ })
  t.match(await ask(page, '/api/users/ann/streams', { method: 'PUT' }), { status: 405 }, 'a refusal can be read too')

  await Promise.all(nodes.map((node) => node.kill()))
  await page.waitForFunction(() => (globalThis as any).heard.filter((one: string) => one === 'error 0').length >= 2, undefined, { timeout: 20_000 })
  await Promise.all(nodes.map((_, index) => cluster.restart(index)))
  await hears(page, 'sync complete')

  const { text } = await eventually(async () => await ask(page, '/api/notifications/tickets', { method: 'POST' }), ({ status }) => status === 201, { what: 'a ticket' })
  // nginx may hold connections to the nodes that were killed, and never sends a DELETE twice: then its answer is 503, which can be read too.
  await eventually(async () => await ask(page, '/api/users/ann/streams', { method: 'DELETE' }), ({ status }) => status === 204, { what: 'logout from the page' })
  await hears(page, 'closed')
  await hears(page, 'error 2')
  t.match(JSON.parse(text), { expiresIn: 30 })
})

t.test('ticket, on a page in CORS_ORIGINS of the same site: the stream sets its pass and outlives its node', async (t) => {
  const page = await visit(t, app, 'tess')
  const { text } = await ask(page, '/api/notifications/tickets', { method: 'POST' })
  await page.context().clearCookies({ name: 'tidings_token' })
  await listen(page, `/api/notifications/subscribe?ticket=${JSON.parse(text).ticket}`)
  await hears(page, 'sync fresh')
  await Promise.all(nodes.map(async (node, index) => {
    await node.kill()
    await cluster.restart(index)
  }))
  await hears(page, 'sync complete')
})

for (const [what, site] of [['of the same site', sister], ['of another site', foreign]] as const) {
  t.test(`origin not in CORS_ORIGINS, ${what}: sees nothing, does nothing, holds no stream, though the browser sends the cookie`, async (t) => {
    const sub = `bob-${what.length}`
    const page = await visit(t, site, sub)
    const begin = Date.now()
    await listen(page)
    await hears(page, 'error 2')
    t.equal(await page.evaluate(() => (globalThis as any).heard.length), 1)

    for (const [path, options] of [
      ['/api/notifications', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ to: 'all', data: 'evil' }) }],
      ['/api/notifications', { method: 'POST', body: JSON.stringify({ to: 'all', data: 'evil' }) }], // text/plain: no preflight
      ['/api/notifications/tickets', { method: 'POST' }],
      [`/api/users/${sub}/streams`, { method: 'DELETE' }],
      [`/api/users/${sub}/groups/admin`, { method: 'PUT' }],
      [`/api/users/${sub}/groups`, {}]
    ] as const) t.match(await ask(page, path, options), { status: 'failed' }, `${JSON.stringify(options)} ${path}`)
    for (const path of ['/api/notifications', '/api/notifications/tickets']) {
      t.match(await ask(page, path, { method: 'POST', mode: 'no-cors', body: '{"to":"all","data":"evil"}' }), { status: 'failed' }, 'no-cors: sent, but nothing of the answer comes back')
    }
    // No script at all: an image, and a form.
    await page.evaluate((url) => {
      const { document } = globalThis as any
      document.body.append(Object.assign(document.createElement('img'), { src: url }))
    }, `${service}/api/notifications/subscribe?lastEventId=1`)
    await page.evaluate((url) => {
      const { document } = globalThis as any
      const form = Object.assign(document.createElement('form'), { method: 'post', action: url, enctype: 'text/plain' })
      document.body.append(form)
      form.submit()
    }, `${service}/api/notifications/tickets`)

    // POST: fetch text/plain, tickets, two no-cors, the form; GET: EventSource, image, groups. The others stop at their preflight.
    const arrived = await eventually(async () => requests().filter(({ time, method, route }) => time >= begin && method !== 'OPTIONS' && route !== undefined), (found) => found.length >= 8, { what: 'their requests have arrived' })
    for (const { method, route, statusCode } of arrived) {
      // 415: text/plain, refused before anybody asks who sent it.
      t.ok(statusCode === 403 || (method === 'POST' && statusCode === 415), `${method} ${route}: refused, ${statusCode}`)
    }
    t.ok(arrived.filter(({ method, statusCode }) => method === 'GET' && statusCode === 403).length >= 3, 'the cookie came, and was refused for where it came from')
    t.match((await call('GET', `${service}/api/users/${sub}/presence`)).body, { online: false }, 'no stream was opened')
    t.match((await call('GET', `${service}/api/users/${sub}/groups`)).body, { groups: [] })
  })
}
