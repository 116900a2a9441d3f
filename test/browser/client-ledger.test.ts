// Six tabs and one stream: while notifications arrive, whoever leads is closed, frozen or crashed, over and over. Nothing is lost, nothing comes
// twice, and there is one stream. How often: TIDINGS_HANDOVERS, default 24 (about half a minute; 300 take some minutes).
import t from 'tap'
import { setTimeout as delay } from 'node:timers/promises'
import { startGround, startVisitor, type BrowserTab } from '../fixtures/client-lab.ts'

const HANDOVERS = Number(process.env.TIDINGS_HANDOVERS ?? 24)
const TABS = 6
const PER_SECOND = 50
/** How long two streams may be open beside each other: the old one's end is on its way. */
const HANDOVER_MS = 2000

const ground = await startGround(t, { PUBLISH_PER_MINUTE: '0', CONNECTS_PER_MINUTE: '0', HISTORY_LENGTH: '5000' })

t.test(`${HANDOVERS} hand-overs between ${TABS} tabs at ${PER_SECOND} notifications a second: 0 lost, 0 double, 1 stream`, { timeout: 1_800_000 }, async (t) => {
  const { door, tab: open, to } = await startVisitor(t, ground)
  const tabs = new Map<string, BrowserTab>()
  /** What was published when the tab was live: from there on it is owed everything. */
  const liveAt = new Map<BrowserTab, number>()
  let sent = 0
  let isOver = false

  const add = async () => {
    const tab = await open()
    tabs.set(tab.name, tab)
    await tab.until('tidings.state === "live"', 30_000)
    liveAt.set(tab, sent)
    return tab
  }
  for (let n = 0; n < TABS; n++) await add()

  const publishing = (async () => {
    const start = performance.now()
    while (!isOver) {
      await ground.publish(to, { n: ++sent })
      await delay(Math.max(0, start + sent * 1000 / PER_SECOND - performance.now()))
    }
  })()

  /** Once it has what is owed to it: nobody is judged by what is still on its way. */
  const judge = async (tab: BrowserTab, owed: number) => {
    await tab.until(`got().at(-1)?.json.n >= ${owed}`, 30_000)
    const got = await tab.run<number[]>('return got().map(({ json }) => json.n)')
    const first = got[0]!
    const faults = got.flatMap((n, index) => n === first + index ? [] : [`${n} as number ${index} after ${got[index - 1]}`]).slice(0, 3)
    const incompletes = await tab.run<number>('return incompletes.length')
    if (first > liveAt.get(tab)! + 1) faults.push(`begins with ${first}, was live at ${liveAt.get(tab)}`)
    return { name: tab.name, faults, incompletes, last: got.at(-1) }
  }
  const isWell = (verdict: { faults: string[], incompletes: number }) => verdict.faults.length === 0 && verdict.incompletes === 0
  const verdicts: Awaited<ReturnType<typeof judge>>[] = []

  for (let handover = 0; handover < HANDOVERS; handover++) {
    const { tab: name } = await door.until(() => door.open.length === 1 && door.open[0] === door.streams.at(-1) ? door.open[0] : undefined, 'one leader')
    const leader = tabs.get(name!)!
    const before = door.streams.length
    const next = () => door.until(() => door.streams.length > before && door.streams.at(-1)!.status === 200 ? true : undefined, 'the next leader\'s stream')
    const way = (['close', 'freeze', 'crash'] as const)[handover % 3]
    if (way === 'freeze') {
      await [...tabs.values()].find((tab) => tab !== leader)!.page!.bringToFront()
      const session = await leader.page!.createCDPSession()
      await session.send('Page.setWebLifecycleState', { state: 'frozen' })
      await next()
      await session.send('Page.setWebLifecycleState', { state: 'active' })
      await session.detach()
      continue
    }
    tabs.delete(leader.name)
    if (way === 'close') {
      // The next one that is published is owed to it for certain.
      verdicts.push(await judge(leader, sent + 1))
      await leader.close()
    } else {
      await leader.page!.goto('chrome://crash').catch(() => {})
      leader.close().catch(() => {})
    }
    await next()
    await add()
  }
  isOver = true
  await publishing
  // One more, owed to all: what came before it may have come before the newest tab was live.
  await ground.publish(to, { n: ++sent })
  for (const tab of tabs.values()) verdicts.push(await judge(tab, sent))
  t.same(verdicts.filter((verdict) => !isWell(verdict)), [], `${verdicts.length} tabs got each of ${sent} notifications once, in order`)

  const good = door.streams.filter(({ status }) => status === 200)
  const overlaps = good.slice(1).map((stream, index) => (good[index]!.closedAt ?? Infinity) - stream.openedAt)
  t.ok(Math.max(...overlaps) < HANDOVER_MS, `${good.length} streams, side by side for at most ${Math.round(Math.max(0, ...overlaps))} ms`)
  await door.until(() => door.open.length === 1 || undefined, 'one stream')
  t.comment(`streams ${good.length}, hand-overs ${HANDOVERS}, notifications ${sent}`)
})
