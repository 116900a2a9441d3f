// The examples that are pages, each started by its one command, in Chromium. (Programs that are no browsers: test/clients.)
import { execFileSync } from 'node:child_process'
import { cpSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import t from 'tap'
import { startEngine } from '../fixtures/engines.ts'
import { startNode } from '../fixtures/node.ts'
import { freePort, makeFolder, spawnChild } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'

const root = join(import.meta.dirname, '../..')
const engine = await startEngine(t, 'chromium')

t.test('examples/web, a page on another origin, with tickets: two tabs on one stream, and the inbox', async (t) => {
  const port = await freePort()
  // As it is printed, in a shell whose own node may be an older one.
  const [, command = ''] = /^\| `web` \|.*\| `([^`]+)` /m.exec(readFileSync(join(root, 'examples/README.md'), 'utf8')) ?? []
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules')).join(delimiter)
  const child = spawnChild(t, 'sh', ['-c', command], { cwd: root, env: { ...process.env, PATH: path, PORT: String(port) }, name: 'example' })
  t.teardown(() => { process.kill(-child.pid) })
  await child.waitForLine(/Open http/)
  const tabs = [await engine.open(`http://127.0.0.1:${port}/`), await engine.open(`http://127.0.0.1:${port}/`)]
  const shows = async (id: string, text: string) => { for (const { page } of tabs) await page!.waitForFunction(`document.querySelector("#${id}").textContent === "${text}"`, { polling: 200 }) }
  await shows('state', 'live')
  await tabs[1]!.page!.click('#say')
  for (const { page } of tabs) await page!.waitForFunction('document.querySelectorAll("li").length === 1', { polling: 200 })
  t.match(await tabs[0]!.run('return document.querySelector("li").textContent'), /^Hello at /)
  await shows('badge', '1')
  await tabs[1]!.page!.click('#read')
  await shows('badge', '0')
})

t.test('examples/react: npm install && npm start, and the bell works', async (t) => {
  const redis = await startRedis(t)
  const issuer = createIssuer()
  const node = await startNode(t, { env: { ...redis.env, ...issuer.env } })
  const publish = async (body: object) => {
    const { status } = await fetch(`${node.url}/api/notifications`, {
      method: 'POST', headers: { authorization: `Bearer ${issuer.token({ sub: 'shop', scope: PUBLISH })}`, 'content-type': 'application/json' }, body: JSON.stringify({ to: 'user:42', ...body })
    })
    t.equal(status, 202)
  }
  // The folders as they lie to each other in the project, and the client built, as the example's README says.
  const folder = makeFolder(t)
  for (const part of ['client', 'examples/react']) cpSync(join(root, part), join(folder, part), { recursive: true, filter: (path) => !/node_modules|dist\b|package-lock/.test(path.slice(root.length)) })
  execFileSync(process.execPath, [join(root, 'scripts/build-client.ts'), join(folder, 'client/dist')], { stdio: 'pipe' })
  const cwd = join(folder, 'examples/react')
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline'], { cwd, stdio: 'pipe' })

  const port = await freePort()
  const vite = spawnChild(t, 'npm', ['start', '--', '--port', String(port), '--strictPort', '--host', '127.0.0.1'], { cwd, env: { ...process.env, TIDINGS_URL: node.url, NO_COLOR: '1' }, name: 'npm start' })
  // npm ends without the server that it started, whose end is the end of its output.
  t.teardown(() => { process.kill(-vite.pid) })
  await vite.waitForLine(/Local:\s+http/, 60_000)
  const { page } = await engine.open(`http://127.0.0.1:${port}/`)
  await page!.waitForFunction('document.querySelector("#state")?.textContent === "denied"')
  await page!.evaluate(`document.cookie = 'tidings_token=${issuer.token({ sub: '42' })}'`)
  await page!.reload()
  await page!.waitForFunction('document.querySelector("#state")?.textContent === "live"')
  await publish({ data: { title: 'first' } })
  await page!.waitForFunction('document.querySelector("#badge")?.textContent === "1"')
  await publish({ data: { price: 12 }, event: 'stock', keep: 'none' })
  await page!.waitForFunction('document.querySelector("#price").textContent === "12"')
  await page!.click('#bell')
  await page!.waitForFunction('!document.querySelector("#badge") && document.querySelector("li")?.style.fontWeight === "bold"')
  await page!.click('li button')
  await page!.waitForFunction('document.querySelector("li").style.fontWeight === "normal"')
  const start = /npm install && npm start/
  for (const file of ['README.md', 'react/README.md']) t.match(readFileSync(join(root, 'examples', file), 'utf8'), start, `${file} says so`)
})
