// Listeners of the inbox that act each time they are called, as an open list does.
import t from 'tap'
import { connect, event, list, startScript, sync, until } from '../fixtures/module.ts'
import { Signal, type Scope } from '../fixtures/wait.ts'

async function openPage (t: Scope, { url }: { url: string }) {
  const tidings = connect({ url, token: async () => 'x', share: 'tab' })
  t.teardown(() => tidings.close())
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list')
  return tidings
}

t.test('a listener that acts each time it is called, and is refused: once a second, not over and over', async (t) => {
  const acts: Record<string, (inbox: any) => Array<Promise<void>>> = {
    'PUT /api/notifications/seen': (inbox) => inbox.unseen > 0 ? [inbox.see()] : [],
    'PUT /api/notifications/2/read': ({ items, read }) => items.filter(({ isRead }: any) => !isRead).map(({ id }: any) => read(id))
  }
  for (const [line, act] of Object.entries(acts)) {
    const script = await startScript(t, { head: () => sync(1), answer: (line) => line.startsWith('GET') ? [200, list([2, 1])] : [409, '{"code":"TIDINGS_FULL","message":"full"}'] })
    const tidings = await openPage(t, script)
    const refusals: unknown[] = []
    const changed = new Signal()
    tidings.inbox.subscribe(() => {
      for (const one of act(tidings.inbox)) one.catch((error) => refusals.push(error.code))
      changed.notify()
    })
    script.streams[0]!.write(event(undefined, { seen: '0', read: '0', unseen: 2, unread: 2 }, 'read'))
    const lists = (): number => script.asked.filter((line) => line.startsWith('GET /api/notifications?')).length
    // The list is fetched after a refusal, which calls the listener again.
    await changed.until(() => (lists() > 1 && refusals.length > 1) || undefined, { what: `the answer to ${line}` })
    t.equal(script.asked.filter((asked) => asked === line).length, 1, line)
    t.same(new Set(refusals), new Set(['TIDINGS_FULL']))
    t.same([tidings.inbox.unseen, tidings.inbox.unread], [2, 2], 'taken back')
    tidings.close()
  }
})

t.test('a listener that calls read() while anything is unread: what the service took is not sent again, and the list is fetched once', async (t) => {
  // One of the page was marked unread again; then one that is older than the page.
  for (const isListed of [true, false]) {
    const page = list([9, 8], { next: '8', seen: '9', read: '9', unseen: 0, unread: 1 }).replaceAll('"isRead":false', '"isRead":true').replace('"isRead":true', `"isRead":${!isListed}`)
    const script = await startScript(t, { head: () => sync(9), answer: (line) => [200, line.startsWith('GET') ? page : '{"seen":"9","read":"9","unseen":0,"unread":1}'] })
    const tidings = await openPage(t, script)
    let calls = 0
    const changed = new Signal()
    tidings.inbox.subscribe(() => {
      if (tidings.inbox.unread > 0) void tidings.inbox.read().then(() => { calls++ }).then(() => { changed.notify() })
    })
    script.streams[0]!.write(event(undefined, { seen: '9', read: '9', unseen: 0, unread: 1, changed: [] }, 'read'))
    await changed.until(() => calls > 1 || undefined, { what: 'two calls' })
    await fetch(`${script.url}/after-it`)
    await fetch(`${script.url}/after-it`)
    const count = (start: string): number => script.asked.filter((line) => line.startsWith(start)).length
    t.ok(count('PUT /api/notifications/read') <= 2, `${count('PUT')} PUT`)
    t.ok(count('GET /api/notifications?') <= 3, `${count('GET')} GET`)
    tidings.close()
  }
})
