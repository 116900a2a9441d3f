// The browser module after whatever happens to a page or a line: live again within three seconds, nothing lost, nothing twice.
import t from 'tap'
import { startGround, startVisitor, type BrowserTab, type Visitor } from '../fixtures/client-lab.ts'

/** As issue and DESIGN promise it, once the network, the page or a node is there again. */
const WITHIN_MS = 3000
const HEARTBEAT_MS = 1000
const ground = await startGround(t)
const { publish } = ground
const live = async (...tabs: BrowserTab[]) => { for (const tab of tabs) await tab.until('tidings.state === "live"') }
const freeze = async (tab: BrowserTab, state: 'frozen' | 'active') => {
  const session = await tab.page!.createCDPSession()
  await session.send('Page.setWebLifecycleState', { state })
}

interface Judge {
  same: (found: unknown, wanted: unknown) => unknown
  equal: (found: unknown, wanted: unknown) => unknown
  comment: (text: string) => unknown
}

/** Publishes while `act` has it cut off, lets it come back, and looks that all came, soon. */
async function comesBack (t: Judge, { door, tab, to }: Visitor, { cut, mend, count = 2, withinMs = WITHIN_MS }: {
  cut: (tabs: BrowserTab[]) => unknown, mend: (tabs: BrowserTab[]) => unknown, count?: number, withinMs?: number
}): Promise<BrowserTab[]> {
  door.alter = (text) => text.includes('heartbeatSeconds') ? text : text.replace('"groups":', '"heartbeatSeconds":1,"groups":')
  const tabs: BrowserTab[] = []
  for (let n = 0; n < count; n++) tabs.push(await tab())
  await live(...tabs)
  const sent = [await publish(to, { n: 1 })]
  for (const one of tabs) await one.until('got().length === 1')
  await cut(tabs)
  sent.push(await publish(to, { n: 2 }))
  await mend(tabs)
  const since = performance.now()
  for (const one of tabs) await one.until('tidings.state === "live" && got().length === 2', withinMs)
  t.comment(`live again after ${Math.round(performance.now() - since)} ms`)
  sent.push(await publish(to, { n: 3 }))
  for (const one of tabs) {
    await one.until('got().length >= 3')
    t.same(await one.run('return got().map(({ id }) => id)'), sent)
    t.same(await one.run('return incompletes'), [])
  }
  await door.until(() => door.open.length === 1 || undefined, 'one stream')
  return tabs
}

t.test('frozen and thawed, alone: goes on from where it was', async (t) => {
  await comesBack(t, await startVisitor(t, ground), {
    count: 1,
    cut: ([one]) => freeze(one!, 'frozen'),
    mend: ([one]) => freeze(one!, 'active')
  })
})

t.test('events of the page\'s own elements, named as those of the page: change nothing', async (t) => {
  const { tab, door, to } = await startVisitor(t, ground)
  const page = await tab()
  await live(page)
  await page.run(`
    window.states = []
    tidings.subscribe(() => states.push(tidings.state))
    for (const name of ['freeze', 'pagehide', 'online']) document.body.dispatchEvent(new CustomEvent(name))`)
  await publish(to, { n: 1 })
  await page.until('got().length === 1')
  t.same(await page.run('return states'), [])
  t.equal(door.streams.length, 1)
})

t.test('the leader frozen: the other tab leads; thawed, it has all', async (t) => {
  const visitor = await startVisitor(t, ground)
  await comesBack(t, visitor, {
    cut: async ([one, other]) => {
      await freeze(one!, 'frozen')
      await visitor.door.until(() => visitor.door.streams.length === 2 && visitor.door.open.length === 1 ? true : undefined, 'the other stream')
      await live(other!)
    },
    mend: ([one]) => freeze(one!, 'active')
  })
})

t.test('network off and on', async (t) => {
  const visitor = await startVisitor(t, ground)
  const network = async (tabs: BrowserTab[], offline: boolean) => {
    for (const { page } of tabs) await page!.setOfflineMode(offline)
  }
  await comesBack(t, visitor, {
    cut: async (tabs) => {
      await network(tabs, true)
      visitor.door.cut()
      await tabs[0]!.until('tidings.state === "waiting"')
    },
    mend: (tabs) => network(tabs, false)
  })
})

t.test('the line goes dead without a word: noticed after two heartbeats', async (t) => {
  const visitor = await startVisitor(t, ground)
  const { door } = visitor
  await comesBack(t, visitor, {
    cut: () => door.freeze(true),
    mend: () => door.freeze(false),
    withinMs: 2 * HEARTBEAT_MS + WITHIN_MS
  })
})

t.test('another network: a new stream at once, though the old one looks alive', async (t) => {
  const visitor = await startVisitor(t, ground)
  await comesBack(t, visitor, {
    cut: () => {},
    mend: async ([one]) => {
      await one!.run('dispatchEvent(new Event("online"))')
      await visitor.door.until(() => visitor.door.streams.length === 2 ? true : undefined, 'the second stream', WITHIN_MS)
    }
  })
})

t.test('the service is away for a while and comes back; pauses grow, the page that is looked at tries at once', async (t) => {
  const visitor = await startVisitor(t, ground)
  const { door } = visitor
  await comesBack(t, visitor, {
    cut: async ([one]) => {
      door.target = undefined
      door.cut()
      await door.until(() => door.streams.length >= 4 ? true : undefined, 'three tries more')
      await one!.until('tidings.state === "waiting"')
    },
    mend: async ([one]) => {
      door.target = ground.node.url
      await one!.run('document.dispatchEvent(new Event("visibilitychange"))')
    }
  })
})

t.test('a leader whose page stands still, busy for 6 s: taken the lead from, and not believed when it goes on', async (t) => {
  const visitor = await startVisitor(t, ground)
  const { door } = visitor
  await comesBack(t, visitor, {
    // What a debugger or a very long task does to a page.
    cut: async ([one, other]) => {
      void one!.run('const end = performance.now() + 6000; while (performance.now() < end);').catch(() => {})
      await door.until(() => door.streams.length === 2 ? true : undefined, 'the other stream')
      await live(other!)
    },
    mend: async ([one]) => { await one!.run('return 1') }
  })
})

t.test('back from the back/forward cache, or loaded anew: one stream, and nothing missed', async (t) => {
  const visitor = await startVisitor(t, ground)
  const { door, tab, to } = visitor
  const [one, other] = [await tab(), await tab()]
  await live(one, other)
  await publish(to, { n: 1 })
  await one.until('got().length === 1')
  // As the cache does it; headless Chromium has it switched off.
  await one.run('dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }))')
  await door.until(() => door.streams.length === 2 && door.open.length === 1 ? true : undefined, 'the other tab\'s stream')
  t.equal((await one.run('return (await navigator.locks.query()).pending.length')), 0, 'holds no lock, and waits for none')
  await publish(to, { n: 2 })
  await other.until('got().length === 2')
  await one.run('dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))')
  await one.until('got().length === 2 && tidings.state === "live"', WITHIN_MS)
  await publish(to, { n: 3 })
  for (const tab of [one, other]) {
    await tab.until('got().length === 3')
    t.same(await tab.run('return got().map(({ json }) => json.n)'), [1, 2, 3])
  }
  await door.until(() => door.open.length === 1 || undefined, 'one stream')
})
