// The pages that we serve ourselves, under their Content-Security-Policy: they work without a fault, and what a publisher sends stays text.
import t from 'tap'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { startBrowser } from '../fixtures/browser.ts'
import { spawnChild } from '../fixtures/process.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const demo = spawnChild(t, process.execPath, ['demo/main.ts'], { cwd: root, name: 'the demo', env: { ...process.env, PORT: '0' } })
const url = /http:\/\/\S+/.exec(await demo.waitForLine(/Open the page/))![0]
await demo.waitForLine(/Ctrl-C ends it/)
const publisher = /Bearer ([^"]+)"/.exec(demo.lines.find((line) => line.startsWith('curl ') && line.includes('-d '))!)![1]!
const browser = await startBrowser(t)

async function open (path: string): Promise<{ page: Page, faults: string[], policy: string }> {
  const page = await browser.newPage()
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(String(error)))
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) faults.push(message.text()) })
  page.on('dialog', (dialog) => { faults.push(`a dialog: ${dialog.message()}`) })
  const answer = await page.goto(new URL(path, url).href)
  return { page, faults, policy: answer!.headers()['content-security-policy'] ?? '' }
}

t.test('demo page, under its policy: no script or style but its own files, nobody may frame it, and the console is silent', async (t) => {
  const { page, faults, policy } = await open('/')
  for (const rule of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"]) t.ok(policy.includes(rule), rule)
  t.notMatch(policy, /unsafe|\*|data:[^;]*script|https?:(?!\/\/)/)
  await page.locator('#alice .state[data-state=live]').waitFor()
  await page.locator('#bob .state[data-state=live]').waitFor()
  t.same(faults, [])
  t.equal(await page.evaluate(() => (globalThis as any).document.cookie), '', 'no script can read the tokens')
  await page.close()
})

t.test('demo page, shown what a hostile publisher sends, shows it as text', async (t) => {
  const { page, faults } = await open('/')
  await page.locator('#alice .state[data-state=live]').waitFor()
  const evil = '<img src=x onerror=alert(1)><script>alert(2)</script><a href="javascript:alert(3)">x</a>'
  const events = ['message', 'stock']
  for (const event of events) {
    const answer = await fetch(new URL('/api/notifications', url), {
      method: 'POST',
      headers: { authorization: `Bearer ${publisher}`, 'content-type': 'application/json' },
      body: JSON.stringify({ to: 'user:alice', event, data: { title: evil, message: evil, occurredAt: evil, __proto__: { polluted: 1 }, constructor: evil } })
    })
    t.equal(answer.status, 202)
  }
  await page.locator('#alice .item strong', { hasText: '<img src=x' }).first().waitFor()
  t.equal(await page.locator('#alice .item img, #alice .item script, #alice .item a[href^="javascript"]').count(), 0)
  t.same(faults, [])
  await page.close()
})

t.test('/docs, under its policy, works; no script of its own is refused', async (t) => {
  const { page, faults, policy } = await open('/docs')
  t.match(policy, /default-src 'self'|script-src 'self'/)
  await page.locator('.opblock-summary').first().waitFor()
  t.same(faults.filter((fault) => !/^Applying inline style/.test(fault)), [], 'but for inline styles of Swagger UI, which the policy refuses and which it does without')
  t.notMatch(policy, /script-src[^;]*unsafe/)
  await page.close()
})

t.test('demo page, framed by another page, stays empty', async (t) => {
  const page = await browser.newPage()
  await page.route('http://evil.example/', (route) => route.fulfill({ contentType: 'text/html', body: `<iframe src="${url}"></iframe>` }))
  await page.goto('http://evil.example/')
  await page.waitForLoadState('networkidle')
  const inner = page.frames().find((frame) => frame !== page.mainFrame())
  t.notOk(inner?.url().startsWith(url) && (await inner.locator('#alice').count()) > 0)
  await page.close()
})
