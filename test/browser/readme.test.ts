// README, "In the browser": every example as it is printed, in Chromium, through restarts, the end of tokens and a night of sleep.
import t from 'tap'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openDoor, type Door } from '../fixtures/door.ts'
import { startEngine, type Window } from '../fixtures/engines.ts'
import { startNode, type TestNode } from '../fixtures/node.ts'
import { freePort } from '../fixtures/process.ts'
import { startRedis } from '../fixtures/redis.ts'
import { createIssuer, PUBLISH } from '../fixtures/tokens.ts'
import { eventually, type Scope } from '../fixtures/wait.ts'

const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8')
const section = readme.slice(readme.indexOf('## In the browser'), readme.indexOf('## HTTP'))
const [plain, days, byCookie, byTicket, module, ...others] = [...section.matchAll(/```js\n([^]*?)```/g)].map(([, code]) => code!)
if (module === undefined || others.length > 0) throw new Error('README, "In the browser": there are other examples than this test runs')

/** What a page has around an example, and what it keeps of what the example calls. */
const around = (code: string): string => `<!doctype html><meta charset="utf-8"><title>a page</title><b id="badge"></b><script>
  const shown = [], prices = [], offers = [], toasts = []
  let reloads = 0
  const show = (data) => { shown.push(data.n) }, showPrice = ({ price }) => { prices.push(price) }, offer = (text, use) => { offers.push({ text, use }) }
  const reloadEverything = () => { reloads++ }, toast = ({ n }) => { toasts.push(n) }
  // A script's own names are not seen from outside of it.
  const look = (names) => Object.fromEntries(names.map((name) => [name, eval(name)]))
</script><script type="${code.includes('import') ? 'module' : 'text/javascript'}">${code}</script>`

// An hour in seconds: tokens of 5 s, told of 2 to 4 s before, streams of 3 s, a ping each second.
const TOKEN_SECONDS = 5
const redis = await startRedis(t)
const issuer = createIssuer()
const operator = issuer.token({ sub: 'shop', scope: PUBLISH })
const nodes = new Map<number, TestNode>()
const env = {
  ...redis.env, ...issuer.env, HEARTBEAT_SECONDS: '1', RETRY_MS: '200', EXPIRING_SECONDS: '4', MAX_STREAM_SECONDS: '3', CONNECTS_PER_MINUTE: '0'
}
const engine = await startEngine(t, 'chromium', { args: ['--host-resolver-rules=MAP *.example 127.0.0.1, MAP *.localhost 127.0.0.1'] })

interface Visit {
  user: string
  /** Of the page. */
  url: string
  /** The service's front door, and that of the page: one and the same, or two origins. */
  door: Door
  tab: Window
  node: () => TestNode
  /** The page has heard its first `sync`: what is published from here on, it is owed. */
  isLive: Promise<void>
  /** kill -9, and another one in its place. */
  restart: () => Promise<void>
  publish: (more?: object) => Promise<void>
  /** All that was published was shown, in order, once each. */
  hasAll: (withinMs?: number) => Promise<void>
  /** The visitor's session at the page's own back end; without one, it answers 401. */
  session: { isOver: boolean }
  /** Resolves when the page is at that path. */
  at: (path: string) => Promise<void>
}

let visits = 0

interface Setting {
  /** Of the page; by default one of its own. */
  host?: string
  /** The host by which another origin knows the service. */
  service?: string
  tokenSeconds?: number
  /** Settings of the node. */
  more?: Record<string, string>
}

/** A page at `http://<host>` with this code, in front of a node of its own. */
async function visit (t: Scope, code: string, { host: given, service, tokenSeconds = TOKEN_SECONDS, more }: Setting = {}): Promise<Visit> {
  const user = `user-${++visits}`
  // Cookies are of a host, whatever the port. Locks need a secure origin, as localhost is.
  const host = given ?? `${user}.localhost`
  const port = await freePort()
  const session = { isOver: false }
  const token = () => issuer.token({ sub: user, exp: Math.floor(Date.now() / 1000) + tokenSeconds })
  const door = await openDoor(t, { target: `http://127.0.0.1:${port}` })
  const { promise: isLive, resolve: heardSync } = Promise.withResolvers<void>()
  door.alter = (text) => {
    if (text.includes('event: sync')) heardSync()
    return text
  }
  const site = service === undefined ? door : await openDoor(t)
  const [origin, tidings] = [`http://${host}:${site.port}`, `http://${service ?? host}:${door.port}`]
  const page = around(code.replace('https://tidings.example', tidings))
  const start = async () => { nodes.set(port, await startNode(t, { port, env: { ...env, ...more, ...(service !== undefined && { CORS_ORIGINS: origin }) } })) }
  await start()

  site.instead = (request, response) => {
    const cookie = `tidings_token=${token()}; Path=/; HttpOnly`
    const status = session.isOver ? 401 : 200
    if (request.url === '/session') response.writeHead(status, service === undefined && !session.isOver ? { 'set-cookie': cookie } : {}).end()
    else if (request.url === '/ticket') {
      fetch(`http://127.0.0.1:${port}/api/notifications/tickets`, { method: 'POST', headers: { authorization: `Bearer ${token()}` } })
        .then(async (answer) => response.writeHead(status).end(await answer.text()), () => response.destroy())
    } else if (request.url === '/login') response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>sign in</title>')
    else if (request.url === '/') response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', ...(service === undefined && { 'set-cookie': cookie }) }).end(page)
    else return false
    return true
  }
  const sent: number[] = []
  const tab = await engine.open(`${origin}/`)
  const look = async (name: string): Promise<any> => await tab.run(`return look(['${name}'])['${name}']`)
  return {
    user,
    url: `${origin}/`,
    door,
    tab,
    session,
    isLive,
    node: () => nodes.get(port)!,
    restart: async () => {
      await nodes.get(port)!.kill()
      await start()
    },
    publish: async (more = {}) => {
      const n = sent.push(sent.length + 1)
      const answer = await fetch(`http://127.0.0.1:${port}/api/notifications`, {
        method: 'POST', headers: { authorization: `Bearer ${operator}`, 'content-type': 'application/json' }, body: JSON.stringify({ to: `user:${user}`, data: { n }, ...more })
      })
      if (answer.status !== 202) throw new Error(await answer.text())
    },
    hasAll: async (withinMs = 20_000) => {
      const shown = await eventually(() => look('shown'), (shown) => shown.length >= sent.length, { what: `${user}: ${sent.length} shown`, withinMs })
      if (String(shown) !== String(sent) || await look('reloads') !== 0) throw new Error(`shown ${shown} of ${sent}, ${await look('reloads')} reloads`)
    },
    at: async (path) => { await eventually(() => tab.run<string>('return location.pathname').catch(String), (found) => found === path, { what: `${user} at ${path}` }) }
  }
}

/** A restart, and then so many streams as age and tokens end them; one is published before, in and after each gap. */
async function livesOn ({ door, isLive, publish, hasAll, restart }: Visit, streams: number): Promise<void> {
  await isLive
  await publish()
  await hasAll()
  await restart()
  await publish()
  await hasAll()
  for (const end = door.streams.length + streams; door.streams.length < end;) {
    const { length } = door.streams
    await door.until(() => door.streams.length > length || undefined, 'the next stream')
    await publish()
    await hasAll()
  }
}

const ended = async (node: TestNode, reason: string) => { await node.waitForLine((line) => line.includes('"stream end"') && line.includes(`"reason":"${reason}"`)) }

t.jobs = 4

t.test('the first example: shows, outlives its node, hears a name, signs out', { buffered: true }, async (t) => {
  const { isLive, publish, hasAll, restart, tab, user, node, at } = await visit(t, plain!, { tokenSeconds: 600 })
  await isLive
  await publish()
  await hasAll()
  await restart()
  await publish()
  await hasAll()
  const call = async (method: string, path: string, body?: object) => {
    await fetch(`${node().url}${path}`, { method, headers: { authorization: `Bearer ${issuer.token({ sub: 'admin', scope: `${PUBLISH} notifications:manage` })}`, 'content-type': 'application/json' }, ...(body && { body: JSON.stringify(body) }) })
  }
  await call('POST', '/api/notifications', { to: `user:${user}`, event: 'stock', data: { price: 12 } })
  await eventually(() => tab.run("return look(['prices']).prices[0]"), (price) => price === 12, { what: 'the price' })
  await call('DELETE', `/api/users/${user}/streams`)
  await at('/login')
})

t.test('days, by cookie: a node restart, streams and tokens that end, the end of the session', { buffered: true }, async (t) => {
  const page = await visit(t, days! + byCookie!)
  await livesOn(page, 3)
  t.ok(page.door.streams.every(({ status }) => status === 200 || status === undefined), 'no 401 on the way')
  page.session.isOver = true
  await page.at('/login')
})

for (const [what, hosts] of [['origin', { host: 'app.tidings.example', service: 'api.tidings.example' }], ['site', { host: 'app.example', service: 'tidings.example' }]] as const) {
  t.test(`days, by ticket, from another ${what}: the same`, { buffered: true }, async (t) => {
    const page = await visit(t, days! + byTicket!, hosts)
    await livesOn(page, 3)
    page.session.isOver = true
    await page.at('/login')
  })
}

t.test('days, a night of sleep: the page is frozen, its line dies without a word, its token ends', { buffered: true }, async (t) => {
  const { door, isLive, publish, hasAll, tab, node } = await visit(t, days! + byCookie!, { more: { MAX_STREAM_SECONDS: '600' } }) // only the token ends it
  await isLive
  await publish()
  await hasAll()
  const session = await tab.page!.createCDPSession()
  await session.send('Page.setWebLifecycleState', { state: 'frozen' })
  door.freeze(true)
  await ended(node(), 'expired')
  await publish()
  door.freeze(false)
  await session.send('Page.setWebLifecycleState', { state: 'active' })
  await hasAll(5000)
  t.pass('it is awake')
})

t.test('docs/client.md, its first example', { buffered: true }, async (t) => {
  const [, code = ''] = /<script type="module">\n([^]*?)<\/script>/.exec(readFileSync(join(import.meta.dirname, '../../docs/client.md'), 'utf8')) ?? []
  const { isLive, publish, hasAll, tab } = await visit(t, code, { tokenSeconds: 600 })
  await isLive
  await publish()
  await hasAll()
  await eventually(() => tab.run("return document.querySelector('#badge').textContent"), (text) => text === '1', { what: 'the badge' })
})

t.test('the module: two tabs, one stream, one toast, the badge', { buffered: true }, async (t) => {
  const { url, isLive, publish, hasAll, tab, restart } = await visit(t, module!, { tokenSeconds: 600 })
  const other = await engine.open(url)
  await isLive
  await eventually(() => other.run('return (await navigator.locks.query()).pending.length'), (waiting) => waiting === 1, { what: 'the other tab in the queue' })
  await publish()
  await hasAll()
  await restart()
  await publish()
  await hasAll()
  const toasts = async (): Promise<number[]> => (await Promise.all([tab, other].map((one) => one.run<number[]>("return look(['toasts']).toasts")))).flat().toSorted()
  t.same(await eventually(toasts, (found) => found.length >= 2, { what: 'two toasts' }), [1, 2])
  for (const one of [tab, other]) await eventually(() => one.run("return document.querySelector('#badge').textContent"), (text) => text === '2', { what: 'the badge' })
})
