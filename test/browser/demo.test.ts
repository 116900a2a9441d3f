// The demo as a visitor meets it: the lines that it prints work, and its page shows two users' streams side by side.
import t from 'tap'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { startBrowser } from '../fixtures/browser.ts'
import { connect } from '../fixtures/client.ts'
import { spawnChild } from '../fixtures/process.ts'
import { eventually } from '../fixtures/wait.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Where screenshots go: SCREENSHOT_DIR, else a folder that git ignores. */
const shots = process.env.SCREENSHOT_DIR ?? join(root, '.tap', 'screenshots')
mkdirSync(shots, { recursive: true })

const demo = spawnChild(t, process.execPath, ['demo/main.ts'], { cwd: root, name: 'the demo', env: { ...process.env, PORT: '0' } })
const url = /http:\/\/\S+/.exec(await demo.waitForLine(/Open the page/))![0]
await demo.waitForLine(/Ctrl-C ends it/)
const browser = await startBrowser(t, { viewport: { width: 1280, height: 900 } })

/** The titles that one user's column shows, newest first. */
const titles = (page: Page, user: string) => page.locator(`#${user} .item strong`).allTextContents()
const live = (page: Page, user: string) => page.locator(`#${user} .state[data-state=live]`).waitFor()

async function publish (page: Page, to: string, title: string): Promise<void> {
  await page.locator(`input[name=to][value="${to}"]`).check({ force: true })
  await page.locator('#title').fill(title)
  await page.locator('#message').fill('Published on one node, read on both.')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.locator('#answers li .head', { hasText: `202${to}` }).first().waitFor()
}

/** The token with which a curl line listens as this user. */
const tokenOf = (user: string): string => demo.lines.map((line) => /^curl -N .*Bearer ([^"]+)"/.exec(line)?.[1]).find((token) =>
  token !== undefined && JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()).sub === user)!

const badge = (page: Page, device: string, text: string) => page.locator(`#${device} .badge:not([hidden])`, { hasText: new RegExp(`^${text}$`) }).waitFor()
const noBadge = (page: Page, device: string) => page.locator(`#${device} .badge[hidden]`).waitFor({ state: 'attached' })
/** Opens the list, or closes it. */
const click = (page: Page, device: string) => page.locator(`#${device} .bell`).click()

/** Opens the lists and closes them: what earlier tests left is not new any more. */
async function seeAll (page: Page, ...devices: string[]): Promise<void> {
  for (const device of devices) await click(page, device)
  for (const device of devices) await noBadge(page, device)
  for (const device of devices) await click(page, device)
  for (const device of devices) await page.locator(`#${device} .inbox[hidden]`).waitFor({ state: 'attached' })
}

async function openDemo (): Promise<{ page: Page, faults: string[] }> {
  const page = await browser.newPage()
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(String(error)))
  page.on('console', (message) => { if (message.type() === 'error') faults.push(message.text()) })
  await page.goto(url)
  await Promise.all([live(page, 'alice'), live(page, 'bob')])
  return { page, faults }
}

t.test('the page, with Publish clicked, shows it in the columns of those it is for', async (t) => {
  const { page, faults } = await openDemo()
  t.teardown(() => page.close())
  await publish(page, 'user:alice', 'For Alice')
  await publish(page, 'user:bob', 'For Bob')
  await publish(page, 'group:Complaints', 'For both, by group')
  await page.locator('input[name=node][value="1"]').check({ force: true })
  await publish(page, 'group:Sales', 'For Alice, by group')
  await publish(page, 'all', 'For everyone')
  for (const user of ['alice', 'bob']) await page.locator(`#${user} .item strong`, { hasText: 'For everyone' }).waitFor()
  t.same(await titles(page, 'alice'), ['For everyone', 'For Alice, by group', 'For both, by group', 'For Alice'])
  t.same(await titles(page, 'bob'), ['For everyone', 'For both, by group', 'For Bob'])
  const ids = await page.locator('#alice .item .id').allTextContents()
  t.ok(ids.every((id) => /\d{16}/.test(id)), `ids are shown: ${ids.join(', ')}`)
  t.same(faults, [], 'the console has no error')

  await page.screenshot({ animations: 'disabled', path: join(shots, 'demo.png') })
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.screenshot({ animations: 'disabled', path: join(shots, 'demo-dark.png') })
  await page.emulateMedia({ colorScheme: 'light' })
  await page.setViewportSize({ width: 390, height: 844 })
  await page.screenshot({ animations: 'disabled', path: join(shots, 'demo-narrow.png'), fullPage: true })
  t.comment(`screenshots: ${shots}`)
})

t.test('the page, where a user is disconnected and comes back, replays what was missed', async (t) => {
  const { page, faults } = await openDemo()
  t.teardown(() => page.close())
  await page.locator('#bob .toggle').click()
  await page.locator('#bob .state[data-state=closed]').waitFor()
  t.equal(await page.locator('#bob .inbox').getAttribute('inert'), '', 'his list takes no clicks meanwhile')
  await publish(page, 'all', 'While Bob was away')
  await page.locator('#alice .item strong', { hasText: 'While Bob was away' }).waitFor()
  await page.locator('#bob .toggle').click()
  await page.locator('#bob .item[data-replayed] strong', { hasText: 'While Bob was away' }).waitFor()
  await live(page, 'bob')
  t.match(await page.locator('#bob [data-fact=resume]').textContent(), 'complete')
  t.same(faults, [])
})

t.test('the bell: a badge on each device, read here is read there, and Bob\'s own is not touched; taken back is gone; a reserved name is refused and shown as nothing', async (t) => {
  const { page } = await openDemo()
  t.teardown(() => page.close())
  const first = page.locator('#alice .inbox li').first()
  await seeAll(page, 'alice', 'bob', 'phone')
  await publish(page, 'user:bob', 'Bob\'s own')
  await badge(page, 'bob', '1')
  // Everything that Bob's bell shows from here on.
  const shownToBob = await page.evaluateHandle(`(() => {
    const element = document.querySelector('#bob .badge')
    const shown = []
    const note = () => {
      const text = element.hidden ? 'none' : element.textContent
      if (shown.at(-1) !== text) shown.push(text)
    }
    note()
    new MutationObserver(note).observe(element, { attributes: true, childList: true, characterData: true, subtree: true })
    return shown
  })()`)

  await publish(page, 'user:alice', 'For the bell')
  for (const device of ['alice', 'phone']) await badge(page, device, '1')
  await click(page, 'phone')
  for (const device of ['alice', 'phone']) await noBadge(page, device)
  await click(page, 'alice')
  await first.getByRole('button', { name: 'Read: For the bell', exact: true }).click()
  await page.locator('#phone .inbox li[data-read=true]', { hasText: 'For the bell' }).waitFor()
  await first.getByRole('button', { name: 'Unread' }).click()
  await page.locator('#phone .inbox li[data-read=false]', { hasText: 'For the bell' }).waitFor()
  await page.locator('#phone').getByRole('button', { name: 'All read' }).click()
  await page.locator('#alice .inbox li[data-read=true]', { hasText: 'For the bell' }).waitFor()
  // With nothing newer, too.
  await first.getByRole('button', { name: 'Unread' }).click()
  await page.locator('#phone .inbox li[data-read=false]', { hasText: 'For the bell' }).waitFor()
  await page.locator('#phone').getByRole('button', { name: 'All read' }).click()
  await page.locator('#alice .inbox li[data-read=true]', { hasText: 'For the bell' }).waitFor()
  await page.screenshot({ animations: 'disabled', path: join(shots, 'demo-bell.png') })
  await page.getByRole('button', { name: 'Take back' }).first().click()
  for (const device of ['alice', 'phone']) {
    await page.locator(`#${device} .inbox li`, { hasText: 'For the bell' }).waitFor({ state: 'detached' })
    await page.locator(`#${device} .item[data-retracted]`, { hasText: 'For the bell' }).waitFor()
  }
  await publish(page, 'user:alice', 'While the list is open')
  await page.locator('#phone .inbox li', { hasText: 'While the list is open' }).waitFor()
  for (const device of ['alice', 'phone']) await noBadge(page, device)
  // Bob hears of this one, so he would have heard of the others.
  await publish(page, 'group:Complaints', 'For both')
  await badge(page, 'bob', '2')
  t.same(await shownToBob.jsonValue(), ['1', '2'])
  t.equal(await page.locator('#bob [data-fact=unread]').textContent(), String(await page.locator('#bob .inbox li[data-read=false]').count()))

  const items = await page.locator('#alice .item').count()
  await page.locator('#event').fill('sync')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.locator('#answers .failed', { hasText: 'TIDINGS_RESERVED_EVENT' }).waitFor()
  await page.locator('#event').fill('e'.repeat(64))
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.locator('#alice .item .event', { hasText: 'e'.repeat(64) }).waitFor()
  t.equal(await page.locator('#alice .item').count(), items + 1)
  t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'a long name breaks, not the page')
})

t.test('a node that cannot be reached: said, and taken back when a stream is live again', async (t) => {
  const { page } = await openDemo()
  t.teardown(() => page.close())
  await page.route('**/api/users/**/groups/**', async (route) => { await route.abort() })
  await page.locator('#bob [data-group=Sales]').click()
  await page.locator('#notice:not([hidden])', { hasText: 'node 1 cannot be reached.' }).waitFor()
  await page.locator('#bob .toggle').click()
  await page.locator('#bob .state[data-state=closed]').waitFor()
  await page.locator('#bob .toggle').click()
  await page.locator('#notice').waitFor({ state: 'hidden' })
})

t.test('the options of the form: what has outlived its ttl is gone from list and badge, a key takes the older one\'s place, keep says what is listed; dismissed is gone on the other device', async (t) => {
  const { page, faults } = await openDemo()
  t.teardown(() => page.close())
  const devices = ['alice', 'phone']
  const listed = (device: string, title: string) => page.locator(`#${device} .inbox li`, { hasText: title })
  /** In the list, which may be closed. */
  const isListed = async (title: string) => { for (const device of devices) await listed(device, title).waitFor({ state: 'attached' }) }
  const received = (title: string) => page.locator('#alice .item strong', { hasText: title }).waitFor()
  await seeAll(page, ...devices)
  await page.locator('[name=ttl]').fill('8')
  await publish(page, 'user:alice', 'For eight seconds')
  await isListed('For eight seconds')
  for (const device of devices) await badge(page, device, '1')
  await page.locator('[name=ttl]').fill('')
  await page.locator('[name=key]').fill('order 7')
  await publish(page, 'user:alice', 'On its way')
  await isListed('On its way')
  await publish(page, 'user:alice', 'Delivered')
  await isListed('Delivered')
  for (const device of devices) await listed(device, 'On its way').waitFor({ state: 'detached' })
  await page.locator('[name=key]').fill('')
  await page.locator('[name=keep]').selectOption('replay')
  await publish(page, 'user:alice', 'Only replayed')
  await page.locator('[name=keep]').selectOption('none')
  await publish(page, 'user:alice', 'Only live')
  for (const title of ['Only replayed', 'Only live']) await received(title)
  const answer = page.locator('#answers li').first()
  await answer.filter({ hasText: /no id.*seen: .*phone \d+ ms/s }).waitFor()
  await publish(page, 'user:alice', 'Only live, again')
  await received('Only live, again')
  await page.locator('#answers li', { hasText: 'no id' }).nth(1).waitFor()
  await answer.filter({ hasText: /no id.*seen: .*phone \d+ ms/s }).waitFor()
  t.equal((await answer.textContent())!.match(/phone/g)?.length, 1, 'each device saw the second one once')
  await page.locator('[name=keep]').selectOption('inbox')

  const ask = async () => await (await fetch(`${url}api/notifications/position`, { headers: { authorization: `Bearer ${tokenOf('alice')}` } })).json() as { unseen: number }
  await eventually(ask, ({ unseen }) => unseen === 1, { what: 'the end of the ttl' })
  // Nothing tells a page of an end: list and badge are right with the next answer.
  await publish(page, 'user:alice', 'The last')
  await isListed('The last')
  for (const device of devices) {
    await badge(page, device, '2')
    for (const title of ['For eight seconds', 'Only replayed', 'Only live']) t.equal(await listed(device, title).count(), 0, `${title}: not listed at ${device}`)
  }
  for (const device of devices) await click(page, device)
  for (const device of devices) await noBadge(page, device)
  await listed('alice', 'Delivered').getByRole('button', { name: 'Dismiss' }).click()
  for (const device of devices) await listed(device, 'Delivered').waitFor({ state: 'detached' })
  t.same(faults, [])
})

t.test('the curl lines, as printed, subscribe on one node and publish on the other', async (t) => {
  const lines = demo.lines.filter((line) => line.startsWith('curl ')).map((line) => ({
    url: new URL(/http:\/\/\S+/.exec(line)![0]),
    token: /Bearer ([^"]+)"/.exec(line)![1]!,
    body: /-d '([^']+)'/.exec(line)?.[1]
  }))
  const listeners = lines.filter(({ body }) => body === undefined)
  const publisher = lines.find(({ body }) => body !== undefined)!
  t.equal(new Set(listeners.map(({ url }) => url.host)).size, 2, 'they listen on two nodes')
  const clients = listeners.map(({ url, token }) => connect(t, { url: url.origin, path: url.pathname, token }))
  await Promise.all(clients.map((client) => client.live()))
  const answer = await fetch(publisher.url, {
    method: 'POST', body: publisher.body!, headers: { authorization: `Bearer ${publisher.token}`, 'content-type': 'application/json' }
  })
  t.equal(answer.status, 202)
  for (const client of clients) t.same((await client.next()).json, JSON.parse(publisher.body!).data)
})

t.test('SIGTERM, with streams open and a connection made in advance, ends the demo with 0', async (t) => {
  const { page } = await openDemo()
  t.teardown(() => page.close())
  const inAdvance = net.connect(Number(new URL(page.url()).port), '127.0.0.1')
  inAdvance.on('error', () => {})
  t.teardown(() => inAdvance.destroy())
  await once(inAdvance, 'connect')
  t.same(await demo.stop(), { code: 0, signal: null })
})
