// The browser module and who may come in: tickets, tokens that end, refusals, and streams that end for good.
import t from 'tap'
import { startGround, startVisitor, type BrowserTab, type Visitor } from '../fixtures/client-lab.ts'
import { startNode } from '../fixtures/node.ts'
import type { Claims } from '../fixtures/tokens.ts'
import { eventually } from '../fixtures/wait.ts'

// A leader that a slow machine keeps from its ping is not to look like a dead one.
const ground = await startGround(t, { EXPIRING_SECONDS: '4', HEARTBEAT_SECONDS: '5' })
const { call, node, publish, redis, issuer } = ground
const live = async (...tabs: BrowserTab[]) => { for (const tab of tabs) await tab.until('tidings.state === "live"') }
const seconds = (n: number): number => Math.floor(Date.now() / 1000) + n

/** The visitor's own back end at the front door: POST /ticket, for a token with these claims. Returns how often it was asked. */
function ticketDesk ({ door, token, signOut }: Visitor, claims: () => Claims = () => ({})): () => number {
  let asked = 0
  signOut()
  door.instead = (request, response) => {
    if (request.url !== '/ticket') return false
    asked++
    void fetch(`${node.url}/api/notifications/tickets`, { method: 'POST', headers: { authorization: `Bearer ${token(claims())}` } })
      .then(async (answer) => { response.end(await answer.text()) })
    return true
  }
  return () => asked
}

const TICKET = 'ticket: async () => (await (await fetch("/ticket", { method: "POST" })).json()).ticket'

/** Answers requests for a stream in the service's stead, so many times; none before `when`. */
function answer ({ door }: Visitor, status: number, times: number, body = '', when = Promise.resolve()): void {
  const before = door.instead
  door.instead = (request, response) => {
    if (times === 0 || !request.url!.includes('/subscribe')) return before(request, response)
    times--
    void when.then(() => {
      response.writeHead(status, { 'content-type': 'text/event-stream' })
      response.end(body)
    })
    return true
  }
}

t.test('ticket(): asked at each connect; no cookie is sent', async (t) => {
  const visitor = await startVisitor(t, ground)
  const asked = ticketDesk(visitor)
  const tabs = [await visitor.tab(`{ ${TICKET} }`), await visitor.tab(`{ ${TICKET} }`)]
  await live(...tabs)
  t.equal(asked(), 1)
  visitor.door.cut()
  await visitor.door.until(() => visitor.door.streams[1]?.status === 200 ? true : undefined, 'the next stream')
  await live(...tabs)
  t.equal(asked(), 2)
  t.not(visitor.door.streams[0]!.url.searchParams.get('ticket'), visitor.door.streams[1]!.url.searchParams.get('ticket'))
})

t.test('token(): a header, for the stream too', async (t) => {
  const visitor = await startVisitor(t, ground)
  visitor.signOut()
  const one = await visitor.tab(null)
  await one.run(`
    globalThis.waits = new Set()
    globalThis.begun = 0
    const { setTimeout, clearTimeout } = globalThis
    globalThis.setTimeout = (act, ms, ...more) => {
      const timer = setTimeout(act, ms, ...more)
      if (ms === 10_000) {
        waits.add(timer)
        begun++
      }
      return timer
    }
    globalThis.clearTimeout = (timer) => { waits.delete(timer); clearTimeout(timer) }
    await begin({ token: async () => "${visitor.token()}" })`)
  await live(one)
  t.same(await one.run('return [begun, waits.size]'), [1, 0], 'a token that has come leaves no timer behind')
  t.equal(visitor.door.streams[0]!.url.search, '')
  await publish(visitor.to, { n: 1 })
  await one.until('got().length === 1')
})

t.test('ticket() that throws, gives rubbish, or hangs: waits, and tries again', async (t) => {
  const visitor = await startVisitor(t, ground)
  ticketDesk(visitor)
  const one = await visitor.tab(`{ ticket: async () => {
    const n = globalThis.asked = (globalThis.asked ?? 0) + 1
    if (n === 1) throw new Error('no')
    if (n === 2) return { not: 'a string' }
    if (n === 3) return ''
    if (n === 4) return await new Promise(() => {})
    return (await (await fetch("/ticket", { method: "POST" })).json()).ticket
  } }`)
  await one.until('tidings.state === "live"', 40_000)
  t.equal(await one.run('return asked'), 5)
  t.same(await one.run('return states.slice(0, 3)'), ['connecting', 'waiting', 'connecting'])
  t.same((await one.run('return errors')).map((text: string) => /no credentials/.test(text)), [true, true, true], 'rubbish is told, and that none came')
})

for (const kind of ['ticket', 'cookie']) {
  t.test(`expiring, with a ${kind}: renewed, without a moment off the line`, async (t) => {
    const visitor = await startVisitor(t, ground)
    const { door, to } = visitor
    // Both are open before the time runs.
    const tabs = [await visitor.tab(null), await visitor.tab(null)]
    const short = () => ({ exp: seconds(7) })
    if (kind === 'ticket') {
      // The first is short, and no other.
      const asked: () => number = ticketDesk(visitor, () => asked() === 1 ? short() : {})
    } else {
      visitor.signIn(short())
      await tabs[0]!.run('await fetch("/page")')
      visitor.signIn()
    }
    await Promise.all(tabs.map((one) => one.run(`await begin(${kind === 'ticket' ? `{ ${TICKET} }` : '{ renew: () => fetch("/page") }'})`)))
    await live(...tabs)
    const sent: string[] = []
    let n = 0
    while (door.streams.length < 2 || door.streams[0]!.closedAt === undefined) sent.push(await publish(to, { n: ++n }))
    sent.push(await publish(to, { n: ++n }))
    for (const one of tabs) {
      await one.until(`got().length >= ${sent.length}`)
      t.same(await one.run('return got().map(({ id }) => id)'), sent)
      t.same((await one.run<string[]>('return states')).filter((state) => state !== 'connecting'), ['live'], 'it was live all the time')
      t.equal(await one.run('return own("expiring").length'), 1)
    }
    t.ok(door.streams[0]!.closedAt! > door.streams[1]!.openedAt)
    await door.until(() => door.open.length === 1 || undefined, 'one stream')
  })
}

t.test('401: one more ticket, then denied; useHere() tries again', async (t) => {
  const visitor = await startVisitor(t, ground)
  const asked = ticketDesk(visitor)
  // A tab that opens later would ask once more by itself.
  const { promise: bothAreOpen, resolve } = Promise.withResolvers<void>()
  answer(visitor, 401, 2, '', bothAreOpen)
  const tabs = [await visitor.tab(`{ ${TICKET} }`), await visitor.tab(`{ ${TICKET} }`)]
  resolve()
  for (const one of tabs) await one.until('tidings.state === "denied"')
  t.equal(asked(), 2)
  answer(visitor, 401, 1)
  await tabs[0]!.run('tidings.useHere()')
  await live(tabs[0]!)
  t.equal(asked(), 4, 'refused once is not refused for good')
})

t.test('403: denied at once', async (t) => {
  const visitor = await startVisitor(t, ground)
  answer(visitor, 403, 1)
  const one = await visitor.tab()
  await one.until('tidings.state === "denied"')
  t.equal(visitor.door.streams.length, 1)
})

t.test('204: replaced, until useHere()', async (t) => {
  const visitor = await startVisitor(t, ground)
  answer(visitor, 204, 1)
  const one = await visitor.tab()
  await one.until('tidings.state === "replaced"')
  t.equal(visitor.door.streams.length, 1)
  await one.run('tidings.useHere()')
  await live(one)
})

t.test('"come back later", a proxy\'s own error, rubbish with status 200: waits, and comes back', async (t) => {
  const visitor = await startVisitor(t, ground)
  answer(visitor, 200, 1, 'event: sync\ndata: no json\n\n')
  answer(visitor, 502, 1, '<html>')
  answer(visitor, 200, 2, 'retry: 100\nevent: ping\ndata: {}\n\n')
  const one = await visitor.tab()
  await live(one)
  t.equal(visitor.door.streams.length, 5)
  t.same(await one.run('return errors'), [])
})

t.test('logout: closed in every tab, and nobody asks again', async (t) => {
  const visitor = await startVisitor(t, ground)
  const tabs = [await visitor.tab(), await visitor.tab()]
  await live(...tabs)
  t.equal((await call('DELETE', `/api/users/${visitor.user}/streams`)).status, 204)
  for (const one of tabs) {
    await one.until('tidings.state === "closed"')
    t.match(await one.run('return own("closed")'), [{ json: { reason: 'logout' } }])
  }
  t.equal(visitor.door.streams.length, 1)
  // The leader gives its lock back once the others have heard of the end.
  const locks = async () => await tabs[0]!.run<number>('const { held, pending } = await navigator.locks.query(); return held.length + pending.length')
  await eventually(locks, (count) => count === 0, { what: 'no lock' })
  t.equal(visitor.door.streams.length, 1)
})

for (const [state, end] of [['closed', 'logout'], ['denied', '403']] as const) {
  t.test(`${state}, and a tab that hears of it late: it waits for the lock until then, and nobody asks again`, async (t) => {
    const visitor = await startVisitor(t, ground)
    const leader = await visitor.tab()
    await live(leader)
    const late = await visitor.tab(null)
    // Whatever comes to this tab comes later than a lock would that is given back at once.
    await late.run(`
      const { set } = Object.getOwnPropertyDescriptor(BroadcastChannel.prototype, 'onmessage')
      Object.defineProperty(BroadcastChannel.prototype, 'onmessage', { set (hear) { set.call(this, (event) => setTimeout(() => hear?.(event), 1500)) } })
      await begin({})`)
    await live(late)
    if (end === 'logout') t.equal((await call('DELETE', `/api/users/${visitor.user}/streams`)).status, 204)
    else {
      answer(visitor, 403, 1)
      visitor.door.cut()
    }
    const waiting = await leader.run(`await until(() => tidings.state === "${state}", 20_000); return (await navigator.locks.query()).pending.length`)
    t.equal(waiting, 1, 'the other one waits')
    await late.until(`tidings.state === "${state}"`)
    const locks = async () => await leader.run<number>('const { held, pending } = await navigator.locks.query(); return held.length + pending.length')
    await eventually(locks, (count) => count === 0, { what: 'no lock' })
    t.equal(visitor.door.streams.length, end === 'logout' ? 1 : 2)
  })
}

t.test('closed, and a page that opens after it: asks for itself, at once', async (t) => {
  const visitor = await startVisitor(t, ground)
  const { door } = visitor
  const tabs = [await visitor.tab(), await visitor.tab()]
  await live(...tabs)
  t.equal((await call('DELETE', `/api/users/${visitor.user}/streams`)).status, 204)
  for (const one of tabs) await one.until('tidings.state === "closed"')
  visitor.signIn({ iat: seconds(1) })
  const fresh = await visitor.tab()
  await live(fresh)
  t.equal(door.open.length, 1)
  for (const one of tabs) t.equal(await one.state(), 'closed')
})

t.test('SESSION_POLICY=single: replaced by another browser, in every tab; useHere() in one takes all of them back', async (t) => {
  const single = await startNode(t, { env: { ...redis.env, ...issuer.env, HEARTBEAT_SECONDS: '5', RETRY_MS: '300', SESSION_POLICY: 'single', EXPIRING_SECONDS: '4' } })
  const visitor = await startVisitor(t, ground)
  const { door, to } = visitor
  door.target = single.url
  const tabs = [await visitor.tab(), await visitor.tab()]
  await live(...tabs)
  const other = await visitor.tab('{ share: "tab" }')
  await live(other)
  for (const one of tabs) await one.until('tidings.state === "replaced" && own("replaced").length === 1')
  await door.until(() => door.open.length === 1 || undefined, 'one stream')
  const sent = await publish(to, { n: 1 })
  await other.until('got().length === 1')
  await tabs[1]!.run('tidings.useHere()')
  await live(...tabs)
  await other.until('tidings.state === "replaced"')
  for (const one of tabs) {
    await one.until('got().length === 1')
    t.match(await one.run('return got()'), [{ id: sent, isReplay: true }], 'what it missed meanwhile')
  }
  // A line that breaks takes the session from nobody, and goes on as the holder's own.
  door.cut()
  await tabs[0]!.until('states.at(-1) !== "live"')
  await live(...tabs)
  t.equal(await other.state(), 'replaced')
})

t.test('SESSION_POLICY=single: a page that Chromium renders in advance takes the session when it is shown, and not before', async (t) => {
  const single = await startNode(t, { env: { ...redis.env, ...issuer.env, SESSION_POLICY: 'single' } })
  const { door } = await startVisitor(t, ground, { page: '<!doctype html><body><script>if (!location.hash) new EventSource("/api/notifications/subscribe")</script>' })
  door.target = single.url
  const open = (tab: string) => door.until(() => door.open.at(-1)?.tab === tab || undefined, `the stream of ${tab}`)
  await ground.engine.open(`${door.url}/page?tab=holder`)
  await open('holder')
  const { run } = await ground.engine.open(`${door.url}/page#none`)
  const rules = JSON.stringify({ prerender: [{ urls: ['/page?tab=next'], eagerness: 'immediate' }] })
  await run(`const script = document.createElement('script'); script.type = 'speculationrules'; script.textContent = '${rules}'; document.body.append(script)`)
  await door.until(() => door.streams.filter(({ tab }) => tab === 'next').length > 1 || undefined, 'two attempts of the page in advance')
  t.equal(door.streams.filter(({ tab }) => tab === 'holder').length, 1, 'the holder was not replaced')
  await run('setTimeout(() => { location.href = "/page?tab=next" })')
  await open('next')
  await door.until(() => door.streams.filter(({ tab }) => tab === 'holder').length === 2 || undefined, 'the holder, replaced, to ask once more')
})
