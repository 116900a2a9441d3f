// What the inbox of the browser module shows before the service has answered, and what it asks again.
import t, { type Test } from 'tap'
import { connect, event, list, startScript, sync, until } from '../fixtures/module.ts'

/** An open list whose counts are given, and whose changes are answered when the test says so. */
async function openInbox (t: Test, ids: number[], counts: object = {}) {
  const answers: Array<(answer: [number, string]) => void> = []
  const script = await startScript(t, {
    head: () => sync(9, counts),
    answer: (line) => line.startsWith('GET') ? [200, list(ids, counts)] : new Promise((resolve) => { answers.push(resolve) })
  })
  const tidings = connect({ url: script.url, share: 'tab' })
  t.teardown(() => tidings.close())
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list')
  const { inbox } = tidings
  return { inbox, script, shown: () => [inbox.unseen, inbox.unread], refuse: () => { answers.shift()!([503, '{}']) }, asked: async (n: number) => { await script.until(() => answers.length === n, 'the request') } }
}

t.test('counts at 100, which may stand for more: one read leaves them', async (t) => {
  const { inbox, shown, asked, refuse } = await openInbox(t, [9, 8], { unseen: 100, unread: 100 })
  const reading = inbox.read('9')
  t.same(shown(), [100, 100])
  await asked(1)
  refuse()
  await t.rejects(reading)
})

t.test('read up to the middle of the list, all of which was seen and of which some was read: what is above and unread counts', async (t) => {
  const { inbox, shown, asked, refuse } = await openInbox(t, [9, 8, 7], { unseen: 0, unread: 3, seen: '9' })
  const one = inbox.read('9')
  await asked(1)
  const some = inbox.read({ upTo: '7' })
  t.same(shown(), [0, 1])
  await asked(2)
  for (const each of [one, some]) {
    refuse()
    await t.rejects(each)
  }
})

t.test('an action that was refused: not sent again for a second, and sent again after that', async (t) => {
  const { setTimeout } = globalThis
  t.teardown(() => { globalThis.setTimeout = setTimeout })
  const due: Array<() => void> = []
  globalThis.setTimeout = ((act: () => void, ms?: number, ...more: []) => {
    if (ms !== 1000) return setTimeout(act, ms, ...more)
    due.push(act)
    return 0
  }) as typeof setTimeout
  const { inbox, script, asked, refuse } = await openInbox(t, [9], { unseen: 1, unread: 1 })
  const changes = () => script.asked.filter((line) => line.startsWith('DELETE')).length
  for (const n of [1, 2]) {
    const first = inbox.dismiss('9')
    await asked(1)
    refuse()
    await t.rejects(first)
    await t.rejects(inbox.dismiss('9'))
    t.equal(changes(), n)
    for (const act of due.splice(0)) act()
  }
})

t.test('an answer from before the user read on another device: nothing is shown as unread again, and the list is asked for anew', async (t) => {
  const pages: Record<string, string | Promise<string>> = { '?limit=50': list([9, 8]) }
  const script = await startScript(t, { head: () => sync(9), answer: async (line) => [200, await pages[line.slice(line.indexOf('?'))]!] })
  const tidings = connect({ url: script.url, share: 'tab' })
  t.teardown(() => tidings.close())
  await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded && tidings.state === 'live', 'the list')
  const asked = (): number => script.asked.filter((line) => line.endsWith('?limit=50')).length
  const before = asked()
  const late = Promise.withResolvers<string>()
  pages['?limit=50'] = late.promise
  script.streams[0]!.write(event(10, {}))
  await script.until(() => asked() === before + 1, 'the list')
  script.streams[0]!.write(event(undefined, { seen: '10', read: '10', unseen: 0, unread: 0 }, 'read'))
  await until(tidings.inbox.subscribe, () => tidings.inbox.unread === 0, 'the other device')
  const unread = new Set<number>()
  tidings.inbox.subscribe(() => { unread.add(tidings.inbox.unread) })
  pages['?limit=50'] = list([10, 9, 8], { seen: '10', read: '10', unseen: 0, unread: 0 }).replaceAll('"isRead":false', '"isRead":true')
  late.resolve(list([10, 9, 8]))
  await until(tidings.inbox.subscribe, () => tidings.inbox.items.length === 3, 'the newer list')
  t.same([...unread], [0])
  t.equal(asked(), before + 2)
})
