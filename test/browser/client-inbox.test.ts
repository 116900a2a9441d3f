// The inbox of the browser module against the service: the same on all tabs and devices, at once, and put right by absolute values.
import t from 'tap'
import { startGround, startVisitor, type BrowserTab } from '../fixtures/client-lab.ts'
import { openDoor } from '../fixtures/door.ts'
import { eventually } from '../fixtures/wait.ts'

const ground = await startGround(t, { INBOX_PER_MINUTE: '0', HEARTBEAT_SECONDS: '5' })
const { call, publish } = ground
const live = async (...tabs: BrowserTab[]) => { for (const tab of tabs) await tab.until('tidings.state === "live"') }
const watch = async (...tabs: BrowserTab[]) => { for (const tab of tabs) await tab.run('tidings.inbox.subscribe(() => look())') }
const counts = (unseen: number, unread: number) => `tidings.inbox.unseen === ${unseen} && tidings.inbox.unread === ${unread}`

t.test('list and badge follow what is published, on all tabs by one request', async (t) => {
  const { tab, to, door } = await startVisitor(t, ground)
  const ids = [await publish(to, { n: 1 }), await publish(to, { n: 2 })]
  const tabs = [await tab(), await tab()]
  await watch(...tabs)
  for (const one of tabs) {
    await one.until(`tidings.inbox.items.length === 2 && ${counts(2, 2)}`)
    t.same(await one.run('return tidings.inbox.items.map(({ id }) => id)'), ids.toReversed())
    t.match(await one.run('return tidings.inbox.items[0]'), { to, event: 'message', data: { n: 2 }, isRead: false, at: /^\d{4}-.*Z$/ })
  }
  await publish(to, { price: 1 }, { keep: 'replay' })
  await publish(to, { n: 3 })
  for (const one of tabs) await one.until(`tidings.inbox.items.length === 3 && ${counts(3, 3)}`)
  const late = await tab()
  const before = door.requests.filter((line) => line.startsWith('GET /api')).length
  await watch(late)
  await late.until(`tidings.inbox.items.length === 3 && ${counts(3, 3)}`)
  t.equal(door.requests.filter((line) => line.startsWith('GET /api')).length, before, 'a late tab has it from its peers')
})

t.test('see, read one, unread again, dismiss, read all: at once here, and soon on the other tab and the other device; on a page of somebody else never', async (t) => {
  const { tab, to } = await startVisitor(t, ground)
  const stranger = await startVisitor(t, ground)
  await publish(stranger.to, { n: 1 })
  // All pages here share one jar of cookies.
  const theirs = await stranger.tab(`{ share: "tab", token: async () => ${JSON.stringify(stranger.token())} }`)
  await live(theirs)
  await watch(theirs)
  await theirs.until(`tidings.inbox.items.length === 1 && ${counts(1, 1)}`)
  await theirs.run('window.badges = []; tidings.inbox.subscribe(() => { window.badges.push([tidings.inbox.unseen, tidings.inbox.unread].join(" ")) })')
  const ids: string[] = []
  for (let n = 1; n <= 4; n++) ids.push(await publish(to, { n }))
  const here = await tab()
  const beside = await tab()
  const device = await tab('{ share: "tab" }')
  const all = [here, beside, device]
  await live(...all)
  await watch(...all)
  for (const one of all) await one.until(`tidings.inbox.items.length === 4 && ${counts(4, 4)}`)

  const does = async (act: string, then: string) => {
    t.ok(await here.run(`const done = tidings.inbox.${act}; const is = ${then}; await done; return is`), `${act}: at once`)
    for (const one of all) await one.until(then)
  }
  const isRead = (id: string) => `tidings.inbox.items.find((item) => item.id === "${id}").isRead`
  await does('see()', counts(0, 4))
  await does(`read("${ids[1]}")`, `${isRead(ids[1]!)} && ${counts(0, 3)}`)
  await does(`markUnread("${ids[1]}")`, `!${isRead(ids[1]!)} && ${counts(0, 4)}`)
  await does(`dismiss("${ids[0]}")`, `tidings.inbox.items.length === 3 && ${counts(0, 3)}`)
  await does(`read({ upTo: "${ids[2]}" })`, `${isRead(ids[2]!)} && !${isRead(ids[3]!)} && ${counts(0, 1)}`)
  await does('read()', `tidings.inbox.items.every(({ isRead }) => isRead) && ${counts(0, 0)}`)
  // What comes now would have come after a word of the others' inbox.
  await publish(stranger.to, { n: 2 })
  await theirs.until(`tidings.inbox.items.length === 2 && ${counts(2, 2)}`)
  t.same(await theirs.run('return [...new Set(["1 1", ...window.badges])]'), ['1 1', '2 2'])
})

t.test('retracted, and replaced by a key: gone from every list', async (t) => {
  const { tab, to } = await startVisitor(t, ground)
  const id = await publish(to, { n: 1 })
  await publish(to, { n: 2 }, { key: 'order' })
  const one = await tab()
  await watch(one)
  await one.until('tidings.inbox.items.length === 2')
  t.ok((await call('POST', '/api/notifications/retract', { to, id })).status < 300)
  await one.until(`tidings.inbox.items.length === 1 && ${counts(1, 1)}`)
  await publish(to, { n: 3 }, { key: 'order' })
  await one.until(`tidings.inbox.items[0]?.data.n === 3 && tidings.inbox.items.length === 1 && ${counts(1, 1)}`)
})

t.test('what the service refuses is taken back, and told', async (t) => {
  const { tab, to } = await startVisitor(t, ground)
  const id = await publish(to, { n: 1 })
  const one = await tab()
  await watch(one)
  await one.until('tidings.inbox.items.length === 1')
  t.match(await one.run('return await tidings.inbox.read("1763794000123456").then(() => "done", ({ statusCode, code }) => ({ statusCode, code }))'), { statusCode: 404 })
  await one.until(`tidings.inbox.items[0].id === "${id}" && ${counts(1, 1)}`)
})

t.test('loadMore: page by page to the end; long lists stay whole', async (t) => {
  const { tab, to } = await startVisitor(t, ground)
  for (let n = 1; n <= 120; n++) await publish(to, { n })
  const one = await tab()
  await watch(one)
  await one.until('tidings.inbox.items.length === 50 && tidings.inbox.hasMore')
  await one.run('await Promise.all([tidings.inbox.loadMore(), tidings.inbox.loadMore()])')
  t.equal(await one.run('return tidings.inbox.items.length'), 100)
  await one.run('await tidings.inbox.loadMore()')
  t.same(await one.run('const { items, hasMore, unread } = tidings.inbox; return [items.length, hasMore, unread]'), [120, false, 100])
  await publish(to, { n: 121 })
  await one.until('tidings.inbox.items.length === 121')
  t.same(await one.run('return tidings.inbox.items.map(({ data }) => data.n)'), Array.from({ length: 121 }, (_, index) => 121 - index))
  t.equal(await one.run('return tidings.inbox.hasMore'), false)
})

t.test('loadMore, pages that are empty and not the last ones: goes on to what there is, also where the list is empty', async (t) => {
  const { tab, door } = await startVisitor(t, ground)
  const one = await tab()
  await live(one)
  const item = (id: string) => ({ id, to: 'all', event: 'message', data: {}, at: '2026-01-01T00:00:00Z', isRead: false })
  const pages: Record<string, { notifications: object[], next?: string }> = {
    first: { notifications: [], next: '900' }, 900: { notifications: [], next: '800' }, 800: { notifications: [item('799')], next: '700' }, 799: { notifications: [], next: '700' }, 700: { notifications: [] }
  }
  door.instead = (request, response) => {
    const url = new URL(request.url!, door.url)
    if (url.pathname !== '/api/notifications') return false
    response.end(JSON.stringify({ ...pages[url.searchParams.get('before') ?? 'first'], complete: true, position: '1000', seen: '0', read: '0', unseen: 1, unread: 1 }))
    return true
  }
  await watch(one)
  await one.until('tidings.inbox.hasMore && tidings.inbox.state.isLoaded')
  await one.run('await tidings.inbox.loadMore()')
  t.same(await one.run('const { items, hasMore } = tidings.inbox; return [items.map(({ id }) => id), hasMore]'), [['799'], true])
  await one.run('await tidings.inbox.loadMore()')
  t.same(await one.run('const { items, hasMore } = tidings.inbox; return [items.map(({ id }) => id), hasMore]'), [['799'], false])
})

t.test('what it asks for: one request a browser within a second of a notification, however many come in it', async (t) => {
  const { tab, to, door } = await startVisitor(t, ground)
  const tabs = [await tab(), await tab(), await tab()]
  await live(...tabs)
  await watch(...tabs)
  for (const one of tabs) await one.until('tidings.inbox.state.isLoaded')
  const asked = () => door.requests.filter((line) => line.startsWith('GET /api/notifications?')).length
  const before = asked()
  const [first] = await Promise.all(Array.from({ length: 20 }, (_, n) => publish(to, { n })))
  for (const one of tabs) await one.until(counts(20, 20))
  t.comment(`${asked() - before} requests of 3 tabs for 20 notifications`)
  // What comes while one is under way is asked for once more.
  t.ok(first !== undefined && asked() - before <= 4, `${asked() - before} requests`)
})

t.test('a service of before the inbox: no list, its own count, no error', async (t) => {
  const { tab, door } = await startVisitor(t, ground)
  door.alter = (text) => text.replace(/"seen":"?\d*"?,"read":"?\d*"?,"unseen":\d+,"unread":\d+/, '"unread":7').replace(/,"heartbeatSeconds":\d+/, '')
  door.instead = (request, response) => {
    if (request.url!.includes('/subscribe') || !request.url!.startsWith('/api')) return false
    response.statusCode = 404
    response.end('{"message":"There is nothing"}')
    return true
  }
  const one = await tab()
  await watch(one)
  await live(one)
  t.same(await one.run('const { items, unread, unseen } = tidings.inbox; await tidings.inbox.see(); await tidings.inbox.read(); return { items, unread, unseen }'), { items: [], unread: 7, unseen: 0 })
  t.same(await one.run('return errors'), [])
})

t.test('ticket alone: the inbox is there, on all tabs and in full, with a ticket of its own for each request', async (t) => {
  const { tab, to, door, token, signOut } = await startVisitor(t, ground)
  signOut()
  const used: string[] = []
  door.instead = (request, response) => {
    const ticket = /^Ticket (.*)/.exec(request.headers.authorization ?? '')?.[1]
    if (ticket !== undefined) used.push(ticket)
    if (request.url !== '/ticket') return false
    void fetch(`${ground.node.url}/api/notifications/tickets`, { method: 'POST', headers: { authorization: `Bearer ${token()}` } }).then(async (answer) => { response.end(await answer.text()) })
    return true
  }
  const TICKET = '{ ticket: async () => (await (await fetch("/ticket", { method: "POST" })).json()).ticket }'
  const ids = [await publish(to, { n: 1 }), await publish(to, { n: 2 }), await publish(to, { n: 3 })]
  const tabs = [await tab(TICKET), await tab(TICKET)]
  await live(...tabs)
  await watch(...tabs)
  for (const one of tabs) await one.until(`tidings.inbox.items.length === 3 && ${counts(3, 3)}`)
  for (const [act, then] of [['see()', counts(0, 3)], [`read("${ids[0]}")`, counts(0, 2)], [`markUnread("${ids[0]}")`, counts(0, 3)], [`dismiss("${ids[0]}")`, `tidings.inbox.items.length === 2 && ${counts(0, 2)}`], ['read()', counts(0, 0)]]) {
    await tabs[1]!.run(`await tidings.inbox.${act}`)
    for (const one of tabs) await one.until(then!)
  }
  await publish(to, { n: 4 })
  for (const one of tabs) {
    await one.until(`tidings.inbox.items.length === 3 && ${counts(1, 1)}`)
    t.same(await one.run('return errors'), [])
  }
  t.ok(used.length >= 7, `${used.length} requests with a ticket`)
  t.equal(new Set(used).size, used.length, 'each with its own')
  t.equal(door.streams.length, 1)
  t.match(await tabs[0]!.run('return await tidings.inbox.read("1763794000123456").then(() => "done", ({ statusCode, code }) => ({ statusCode, code }))'), { statusCode: 404, code: 'TIDINGS_NO_NOTIFICATION' })
})

t.test('ticket and token: the inbox asks with the token', async (t) => {
  const { tab, to, door, token, signOut } = await startVisitor(t, ground)
  signOut()
  const id = await publish(to, { n: 1 })
  const asked: string[] = []
  door.instead = ({ url, headers }) => {
    if (url!.startsWith('/api/notifications?')) asked.push(headers.authorization!.split(' ')[0]!)
    return false
  }
  const ticket = async () => (await (await fetch(`${ground.node.url}/api/notifications/tickets`, { method: 'POST', headers: { authorization: `Bearer ${token()}` } })).json() as { ticket: string }).ticket
  const both = await tab(`{ token: async () => "${token()}", ticket: async () => "${await ticket()}" }`)
  await watch(both)
  await both.until(`tidings.inbox.state.isLoaded && ${counts(1, 1)}`)
  t.equal(await both.run('return tidings.inbox.items[0].id'), id)
  t.same([...new Set(asked)], ['Bearer'])
})

t.test('10,000 in the list: a click is done in the time of a frame or two', async (t) => {
  const { tab, door } = await startVisitor(t, ground)
  const one = await tab()
  await live(one)
  door.instead = (request, response) => {
    const url = new URL(request.url!, door.url)
    if (url.pathname !== '/api/notifications') return false
    const before = Number(url.searchParams.get('before') ?? 2_000_000_010_001)
    const notifications = Array.from({ length: 50 }, (_, index) => ({ id: String(before - 1 - index), to: 'all', event: 'message', data: {}, at: '2026-01-01T00:00:00Z', isRead: false }))
    const last = notifications.at(-1)!.id
    response.end(JSON.stringify({ notifications, ...(last !== '2000000000001' && { next: last }), complete: true, position: '2000000010001', seen: '0', read: '0', unseen: 100, unread: 100 }))
    return true
  }
  await watch(one)
  await one.until('tidings.inbox.items.length === 50')
  await one.run('while (tidings.inbox.hasMore) await tidings.inbox.loadMore()')
  t.equal(await one.run('return tidings.inbox.items.length'), 10_000)
  // The least of some clicks: whatever else the machine does is not the module's.
  const ms = await one.run<number>(`
    const click = (item) => {
      const since = performance.now()
      tidings.inbox.read(item.id).catch(() => {})
      return performance.now() - since
    }
    return Math.min(...tidings.inbox.items.slice(5000, 5005).map(click))`)
  t.ok(ms < 50, `${Math.round(ms)} ms`)
})

t.test('a page of another origin that is closed right after a click, while the browser still asks whether it may: the click counts', async (t) => {
  const { tab, to, user, door, token } = await startVisitor(t, ground)
  const service = await openDoor(t, { target: ground.node.url })
  service.instead = (request, response) => {
    response.setHeader('access-control-allow-origin', door.url)
    if (request.method !== 'OPTIONS') return false
    response.setHeader('access-control-allow-headers', 'authorization')
    response.setHeader('access-control-allow-methods', 'PUT')
    setTimeout(() => { response.writeHead(204).end() }, 200)
    return true
  }
  const id = await publish(to, { n: 1 })
  const page = await tab(`{ url: "${service.url}", token: async () => "${token()}" }`)
  await live(page)
  await watch(page)
  await page.until('tidings.inbox.items.length === 1')
  await page.run(`void tidings.inbox.read("${id}").catch(() => {})`)
  await page.close()
  await eventually(async () => (await call('GET', `/api/users/${user}/notifications`)).body.unread, (unread) => unread === 0, { what: 'read' })
})

t.test('a long list cleared at once: all calls reach the service, though the browser keeps few of them alive', async (t) => {
  const { tab, door } = await startVisitor(t, ground)
  const asked = new Set<string>()
  door.instead = (request, response) => {
    if (request.method !== 'DELETE') return false
    asked.add(request.url!)
    response.end('{"seen":"0","read":"0","unseen":0,"unread":0}')
    return true
  }
  const page = await tab()
  await live(page)
  const done = await page.run<string[]>(`
    const calls = Array.from({ length: 300 }, (_, n) => tidings.inbox.dismiss(String(1_700_000_000_000_000 + n)))
    return (await Promise.allSettled(calls)).map(({ status }) => status)`)
  t.same([...new Set(done)], ['fulfilled'])
  t.equal(asked.size, 300)
})
