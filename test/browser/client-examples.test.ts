// examples/web, started by its one command, in two tabs of Chromium. (examples/react: client-package.test.ts.)
import t from 'tap'
import { fileURLToPath } from 'node:url'
import { startEngine } from '../fixtures/engines.ts'
import { freePort, spawnChild } from '../fixtures/process.ts'

t.test('a page on another origin, with tickets: two tabs on one stream', async (t) => {
  const port = await freePort()
  const child = spawnChild(t, process.execPath, ['examples/web/server.js'], { cwd: fileURLToPath(new URL('../..', import.meta.url)), env: { ...process.env, PORT: String(port) }, name: 'example' })
  await child.waitForLine(/Open http/)
  const engine = await startEngine(t, 'chromium')
  const tabs = [await engine.open(`http://127.0.0.1:${port}/`), await engine.open(`http://127.0.0.1:${port}/`)]
  // The service may start later than the page, which then asks again.
  for (const { page } of tabs) {
    await page!.reload()
    await page!.waitForFunction('document.querySelector("#state").textContent === "live"', { timeout: 20_000, polling: 200 }).catch(async () => {
      await page!.reload()
      await page!.waitForFunction('document.querySelector("#state").textContent === "live"', { timeout: 20_000, polling: 200 })
    })
  }
  await tabs[1]!.page!.click('#say')
  for (const { page } of tabs) await page!.waitForFunction('document.querySelectorAll("li").length === 1', { polling: 200 })
  t.match(await tabs[0]!.run('return document.querySelector("li").textContent'), /^Hello at /)
})
