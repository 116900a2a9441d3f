// TLS and HTTP/2 in front, as docker-compose.yml has it with TIDINGS_TLS_PORT: more tabs of one origin than HTTP/1.1 has connections for.
import t from 'tap'
import { openPage, startBrowser, type PageStream } from '../fixtures/browser.ts'
import { startFront } from '../fixtures/nginx.ts'
import { startNode } from '../fixtures/node.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'

const TABS = 8

t.test(`tabs, ${TABS} of one origin over TLS and HTTP/2: all live, and the last one still gets an answer`, async (t) => {
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
  const { page } = tabs.at(-1)!
  const seen = await page.evaluate(async () => {
    const scope = globalThis as any
    const response = await scope.fetch('/api/notifications/tickets', { method: 'POST' })
    await response.text()
    // Entered when the browser has the whole answer, a moment after the page.
    const entry = await new Promise<any>((resolve) => {
      new scope.PerformanceObserver((list: any) => {
        const found = list.getEntries().find(({ name }: { name: string }) => name.endsWith('/tickets'))
        if (found !== undefined) resolve(found)
      }).observe({ type: 'resource', buffered: true })
    })
    return { status: response.status, protocol: entry.nextHopProtocol }
  })
  t.same(seen, { status: 201, protocol: 'h2' }, 'the page of the last tab may fetch, by its cookie')
  const answer = await fetch(`${node.url}/api/notifications`, {
    method: 'POST', headers: { authorization: `Bearer ${issuer.token({ sub: 'shop', scope: PUBLISH })}`, 'content-type': 'application/json' }, body: '{"to":"user:ann","data":"to every tab"}'
  })
  t.equal(answer.status, 202)
  for (const tab of tabs) await tab.until(() => tab.events.find(({ json }) => json === 'to every tab'), 'the notification')
  t.same(await Promise.all(tabs.map((tab) => tab.readyState())), tabs.map(() => 1))
})
