// TLS and HTTP/2 in front, as docker-compose.yml has it with TIDINGS_TLS_PORT: more tabs of one origin than HTTP/1.1 has connections for.
import t from 'tap'
import { openPage, startBrowser, type PageStream } from '../fixtures/browser.ts'
import { startFront } from '../fixtures/nginx.ts'
import { startNode } from '../fixtures/node.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'

const TABS = 8

t.test(`tabs, ${TABS} of one origin over TLS and HTTP/2: all live on one connection, and each still gets an answer`, async (t) => {
  const issuer = createIssuer()
  const node = await startNode(t, { env: { ...issuer.env, TRUST_PROXY: 'loopback' } })
  const front = await startFront(t, { nodes: [node.port] })
  const browser = await startBrowser(t, { ignoreHTTPSErrors: true })
  const token = issuer.token({ sub: 'ann' })
  const tabs: PageStream[] = []
  for (let i = 1; i <= TABS; i++) {
    const tab = await openPage(browser, { origin: front.tlsUrl, token, name: `tab ${i}` })
    await tab.until(() => tab.syncs[0], 'its sync')
    tabs.push(tab)
  }
  // By its cookie, beside its stream: which connection it took, the browser's own tools say.
  const answers = await Promise.all(tabs.map(async ({ page }) => {
    const tools = await page.context().newCDPSession(page)
    await tools.send('Network.enable')
    const received = new Promise<{ status: number, protocol?: string, connectionId: number }>((resolve) => {
      tools.on('Network.responseReceived', ({ response }) => { if (response.url.endsWith('/tickets')) resolve(response) })
    })
    await page.evaluate(async () => { await (globalThis as any).fetch('/api/notifications/tickets', { method: 'POST' }) })
    return await received
  }))
  t.same(answers.map(({ status, protocol }) => `${status} ${protocol}`), tabs.map(() => '201 h2'))
  t.equal(new Set(answers.map(({ connectionId }) => connectionId)).size, 1, 'one for all')
  const answer = await fetch(`${node.url}/api/notifications`, {
    method: 'POST', headers: { authorization: `Bearer ${issuer.token({ sub: 'shop', scope: PUBLISH })}`, 'content-type': 'application/json' }, body: '{"to":"user:ann","data":"to every tab"}'
  })
  t.equal(answer.status, 202)
  for (const tab of tabs) await tab.until(() => tab.events.find(({ json }) => json === 'to every tab'), 'the notification')
  t.same(await Promise.all(tabs.map((tab) => tab.readyState())), tabs.map(() => 1))
})
