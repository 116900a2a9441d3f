// Several connections of the browser module beside each other, as the tabs of one browser: who leads, and who has the session.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connect, happens, startScript, sync, until } from '../fixtures/module.ts'
import type { Scope } from '../fixtures/wait.ts'
import { startService, type Service } from '../http/service.ts'

async function startTabs (t: Scope, env: Record<string, string> = {}) {
  const service: Service = await startService(t, { env })
  const token = service.token({ sub: 'ada' })
  const open = (more: object = {}) => {
    const tidings = connect({ url: service.url, user: 'ada', token: async () => token, ...more })
    t.teardown(() => tidings.close())
    const is = async (state: string) => { await until(tidings.subscribe, () => tidings.state === state, state) }
    return { tidings, is }
  }
  const publish = async () => { await service.publish('user:ada', {}) }
  /** Publishes, and waits until all of them have heard it. */
  const hear = async (...tabs: Array<ReturnType<typeof open>>) => {
    const heard = tabs.map(({ tidings }) => new Promise<void>((resolve) => { tidings.on('message', () => resolve()) }))
    await publish()
    await Promise.all(heard)
  }
  const position = async (): Promise<string> => (await service.call('GET', '/api/notifications/position', { token })).body.position
  return { open, publish, hear, position }
}

t.test('SESSION_POLICY=single: replaced by another device; a new tab takes the session for all tabs, also with an old position', async (t) => {
  const { open, publish, hear, position } = await startTabs(t, { SESSION_POLICY: 'single' })
  const before = await position()
  const tabs = [open(), open()]
  for (const tab of tabs) await tab.is('live')
  await publish()
  const device = open({ share: 'tab' })
  for (const tab of tabs) await tab.is('replaced')
  await device.is('live')
  await publish()
  tabs.push(open({ position: before }))
  for (const tab of tabs) await tab.is('live')
  await device.is('replaced')
  // Whoever was behind has taken the lead by now, or never will.
  await hear(...tabs)
  for (const { tidings } of tabs) t.equal(tidings.state, 'live')
  t.equal(device.tidings.state, 'replaced')
})

t.test('useHere() in two tabs, of which one gets the lead a moment after it has heard of the other: both ask as the user does', async (t) => {
  const script = await startScript(t, { head: (number) => number === 1 ? `${sync(10)}id: !replaced\nevent: replaced\ndata: {}\n\n` : 'event: ping\ndata: {}\n\n' })
  const tabs = [0, 1].map(() => connect({ url: script.url, user: 'ada', token: async () => 'x' }))
  t.teardown(() => { for (const tab of tabs) tab.close() })
  for (const tab of tabs) await until(tab.subscribe, () => tab.state === 'replaced', 'replaced')
  let steals = 0
  const { locks } = navigator
  const request = locks.request.bind(locks) as (...args: unknown[]) => Promise<unknown>
  t.intercept(locks, 'request', {
    value: async (name: string, options: { steal?: boolean }, act: unknown) => {
      if (options.steal && ++steals === 2) {
        await script.until(() => script.streams.length > 1, 'the stream of the first')
        await sleep(20)
      }
      return await request(name, options, act)
    }
  })
  const asked = script.asked.length
  for (const tab of tabs) tab.useHere()
  await script.until(() => script.streams.length > 2, 'the stream of the second')
  t.same(script.asked.slice(asked).map((line) => /lastEventId=10$/.test(line)), [true, true])
})

t.test('replaced, left, and come back to: with another tab of the browser that is live again, so is this one', async (t) => {
  const { open, hear } = await startTabs(t, { SESSION_POLICY: 'single' })
  const tabs = [open(), open()]
  for (const tab of tabs) await tab.is('live')
  const device = open({ share: 'tab' })
  for (const tab of tabs) await tab.is('replaced')
  await device.is('live')
  device.tidings.close()
  happens('pagehide')
  happens('pageshow')
  // It asks for itself, and the service says the same.
  for (const tab of tabs) await tab.is('replaced')
  tabs[0]!.tidings.useHere()
  for (const tab of tabs) await tab.is('live')
  await hear(...tabs)
})

t.test('close() of a tab that is behind, before it takes the lead: for good, and the others are live', async (t) => {
  const { open, publish, hear, position } = await startTabs(t)
  const before = await position()
  await publish()
  const one = open()
  await one.is('live')
  const late = open({ position: before })
  await late.is('live')
  late.tidings.close()
  // Longer than it would have waited.
  await one.tidings.once('1', () => {})
  // Whoever is behind would have taken the lead by now.
  await hear(one)
  t.equal(late.tidings.state, 'closed')
  t.equal(one.tidings.state, 'live')
})

t.test('once, in a tab that takes the lead though it knows of nothing: it learns all that was granted', async (t) => {
  const { open, publish, position } = await startTabs(t)
  const before = await position()
  await publish()
  const one = open()
  await one.is('live')
  const ids = Array.from({ length: 150 }, (_, n) => String(n))
  t.same(await Promise.all(ids.map((id) => one.tidings.once(id, () => {}))), ids.map(() => true))
  const other = open({ position: before })
  // It is behind, so it takes the lead.
  await until((listener) => other.tidings.on('sync', listener), () => true, 'a stream of its own')
  await other.is('live')
  t.same(await Promise.all(ids.map((id) => other.tidings.once(id, () => {}))), ids.map(() => false))
})

t.test('once, with a number as id (the page\'s own, in code without types): one acts, whichever tab asks', async (t) => {
  const { open, hear } = await startTabs(t)
  const tabs = [open(), open()]
  for (const tab of tabs) await tab.is('live')
  await hear(...tabs)
  for (const [n, { tidings }] of tabs.entries()) {
    let acted = 0
    t.equal(await tidings.once(n, () => { acted++ }), true)
    t.equal(acted, 1)
  }
  for (const [n, { tidings }] of tabs.reverse().entries()) t.equal(await tidings.once(n, () => {}), false)
})

t.test('a position that is not of this service, or greater than all of its own, beside a tab that leads: incomplete, and then all that comes', async (t) => {
  const { open, publish, hear } = await startTabs(t)
  const one = open()
  await one.is('live')
  for (const position of ['of-another-service', '9999999999999999', '2026-11-27T15:48:18Z']) {
    const other = open({ position })
    const told = new Promise<void>((resolve) => { other.tidings.onIncomplete(resolve) })
    await other.is('live')
    await publish()
    await told
    await other.is('live')
    await hear(one, other)
    other.tidings.close()
    await hear(one)
  }
})

t.test('a list that is none, posted by other code: a tab that takes the lead after it is live all the same', async (t) => {
  const { open, hear } = await startTabs(t)
  const first = open()
  await first.is('live')
  // It has heard of no cursor yet, so the first sync that it hears changes every item.
  const second = open()
  await second.is('live')
  const { held } = await navigator.locks.query()
  const other = new BroadcastChannel(held!.find(({ name }) => name!.startsWith('tidings '))!.name!)
  t.teardown(() => { other.close() })
  other.postMessage({ tidings: 1, type: 'inbox', page: { notifications: 'no' } })
  // What is published after it is heard after it.
  await hear(first, second)
  first.tidings.close()
  await second.is('connecting')
  await second.is('live')
  t.same(second.tidings.inbox.items, [])
})
