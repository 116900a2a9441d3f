// The browser module in Chromium: a stream, shared by all tabs of one user, handed over without a hole or a double.
import t from 'tap'
import { startGround, startVisitor, type BrowserTab } from '../fixtures/client-lab.ts'

const ground = await startGround(t, { HEARTBEAT_SECONDS: '5' })
const { publish } = ground
const live = async (...tabs: BrowserTab[]) => { for (const tab of tabs) await tab.until('tidings.state === "live"') }
const ids = async (tab: BrowserTab) => await tab.run<string[]>('return got().map(({ id }) => id)')

t.test('one tab: connects, receives by name and by *, knows the id', async (t) => {
  const { door, tab, to } = await startVisitor(t, ground)
  const one = await tab()
  await live(one)
  const id = await publish(to, { n: 1 })
  await one.until('got().length === 1')
  t.match(await one.run('return got()[0]'), { id, event: 'message', json: { n: 1 }, isReplay: false })
  await one.run('globalThis.named = []; globalThis.off = tidings.on("stock", (data, { event }) => { named.push([data, event]); look() })')
  await publish(to, { n: 2 }, { event: 'stock' })
  await one.until('got().length === 2')
  await one.run('off()')
  await publish(to, { n: 3 }, { event: 'stock' })
  await one.until('got().length === 3')
  t.same(await one.run('return named'), [[{ n: 2 }, 'stock']])
  t.match(await one.run('return own("sync")[0].json'), { resume: 'fresh' })
  t.same(await one.run('return states'), ['connecting', 'live'])
  await door.until(() => door.open.length === 1 || undefined, 'one stream')
  await one.run('tidings.close()')
  await door.until(() => door.open.length === 0 ? true : undefined, 'no stream')
  t.equal(await one.state(), 'closed')
  await one.run('tidings.useHere()')
  t.equal(await one.state(), 'closed', 'for good')
})

t.test('position: goes on from where the page\'s own data ends', async (t) => {
  const { tab, to, door, token } = await startVisitor(t, ground)
  await publish(to, { n: 1 })
  const { position } = await (await fetch(`${door.url}/api/notifications/position`, { headers: { authorization: `Bearer ${token()}` } })).json() as { position: string }
  await publish(to, { n: 2 })
  const one = await tab(`{ position: "${position}" }`)
  await one.until('tidings.state === "live"')
  t.match(await one.run('return got()'), [{ json: { n: 2 }, isReplay: true }])
})

t.test('three tabs: one stream, each gets each once; the leader is closed, the next goes on from the last id', async (t) => {
  const { door, tab, to } = await startVisitor(t, ground)
  const tabs = [await tab(), await tab(), await tab()]
  await live(...tabs)
  t.equal(door.streams.length, 1)
  const sent = [await publish(to, { n: 1 })]
  for (const one of tabs) await one.until('got().length === 1')
  await tabs[0]!.close()
  sent.push(await publish(to, { n: 2 }))
  await door.until(() => door.streams.length === 2 ? true : undefined, 'the second stream')
  sent.push(await publish(to, { n: 3 }))
  for (const one of tabs.slice(1)) {
    await one.until('got().length === 3')
    t.same(await ids(one), sent)
  }
  t.equal(door.streams[1]!.lastEventId, sent[0])
  await door.until(() => door.open.length === 1 || undefined, 'one stream')
})

t.test('the leader crashes: the next tab goes on', async (t) => {
  const { door, tab, to } = await startVisitor(t, ground)
  const tabs = [await tab(), await tab()]
  await live(...tabs)
  await publish(to, { n: 1 })
  await tabs[1]!.until('got().length === 1')
  await tabs[0]!.page!.goto('chrome://crash').catch(() => {})
  await publish(to, { n: 2 })
  await tabs[1]!.until('got().length === 2')
  await live(tabs[1]!)
  await door.until(() => door.open.length === 1 || undefined, 'one stream')
})

t.test('a tab that opens late: live at once from its peers, without a stream or a request of its own', async (t) => {
  const { door, tab, to } = await startVisitor(t, ground)
  const first = await tab()
  await live(first)
  await publish(to, { n: 1 })
  await first.until('got().length === 1')
  const asked = door.streams.length
  const late = await tab()
  await live(late)
  await publish(to, { n: 2 })
  await late.until('got().length === 1')
  t.match(await late.run('return got()'), [{ json: { n: 2 } }])
  t.equal(door.streams.length, asked)
})

t.test('share: "tab", and a page without locks: a stream each', async (t) => {
  const { door, tab, to } = await startVisitor(t, ground)
  const tabs = [await tab('{ share: "tab" }'), await tab('{ share: "tab" }'), await tab(null)]
  await tabs[2]!.run('Object.defineProperty(navigator, "locks", { value: undefined }); await begin({})')
  await live(...tabs)
  t.equal(door.open.length, 3)
  await publish(to, { n: 1 })
  for (const one of tabs) await one.until('got().length === 1')
})

t.test('once: of all tabs one acts, whoever leads, and nobody later', async (t) => {
  const { tab } = await startVisitor(t, ground)
  const tabs = [await tab(), await tab(), await tab()]
  await live(...tabs)
  const act = async (id: string, those = tabs) => await Promise.all(those.map((one) => one.run<boolean>(`return await tidings.once("${id}", () => { (globalThis.acted ??= []).push("${id}") })`)))
  for (let n = 0; n < 20; n++) t.equal((await act(`n${n}`)).filter(Boolean).length, 1)
  const acted = await Promise.all(tabs.map((one) => one.run('return globalThis.acted?.length ?? 0')))
  t.equal(acted.reduce((sum, n) => sum + n, 0), 20, 'as often as it was said')
  await tabs[0]!.close()
  const rest = [tabs[1]!, tabs[2]!, await tab()]
  await live(...rest)
  t.same(await act('n5', rest), [false, false, false], 'the next leader knows what was done')
  t.equal((await act('another', rest)).filter(Boolean).length, 1)
})

t.test('other code on the channel, and a handler that throws: nothing comes of it', async (t) => {
  const { tab, to } = await startVisitor(t, ground)
  const tabs = [await tab(), await tab()]
  await live(...tabs)
  await tabs[0]!.run(`
    tidings.on('message', () => { throw new Error('a bad handler') })
    tidings.on('message', async () => { throw new Error('a bad promise') })
    tidings.subscribe(() => { throw new Error('a bad listener') })
    const name = (await navigator.locks.query()).held.find(({ name }) => name.startsWith('tidings ')).name
    const channel = new BroadcastChannel(name)
    const rubbish = [null, 1, 'x', [], {}, { tidings: 1 }, { tidings: 1, type: 'state', from: 'x' }, { tidings: 1, type: 'event', from: 'x', term: Date.now() + 1000 },
      { tidings: 1, type: 'state', from: 'x', term: 'high' }, { tidings: 1, type: 'state', from: 'x', term: 1e300, state: 'closed' }, { tidings: 1, type: 'claim', from: 'x' },
      { tidings: 1, type: 'granted', from: 'x', ids: [1, null] }, { tidings: 1, type: 'inbox', from: 'x', page: { notifications: 'no' } }, { tidings: 2, type: 'state', from: 'x', term: 5, state: 'closed' },
      { type: 'event', from: 'x', term: Date.now(), received: { event: 'message', data: '"forged"' } }, new Map(), new ArrayBuffer(8)]
    for (const one of rubbish) channel.postMessage(one)
  `)
  const sent = [await publish(to, { n: 1 }), await publish(to, { n: 2 })]
  for (const one of tabs) {
    await one.until('got().length === 2')
    t.same(await ids(one), sent)
    await live(one)
  }
  await tabs[0]!.run('document.dispatchEvent(new Event("freeze")); document.dispatchEvent(new Event("resume"))')
  await live(...tabs)
  const errors = await tabs[0]!.run<string[]>('return errors')
  t.same([...new Set(errors.map((text) => /a bad \w+/.exec(text)?.[0] ?? text))].toSorted(), ['a bad handler', 'a bad listener', 'a bad promise'], 'each is reported')
})

t.test('two users of one browser, told apart by "user": two streams', async (t) => {
  const { door, tab, signIn } = await startVisitor(t, ground)
  signIn({ sub: 'ada' })
  const ada = await tab('{ user: "ada" }')
  await live(ada)
  await ada.run('globalThis.shown = []; tidings.inbox.subscribe(() => shown.push(...tidings.inbox.items.map(({ data }) => data)))')
  const hers = await publish('user:ada', { n: 'of ada' })
  await ada.until('shown.length > 0')
  signIn({ sub: 'grace/1' })
  const grace = await tab('{ user: "grace/1" }')
  await live(grace)
  t.equal(door.open.length, 2)
  const theirs = await publish('user:grace/1', { n: 'of grace' })
  await grace.until('got().length === 1')

  // The cookie is that of grace now. What ada's tab asks for is not hers to get.
  t.match(await ada.run(`return await tidings.inbox.read("${theirs}").catch(({ code, statusCode }) => ({ code, statusCode }))`), { code: 'TIDINGS_NOT_YOUR_STREAM', statusCode: 403 })
  door.cut()
  await ada.until('tidings.state === "denied"')
  await live(grace)
  await ada.run('await tidings.inbox.read().catch(() => {}); await tidings.inbox.loadMore().catch(() => {})')
  t.same(await ids(ada), [hers], 'nothing of grace was handed to ada\'s page')
  t.same([...new Set(await ada.run<Array<{ n: string }>>('return shown').then((all) => all.map(({ n }) => n)))], ['of ada'], 'nor shown in its list')
  const answer = await fetch(`${ground.node.url}/api/notifications/position`, { headers: { authorization: `Bearer ${ground.issuer.token({ sub: 'grace/1' })}` } })
  t.match(await answer.json(), { unread: 1 }, 'nor read in her name')

  signIn({ sub: 'ada' })
  await ada.run('await fetch("/page"); tidings.useHere()')
  await live(ada)
})

t.test('token() and no "user": each tab has its own stream, since another tab may have the token of another user; with "user" they share one', async (t) => {
  const visitor = await startVisitor(t, ground)
  visitor.signOut()
  const option = (sub: string, more = ''): string => `{ token: async () => "${visitor.token({ sub })}"${more} }`
  const tabs = [await visitor.tab(option('linus')), await visitor.tab(option('edsger'))]
  await live(...tabs)
  const sent = [await publish('user:linus', {}), await publish('user:edsger', {})]
  for (const [i, one] of tabs.entries()) {
    await one.until('got().length > 0')
    t.same(await ids(one), [sent[i]])
  }
  t.equal(visitor.door.open.length, 2)
  await live(await visitor.tab(option('barbara', ', user: "barbara"')), await visitor.tab(option('barbara', ', user: "barbara"')))
  t.equal(visitor.door.open.length, 3)
})

t.test('schemas: what does not pass is reported and handed to nobody', async (t) => {
  const { tab, to } = await startVisitor(t, ground)
  const one = await tab(`{ schemas: { stock: { '~standard': { validate: (value) => typeof value.price === 'number' ? { value: { ...value, checked: true } } : { issues: [{ message: 'no price' }] } } },
    slow: { '~standard': { validate: async (value) => ({ value }) } } } }`)
  await live(one)
  await publish(to, { price: 'x' }, { event: 'stock' })
  await publish(to, {}, { event: 'slow' })
  await publish(to, { price: 1 }, { event: 'stock' })
  await publish(to, {}, { event: 'toString' })
  await one.until('got().length === 2')
  t.match(await one.run('return got()'), [{ json: { price: 1, checked: true } }, { event: 'toString' }])
  t.match(await one.run('return errors'), [/stock: no price/, /slow: async schema/])
})

t.test('what a page costs while nothing happens: the module and the stream, the list if it is looked at, and one timer', async (t) => {
  const { door, tab } = await startVisitor(t, ground)
  const one = await tab(null)
  await one.run(`
    const { setTimeout, clearTimeout, setInterval } = globalThis
    const timers = new Set(), waiting = []
    const gone = (timer) => {
      timers.delete(timer)
      if (timers.size === 0) for (const go of waiting.splice(0)) go()
    }
    globalThis.quiet = () => new Promise((resolve) => { waiting.push(resolve); gone() })
    globalThis.intervals = []
    globalThis.setTimeout = (act, ms, ...more) => {
      const timer = setTimeout(() => { act(...more); gone(timer) }, ms)
      timers.add(timer)
      return timer
    }
    globalThis.clearTimeout = (timer) => { clearTimeout(timer); gone(timer) }
    globalThis.setInterval = (act, ms) => { intervals.push(ms); return setInterval(act, ms) }
    await begin({})`)
  await live(one)
  await one.run('await quiet()')
  // The browser asks for an icon by itself.
  const asked = () => door.requests.filter((line) => line !== 'GET /favicon.ico')
  t.same(asked(), ['GET /client.js'])
  await one.run('tidings.inbox.subscribe(() => look())')
  await one.until('tidings.inbox.state.isLoaded')
  await one.run('await quiet()')
  t.same(asked(), ['GET /client.js', 'GET /api/notifications?limit=50'])
  t.equal(door.streams.length, 1)
  t.same(await one.run('return intervals'), [1000])
})

t.test('what 1,000 notifications cost a page, beside the page\'s own work: printed', async (t) => {
  const { tab, to } = await startVisitor(t, ground)
  const one = await tab(null)
  const session = await one.page!.createCDPSession()
  await session.send('Performance.enable')
  const measure = async () => {
    await session.send('HeapProfiler.collectGarbage')
    const { metrics } = await session.send('Performance.getMetrics')
    const value = (name: string) => metrics.find((metric) => metric.name === name)!.value
    return { ms: value('TaskDuration') * 1000, kb: value('JSHeapUsedSize') / 1024 }
  }
  await one.run(`
    const { connect } = await import('/client.js')
    globalThis.tidings = connect()
    globalThis.count = 0
    tidings.on('message', () => { if (++count % 1000 === 0) look() })
    tidings.subscribe(look)`)
  await live(one)
  const some = async () => { for (let n = 0; n < 10; n++) await Promise.all(Array.from({ length: 100 }, (_, m) => publish(to, { title: 'Complaint update', n: n * 100 + m }))) }
  await some()
  await one.until('count === 1000')
  const before = await measure()
  await some()
  await one.until('count === 2000')
  const after = await measure()
  t.comment(`${Math.round(after.ms - before.ms)} ms of the main thread, ${Math.round(after.kb - before.kb)} KB of heap kept, for 1,000 notifications`)
  t.equal(await one.run('return count'), 2000)
})
