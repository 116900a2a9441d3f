// The list of the browser module below its newest page: what loadMore() has brought may change meanwhile.
import t, { type Test } from 'tap'
import { connect, event, list, startScript, sync, until, type Script } from '../fixtures/module.ts'
import type { Scope } from '../fixtures/wait.ts'

/** A list of two pages, and a connection that shows both. */
async function openList (t: Scope, pages: Record<string, string | Promise<string>>): Promise<{ tidings: any, script: Script }> {
  const script = await startScript(t, { head: () => sync(9), answer: async (line) => [200, await pages[line.slice(line.indexOf('?'))]!] })
  const tidings = connect({ url: script.url, share: 'tab' })
  t.teardown(() => tidings.close())
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list')
  await tidings.inbox.loadMore()
  return { tidings, script }
}

t.test('another sync on a live stream, whose node may have missed an event without an id: the newest page anew', async (t) => {
  const pages: Record<string, string> = { '?limit=50': list([9, 8], { next: '8' }), '?limit=50&before=8': list([7, 6]) }
  const { tidings, script } = await openList(t, pages)
  t.equal(tidings.inbox.items.length, 4)
  const states: string[] = []
  tidings.subscribe(() => { states.push(tidings.state) })
  script.streams[0]!.write(sync(9, { resume: 'complete' }))
  await until(tidings.inbox.subscribe, () => tidings.inbox.items.length === 2 && tidings.inbox.hasMore, 'the newest page')
  t.same(states, [], 'it was live all the time')
})

t.test('a key takes the place of an older one that only loadMore() has brought', async (t) => {
  const keyed = (ids: number[], more: object, key: string) => list(ids, more).replace('"id"', `"key":"${key}","id"`)
  const pages: Record<string, string> = { '?limit=50': list([9, 8], { next: '8' }), '?limit=50&before=8': keyed([7, 6], {}, 'k') }
  const { tidings, script } = await openList(t, pages)
  for (const [id, key, ids] of [[10, 'other', ['10', '9', '8', '7', '6']], [11, 'k', ['11', '9', '8', '6']]] as const) {
    pages['?limit=50'] = keyed([id, 9, 8], { next: '8' }, key)
    script.streams[0]!.write(event(id, {}))
    await until(tidings.inbox.subscribe, () => tidings.inbox.items[0]?.id === String(id), key)
    t.same(tidings.inbox.items.map((item: { id: string }) => item.id), ids)
  }
})

t.test('a key takes the place of an older one that a loadMore() under way brings, after the list has the newer one', async (t) => {
  const keyed = (ids: number[], more: object = {}) => list(ids, more).replace('"id"', '"key":"k","id"')
  const pages: Record<string, string | Promise<string>> = { '?limit=50': list([9, 8], { next: '8' }), '?limit=50&before=8': list([7], { next: '7' }) }
  const { tidings, script } = await openList(t, pages)
  let answer: (page: string) => void
  pages['?limit=50&before=7'] = new Promise<string>((resolve) => { answer = resolve })
  const more = tidings.inbox.loadMore()
  await script.until(() => script.asked.some((line) => line.includes('before=7')), 'the older page')
  pages['?limit=50'] = keyed([10, 9, 8], { next: '8' })
  script.streams[0]!.write(event(10, {}))
  await until(tidings.inbox.subscribe, () => tidings.inbox.items[0]?.id === '10', 'the newer one')
  answer!(keyed([6, 5]))
  await more
  t.same(tidings.inbox.items.map(({ id }: { id: string }) => id), ['10', '9', '8', '7', '5'])
})

t.test('retractions that come faster than answers: the list all the same, and its next page, without what was taken back', async (t) => {
  const pages: Record<string, string> = { '?limit=50': list([9, 8], { next: '8' }), '?limit=50&before=8': list([7, 6]) }
  const { fetch } = globalThis
  const { url, streams } = await startScript(t, { head: () => sync(9), answer: (line) => [200, pages[line.slice(line.indexOf('?'))]!] })
  let hear: (() => void) | undefined
  // From the first list to the last, each answer is overtaken by a retraction.
  t.intercept(globalThis, 'fetch', {
    value: async (...args: Parameters<typeof fetch>) => {
      const response = await fetch(...args)
      const before = /limit=50(&before)?/.exec(String(args[0]))
      if (!before) return response
      const heard = new Promise<void>((resolve) => { hear = resolve })
      streams[0]!.write(event(undefined, { to: 'all', id: before[1] ? '7' : '9' }, 'retracted'))
      await heard
      return response
    }
  })
  const tidings = connect({ url, share: 'tab' })
  t.teardown(() => tidings.close())
  tidings.on('retracted', () => { hear?.() })
  const ids = () => tidings.inbox.items.map(({ id }: { id: string }) => id)
  await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list')
  t.same(ids(), ['8'])
  await tidings.inbox.loadMore()
  t.same(ids(), ['8', '6'])
})

t.test('two calls at the same time load one page together, also if something changes between their answers', async (t) => {
  const pages: Record<string, string> = { '?limit=50': list([9, 8], { next: '8' }), '?limit=50&before=8': list([7, 6], { next: '6' }), '?limit=50&before=6': list([5]) }
  let older = 0
  const script = await startScript(t, {
    head: () => sync(9),
    answer: async (line) => {
      // Of two requests, the second is answered after the first has been shown and the cursor has moved.
      if (line.includes('before=8') && ++older === 2) {
        await until(tidings.inbox.subscribe, () => tidings.inbox.items.length === 4, 'the first page')
        script.streams[0]!.write(event(undefined, { seen: '9', read: '9', unseen: 0, unread: 0 }, 'read'))
        await until(tidings.inbox.subscribe, () => tidings.inbox.state.seen === '9', 'the cursor')
      }
      return [200, pages[line.slice(line.indexOf('?'))]!]
    }
  })
  const tidings = connect({ url: script.url, share: 'tab' })
  t.teardown(() => tidings.close())
  await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list')
  await Promise.all([tidings.inbox.loadMore(), tidings.inbox.loadMore()])
  t.same(tidings.inbox.items.map(({ id }: { id: string }) => id), ['9', '8', '7', '6'])
  await tidings.inbox.loadMore()
  t.same(tidings.inbox.items.map(({ id }: { id: string }) => id), ['9', '8', '7', '6', '5'])
})

t.test('more than a page came at once, and one of it has the key of an old one: what lies between can be loaded', async (t) => {
  const keyed = (ids: number[], more?: object) => list(ids, more).replace('"id"', '"key":"k","id"')
  const pages: Record<string, string> = { '?limit=50': keyed([9, 8, 7]), '?limit=50&before=7': list([]) }
  const { tidings, script } = await openList(t, pages)
  const ids = () => tidings.inbox.items.map(({ id }: { id: string }) => id)
  t.same([ids(), tidings.inbox.hasMore], [['9', '8', '7'], false])
  // Since then 10 to 14 came, of which the newest page has two.
  Object.assign(pages, { '?limit=50': keyed([14, 13], { next: '13' }), '?limit=50&before=13': list([12, 11, 10, 8, 7]) })
  script.streams[0]!.write(event(14, {}))
  await until(tidings.inbox.subscribe, () => tidings.inbox.items[0]?.id === '14', 'the newest page')
  t.same([ids(), tidings.inbox.hasMore], [['14', '13'], true])
  await tidings.inbox.loadMore()
  t.same([ids(), tidings.inbox.hasMore], [['14', '13', '12', '11', '10', '8', '7'], false])
})

t.test('a notification by several addresses, retracted at one of them: it stays, as it came by another', async (t) => {
  const pages: Record<string, string> = { '?limit=50': list([9, 8]).replace(/"all"/, '"user:me"') }
  const script = await startScript(t, { head: () => sync(9), answer: (line) => [200, pages[line.slice(line.indexOf('?'))]!] })
  const tidings = connect({ url: script.url, share: 'tab' })
  t.teardown(() => tidings.close())
  await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list')
  const shown = () => tidings.inbox.items.map(({ id, to }: { id: string, to: string }) => `${id} ${to}`)
  script.streams[0]!.write(event(undefined, { to: 'group:G', id: '9' }, 'retracted') + event(undefined, { to: 'all', id: '8' }, 'retracted'))
  await until(tidings.inbox.subscribe, () => tidings.inbox.items.length < 2, 'the retractions')
  t.same(shown(), ['9 user:me'])
  // The service lists it by the address that is left.
  pages['?limit=50'] = list([9]).replace(/"all"/, '"group:H"')
  script.streams[0]!.write(event(undefined, { to: 'user:me', id: '9' }, 'retracted'))
  await until(tidings.inbox.subscribe, () => shown()[0] === '9 group:H', 'the list')
})

t.test('what the service counts no more (expired, or of a group that was left), while the list still has it: no count falls below none', async (t) => {
  const counts = { seen: '0', read: '0', unseen: 0, unread: 0 }
  const script = await startScript(t, {
    head: () => sync(1),
    answer: (line) => line.startsWith('GET') ? [200, list([2, 1], { unseen: 1, unread: 1 })] : line.includes('/2') ? [200, JSON.stringify(counts)] : [404, '{"code":"TIDINGS_NOT_FOUND","message":"gone"}']
  })
  const tidings = connect({ url: script.url, share: 'tab' })
  t.teardown(() => tidings.close())
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  const { inbox } = tidings
  await until(inbox.subscribe, () => inbox.state.isLoaded, 'the list')
  await inbox.read('2')
  t.match(inbox.state, counts)
  const shown: number[] = []
  inbox.subscribe(() => { shown.push(inbox.unseen, inbox.unread) })
  for (const act of [inbox.read, inbox.dismiss]) await t.rejects(act('1'), { statusCode: 404, message: 'gone' })
  t.ok(shown.length > 0)
  t.same(shown.filter((count) => count < 0), [])
})

t.test('unread again below the cursor, in a tab whose first list comes before it knows the cursor: unread there, too', async (t) => {
  const script = await startScript(t, { head: () => sync(9, { read: '2', seen: '2', unread: 1 }), answer: () => [200, list([2, 1], { read: '2', seen: '2', unread: 1 }).replace('"isRead":false', '"isRead":true')] })
  const unread: string[][] = []
  for (let tab = 0; tab < 2; tab++) {
    const tidings = connect({ url: script.url, user: 'me' })
    t.teardown(() => tidings.close())
    await until(tidings.subscribe, () => tidings.state === 'live', 'live')
    await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list')
    unread.push(tidings.inbox.items.filter(({ isRead }: { isRead: boolean }) => !isRead).map(({ id }: { id: string }) => id))
  }
  t.same(unread, [['1'], ['1']])
})

t.test('two calls at once that are refused: no cursor stays ahead of the service, so a later one of another device counts', async (t) => {
  const none = { seen: '0', read: '0', unseen: 2, unread: 2 }
  const script = await startScript(t, {
    head: () => sync(9, none),
    answer: (line) => line.startsWith('GET') ? [200, list([2, 1], none)] : [503, '{"code":"TIDINGS_UNAVAILABLE","message":"away"}']
  })
  const tidings = connect({ url: script.url, share: 'tab' })
  t.teardown(() => tidings.close())
  const { inbox } = tidings
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  await until(inbox.subscribe, () => inbox.state.isLoaded, 'the list')
  for (const { status } of await Promise.allSettled([inbox.read(), inbox.markUnread('1')])) t.equal(status, 'rejected')
  await until(inbox.subscribe, () => inbox.items.every(({ isRead }: { isRead: boolean }) => !isRead), 'the list anew')
  t.match(inbox.state, none)
  script.streams[0]!.write(event(undefined, { seen: '2', read: '2', unseen: 0, unread: 0 }, 'read'))
  await until(inbox.subscribe, () => inbox.unread === 0, 'another device')
  t.same(inbox.items.map(({ isRead }: { isRead: boolean }) => isRead), [true, true])
})

interface Holding {
  script: Script
  /** What the list has. */
  ids: number[]
  /** Answers of the list wait until they are let go, in their order. Anything else is refused. */
  holds: boolean
  held: Array<{ body: string, go: () => void }>
  /** Lets the first one go; resolves when the module has taken it, or dropped it. */
  release: () => Promise<void>
}

async function startHolding (t: Test): Promise<Holding> {
  const taken = new Map<string, () => void>()
  const { fetch } = globalThis
  t.intercept(globalThis, 'fetch', {
    value: async (...args: Parameters<typeof fetch>) => {
      const response = await fetch(...args)
      const text = response.text.bind(response)
      return Object.assign(response, {
        async text () {
          const body = await text()
          setImmediate(() => { taken.get(body)?.() })
          return body
        }
      })
    }
  })
  const service: Omit<Holding, 'script'> = {
    ids: [1],
    holds: false,
    held: [],
    release: () => new Promise((resolve) => {
      const { body, go } = service.held.shift()!
      taken.set(body, resolve)
      go()
    })
  }
  const script = await startScript(t, {
    head: () => sync(1),
    async answer (line) {
      if (!line.startsWith('GET')) return [503, '{"code":"TIDINGS_UNAVAILABLE","message":"away"}']
      const body = list(service.ids)
      if (service.holds) await new Promise<void>((resolve) => service.held.push({ body, go: resolve }))
      return [200, body]
    }
  })
  return Object.assign(service, { script })
}

t.test('two requests for the list whose answers come in the other order: the older one does not count', async (t) => {
  const service = await startHolding(t)
  const { script } = service
  const tidings = connect({ url: script.url, share: 'tab' })
  t.teardown(() => tidings.close())
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list')
  for (const id of [2, 3]) {
    service.holds = id === 2
    const before = script.asked.length
    service.ids = [id, ...service.ids]
    script.streams[0]!.write(event(id, {}))
    await script.until(() => script.asked.length > before, 'a request')
  }
  const shown = (): string[] => tidings.inbox.items.map(({ id }: { id: string }) => id)
  await until(tidings.inbox.subscribe, () => shown().length === 3, 'the newer answer')
  await service.release()
  t.same(shown(), ['3', '2', '1'])
  t.equal(tidings.inbox.unread, 3)
})

t.test('a list that a tab asked for before the one of the tab with the stream, and got later: no tab goes back to it', async (t) => {
  const service = await startHolding(t)
  const { script } = service
  const tabs: any[] = []
  for (let tab = 0; tab < 2; tab++) {
    const tidings = connect({ url: script.url, user: 'order' })
    t.teardown(() => tidings.close())
    await until(tidings.subscribe, () => tidings.state === 'live', 'live')
    await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list')
    tabs.push(tidings)
  }
  service.holds = true
  await t.rejects(tabs[1].inbox.dismiss('1'))
  await script.until(() => service.held.length > 0, 'the list after the refusal')
  service.holds = false
  service.ids = [2, 1]
  script.streams[0]!.write(event(2, {}))
  const shown = (): string[][] => tabs.map(({ inbox }) => inbox.items.map(({ id }: { id: string }) => id))
  for (const { inbox } of tabs) await until(inbox.subscribe, () => inbox.items[0]?.id === '2', 'the newer list')
  await service.release()
  t.same(shown(), [['2', '1'], ['2', '1']])
})
