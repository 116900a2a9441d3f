// tidings-client as people get it: packed, installed into a Vite and TypeScript project, checked, built, and run, with React 18 and 19.
import t from 'tap'
import { execFileSync } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startGround, startVisitor } from '../fixtures/client-lab.ts'
import { makeFolder } from '../fixtures/process.ts'

const root = join(import.meta.dirname, '../..')
const ground = await startGround(t)
const folder = makeFolder(t)
const run = (cwd: string, command: string, ...args: string[]) => {
  try {
    return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: 'pipe' })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string, stderr: string }
    throw new Error(`${command} ${args.join(' ')}\n${stdout}\n${stderr}`)
  }
}

run(join(root, 'client'), 'npm', 'pack', '--pack-destination', folder)
const [packed] = readdirSync(folder).filter((name) => name.endsWith('.tgz'))

/** A loose TypeScript file that uses the types, and one that must not compile. */
const GOOD = `
import { connect, type InboxItem, type State } from 'tidings-client'
interface Stock { price: number }
const tidings = connect<{ stock: Stock }>({ url: 'https://tidings.example', ticket: async () => 'x', share: 'tab' })
tidings.on('stock', ({ price }, { id, isReplay }) => { price.toFixed(); id?.length; const is: boolean = isReplay; return is })
const state: State = tidings.state
const items: readonly InboxItem[] = tidings.inbox.items
console.log(state, items)
`
const BAD = `
import { connect } from 'tidings-client'
const tidings = connect<{ stock: { price: number } }>()
tidings.on('stock', ({ prize }) => prize)
`

/** The example of docs/client.md, with what stands for the page itself. */
const [, printed = ''] = /```jsx\n([^]*?)```/.exec(readFileSync(join(root, 'docs/client.md'), 'utf8')) ?? []
const DOCUMENTED = printed.replace('\n<Tid', '\nexport const page = <Tid').replace('…', '<p />')

for (const version of ['19', '18']) {
  t.test(`React ${version}: type-checks, builds, renders on a server, runs in Strict Mode on one stream`, { timeout: 400_000 }, async (t) => {
    const project = join(folder, `react-${version}`)
    cpSync(join(root, 'examples/react'), project, { recursive: true, filter: (path) => !/node_modules|dist|package-lock/.test(path) })
    const own = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'))
    own.dependencies['tidings-client'] = `file:${join(folder, packed!)}`
    for (const name of ['react', 'react-dom']) own.dependencies[name] = `^${version}.0.0`
    for (const name of ['@types/react', '@types/react-dom']) own.devDependencies[name] = `^${version}.0.0`
    writeFileSync(join(project, 'package.json'), JSON.stringify(own))
    run(project, 'npm', 'install', '--no-audit', '--no-fund', '--prefer-offline')

    writeFileSync(join(project, 'src/good.ts'), GOOD)
    writeFileSync(join(project, 'src/documented.tsx'), DOCUMENTED)
    writeFileSync(join(project, 'src/bad.ts'), BAD)
    let told = ''
    try {
      run(project, 'npx', 'tsc')
    } catch (error) {
      told = String(error)
    }
    // One run says both: all else passes, and what must not compile does not.
    t.match(told.split('\n').filter((line) => line.includes('error TS')), [/^src\/bad\.ts.*Property 'prize' does not exist/])
    t.equal(told.match(/error TS/g)?.length, 1, 'and nothing else')
    run(project, 'npx', 'vite', 'build')

    writeFileSync(join(project, 'server.mjs'), `
      import { createElement as h } from 'react'
      import { renderToString } from 'react-dom/server'
      import { connect } from 'tidings-client'
      import { TidingsProvider, useConnection, useInbox } from 'tidings-client/react'
      const App = () => h('p', null, useConnection().state, useInbox().unseen)
      console.log(renderToString(h(TidingsProvider, { client: connect() }, h(App))), renderToString(h(TidingsProvider, { client: () => connect() }, h(App))))
      process.exit()`)
    t.match(run(project, process.execPath, 'server.mjs'), /<p>connecting.*0<\/p> <p>connecting/)

    const dist = join(project, 'dist')
    const visitor = await startVisitor(t, ground, { page: readFileSync(join(dist, 'index.html'), 'utf8') })
    const { door, to } = visitor
    door.instead = (request, response) => {
      if (!request.url!.startsWith('/assets/')) return false
      response.setHeader('content-type', 'text/javascript')
      response.end(readFileSync(join(dist, request.url!)))
      return true
    }
    await ground.publish(to, { title: 'first' })
    const tab = await visitor.tab(null)
    const page = tab.page!
    await page.waitForFunction('document.querySelector("#state")?.textContent === "live"')
    await page.waitForFunction('document.querySelector("#badge")?.textContent === "1"')
    await ground.publish(to, { price: 12 }, { event: 'stock', keep: 'none' })
    await page.waitForFunction('document.querySelector("#price").textContent === "12"')
    await page.click('#bell')
    await page.waitForFunction('!document.querySelector("#badge") && document.querySelectorAll("li").length === 1')
    await page.click('li button')
    await page.waitForFunction('document.querySelector("li").style.fontWeight === "normal"')
    t.equal(door.open.length, 1, 'one stream')
    t.ok(door.streams.length <= 2)
  })
}
