// What a browser makes of it: two tabs and "use here", a token renewed in its cookie, logout, a ticket whose stream loses its node.
import t from 'tap'
import type { Page } from 'playwright-core'
import { gotoBlank, openPage, startBrowser } from '../fixtures/browser.ts'
import { startCluster } from '../fixtures/cluster.ts'

const cluster = await startCluster(t, { env: { SESSION_POLICY: 'single', RETRY_MS: '300', EXPIRING_SECONDS: '2' } })
const { nginx, nodes, call } = cluster
const now = (): number => Math.floor(Date.now() / 1000)
const send = async (to: string, data: unknown) => await call('POST', `${nginx.url}/api/notifications`, { to, data })

t.test('two tabs, in one browser: the first stops by itself, "use here" takes the session back', async (t) => {
  const browser = await startBrowser(t)
  const open = async (name: string) => await openPage(browser, { origin: nginx.url, token: cluster.token({ sub: 'ann' }), name })
  const first = await open('the first tab')
  await first.until(() => first.syncs[0], 'its sync')
  const second = await open('the second tab')
  await second.until(() => second.syncs[0], 'its sync')
  await first.until(() => first.errors.includes(2) ? true : undefined, 'the state CLOSED')
  t.match(first.events.at(-1), { event: 'replaced', id: '!replaced' })
  t.same(first.errors, [0, 2], 'one reconnect, answered 204')
  await send('user:ann', 'for the second')
  await second.until(() => second.events.find(({ json }) => json === 'for the second'), 'a notification')

  const here = await open('the first tab, "use here"')
  await here.until(() => here.syncs[0], 'its sync')
  await second.until(() => second.errors.includes(2) ? true : undefined, 'the state CLOSED')
  await send('user:ann', 'here')
  await here.until(() => here.events.find(({ json }) => json === 'here'), 'a notification')
  t.equal(await here.readyState(), 1)
  t.same([await first.readyState(), await second.readyState()], [2, 2], 'nobody kicks back')
})

t.test('token, renewed in its cookie when "expiring" is said: the page reconnects by itself and resumes complete', async (t) => {
  const browser = await startBrowser(t)
  const tab = await openPage(browser, { origin: nginx.url, token: cluster.token({ sub: 'bob', groups: ['Complaints'], exp: now() + 4 }), name: 'the page', names: ['expiring'] })
  await tab.until(() => tab.syncs[0], 'its sync')
  const { json } = await tab.until(() => tab.events.find(({ event }) => event === 'expiring'), '"expiring"')
  t.ok(new Date(json.at).getTime() > Date.now(), 'it is said before')
  await browser.addCookies([{ name: 'tidings_token', value: cluster.token({ sub: 'bob', groups: ['Complaints'] }), url: nginx.url, httpOnly: true }])
  await send('group:Complaints', 'before the end')
  await tab.until(() => tab.errors.length > 0 ? true : undefined, 'the end')
  await send('group:Complaints', 'in between')
  const again = await tab.until(() => tab.syncs[1], 'the second sync')
  t.match(again.json, { resume: 'complete', groups: ['Complaints'] })
  await tab.until(() => tab.events.find(({ json }) => json === 'in between'), 'what was sent in between')
  t.same(tab.events.filter(({ event }) => event === 'message').map(({ json }) => json), ['before the end', 'in between'])
  t.same(tab.errors, [0])
})

t.test('token, not renewed: the page is refused and stops', async (t) => {
  const browser = await startBrowser(t)
  const tab = await openPage(browser, { origin: nginx.url, token: cluster.token({ sub: 'carol', exp: now() + 3 }), name: 'the page' })
  await tab.until(() => tab.syncs[0], 'its sync')
  await tab.until(() => tab.errors.includes(2) ? true : undefined, 'the state CLOSED')
  t.same(tab.errors, [0, 2])
})

t.test('logout: the page is told and stops by itself', async (t) => {
  const browser = await startBrowser(t)
  const tab = await openPage(browser, { origin: nginx.url, token: cluster.token({ sub: 'dave' }), name: 'the page' })
  await tab.until(() => tab.syncs[0], 'its sync')
  await call('DELETE', `${nginx.url}/api/users/dave/streams`)
  await tab.until(() => tab.errors.includes(2) ? true : undefined, 'the state CLOSED')
  t.match(tab.events.at(-1), { event: 'closed', json: { reason: 'logout' } })
  t.same(tab.errors, [0, 2])
})

/** A page without a token of its own, and an EventSource of this URL in it. */
async function openTicket (page: Page, name: string, ticket: string): Promise<void> {
  await page.evaluate(({ name, ticket }) => {
    const scope = globalThis as any
    const source = new scope.EventSource(`/api/notifications/subscribe?ticket=${ticket}`)
    const heard: unknown[] = scope[name] = []
    source.addEventListener('sync', ({ data }: { data: string }) => heard.push(['sync', JSON.parse(data).resume]))
    source.onmessage = ({ data }: { data: string }) => heard.push(['message', JSON.parse(data)])
    source.onerror = () => heard.push(['error', source.readyState])
  }, { name, ticket })
}
const hears = async (page: Page, name: string, what: unknown[], times = 1): Promise<unknown> => await page.waitForFunction(({ name, what, times }) =>
  (globalThis as any)[name].filter((one: unknown) => JSON.stringify(one) === what).length >= times, { name, what: JSON.stringify(what), times }, { timeout: 20_000 })

t.test('tickets, of two users in one browser: their nodes are killed, both reconnect by themselves with spent ticket and pass', async (t) => {
  const browser = await startBrowser(t)
  const page = await browser.newPage()
  await gotoBlank(page, nginx.url)
  for (const sub of ['erin', 'frank']) {
    const { body } = await call('POST', `${nginx.url}/api/notifications/tickets`, undefined, { authorization: `Bearer ${cluster.token({ sub })}` })
    await openTicket(page, sub, body.ticket)
    await hears(page, sub, ['sync', 'fresh'])
  }
  const passes = (await browser.cookies()).filter(({ name }) => name.startsWith('tidings_pass_'))
  t.equal(passes.length, 2)
  for (const { httpOnly, secure, sameSite, path } of passes) t.same({ httpOnly, secure, sameSite, path }, { httpOnly: true, secure: true, sameSite: 'Strict', path: '/api/notifications/subscribe' })
  t.equal(await page.evaluate(() => (globalThis as any).document.cookie), '', 'no script can read them')

  await Promise.all(nodes.map((node) => node.kill()))
  for (const sub of ['erin', 'frank']) await hears(page, sub, ['error', 0], 2)
  await Promise.all(nodes.map((_, index) => cluster.restart(index)))
  for (const sub of ['erin', 'frank']) {
    await hears(page, sub, ['sync', 'complete'])
    await send(`user:${sub}`, `for ${sub}`)
    await hears(page, sub, ['message', `for ${sub}`])
    const heard = await page.evaluate((name) => (globalThis as any)[name], sub) as unknown[][]
    t.notOk(heard.some(([what, state]) => what === 'error' && state === 2), `${sub} was never stopped`)
  }

  await browser.clearCookies()
  await Promise.all(nodes.map((node) => node.kill()))
  await Promise.all(nodes.map((_, index) => cluster.restart(index)))
  for (const sub of ['erin', 'frank']) await hears(page, sub, ['error', 2])
  t.pass('without the pass the spent ticket is refused')
})
