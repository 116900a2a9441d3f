// tidings-client as people get it: packed, installed into a Vite and TypeScript project, checked, built, and run, with React 18 and 19.
import t from 'tap'
import { execFileSync } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
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
tidings.on('message', (data, { id }) => tidings.once(id, () => data))
tidings.on('sync', ({ resume }) => resume)
tidings.on('*', (data, { event }) => [data, event])
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

    await t.test('no tear: components of one transition show one value, though it changes while they render', async (t) => {
      // In the project, so that it finds the React of the project.
      cpSync(join(root, 'test/fixtures/tear.js'), join(project, 'src/tear.js'))
      const { outputFiles: [script] } = await build({ entryPoints: [join(project, 'src/tear.js')], bundle: true, format: 'esm', write: false, define: { 'process.env.NODE_ENV': '"production"' } })
      const visitor = await startVisitor(t, ground, { page: '<!doctype html><div id="root"></div><script type="module" src="/tear.js"></script>' })
      const { door, to } = visitor
      door.instead = (request, response) => {
        if (request.url !== '/tear.js') return false
        response.setHeader('content-type', 'text/javascript')
        response.end(script!.contents)
        return true
      }
      const id = await ground.publish(to, { title: 'first' })
      const page = (await visitor.tab(null)).page!
      let isRead = false
      const changes = {
        inbox: async () => {
          isRead = !isRead
          const { status } = await fetch(`${door.url}/api/notifications/${id}/read`, { method: isRead ? 'PUT' : 'DELETE', headers: { authorization: `Bearer ${visitor.token()}` } })
          t.equal(status, 200)
        },
        connection: async () => { door.cut() }
      }
      const waitFor = async (condition: string) => { await page.waitForFunction(condition) }

      /** What each commit showed of a mounting in which the value changed. */
      async function mount (hook: 'naive' | 'ours', name: 'inbox' | 'connection'): Promise<string[][]> {
        for (;;) {
          await waitFor('tidings?.state === "live" && tidings.inbox.state.isLoaded')
          await page.evaluate(`mount('${hook}', '${name}')`)
          await waitFor('run.isUnderWay || run.commits.length > 0')
          await changes[name]()
          await waitFor(hook === 'ours' ? 'isRight()' : 'run.commits.length > 0')
          const { hasChangedInTime, commits } = await page.evaluate('({ ...run, read: 0 })') as { hasChangedInTime: boolean, commits: string[][] }
          await page.evaluate('unmount()')
          await waitFor('isEmpty()')
          // On a machine that was too slow, the change came when all had been rendered.
          if (hasChangedInTime) return commits
        }
      }

      for (const name of ['inbox', 'connection'] as const) {
        t.ok((await mount('naive', name)).some((shown) => shown.length > 1), `${name}: with useState and useEffect it tears here`)
        const commits = await mount('ours', name)
        t.ok(commits.every((shown) => shown.length === 1), `${name}: ${JSON.stringify(commits)}`)
      }
    })
  })
}
