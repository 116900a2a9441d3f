// The browser module over HTTP alone: what a service, a proxy, or the page itself may do to a connection and its inbox.
import t from 'tap'
import { connect, errors, event, list, skipPauses, startScript, sync, until } from '../fixtures/module.ts'
import type { Scope } from '../fixtures/wait.ts'

const token = async () => 'x'

async function openPage (t: Scope, script: { url: string }, more: object = {}) {
  const tidings = connect({ url: script.url, token, share: 'tab', ...more })
  t.teardown(() => tidings.close())
  const heard: any[] = []
  tidings.on('*', (data: unknown) => { heard.push(data) })
  return { tidings, heard, live: () => until(tidings.subscribe, () => tidings.state === 'live', 'live'), loaded: () => until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list') }
}

/** Waits of the module that are longer than any answer may take, which are no round numbers: over at once, or not waited for. */
function skipLongWaits (t: Scope, areOver = true): void {
  const { setTimeout } = globalThis
  globalThis.setTimeout = ((act: () => void, ms = 0, ...more: []) => {
    const isLong = ms > 10_000 && !Number.isInteger(ms)
    const timer = setTimeout(act, isLong && areOver ? 0 : ms, ...more)
    return isLong ? timer.unref() : timer
  }) as typeof setTimeout
  t.teardown(() => { globalThis.setTimeout = setTimeout })
}

t.test('once, without an id (keep: none): the tab that holds the stream acts, each time; after the end nobody, and nobody waits', async (t) => {
  const { tidings, live } = await openPage(t, await startScript(t, { head: () => sync(1) }))
  await live()
  for (let n = 0; n < 3; n++) t.equal(await tidings.once(undefined, () => {}), true)
  const waiting = tidings.once('7', () => t.fail('acted'))
  tidings.close()
  t.equal(await waiting, false)
})

t.test('the list: more came at once than a page has, so there is no hole in it, and there is more', async (t) => {
  const ids = (newest: number, count: number) => Array.from({ length: count }, (_, index) => newest - index)
  let now = 30
  const script = await startScript(t, { head: () => sync(1), answer: () => [200, list(ids(now, Math.min(50, now)), { ...(now > 50 && { next: String(now - 49) }) })] })
  const { tidings, live, loaded } = await openPage(t, script)
  await live()
  await loaded()
  now = 100
  script.streams[0]!.write(event(100, {}))
  await until(tidings.inbox.subscribe, () => tidings.inbox.items[0]?.id === '100', 'the newest')
  t.same(tidings.inbox.items.map(({ id }: { id: string }) => Number(id)), ids(100, 50))
  t.equal(tidings.inbox.hasMore, true)
  // One more: the page touches what is there.
  now = 101
  script.streams[0]!.write(event(101, {}))
  await until(tidings.inbox.subscribe, () => tidings.inbox.items[0]?.id === '101', 'one more')
  t.equal(tidings.inbox.items.length, 51)
})

t.test('the list after the stream was lost: its newest page anew, since what is older may have changed', async (t) => {
  const pages: Record<string, string> = { '?limit=50': list([9, 8], { next: '8' }), '?limit=50&before=8': list([7, 6]) }
  const script = await startScript(t, { head: (number) => sync(9 + number, { resume: number > 1 ? 'complete' : 'fresh' }), answer: (line) => [200, pages[line.slice(line.indexOf('?'))]!] })
  const { tidings, live, loaded } = await openPage(t, script)
  await live()
  await loaded()
  await tidings.inbox.loadMore()
  t.equal(tidings.inbox.items.length, 4)
  script.streams[0]!.end('retry: 300\nevent: ping\ndata: {}\n\n')
  await until(tidings.inbox.subscribe, () => tidings.inbox.items.length === 2 && tidings.inbox.hasMore, 'the newest page')
})

t.test('loadMore() while all is marked as read: the page is kept', async (t) => {
  const pages: Record<string, string> = { '?limit=50': list([9, 8], { next: '8' }), '?limit=50&before=8': list([7, 6]) }
  const { tidings, live, loaded } = await openPage(t, await startScript(t, {
    head: () => sync(9), answer: (line) => [200, pages[line.slice(line.indexOf('?'))] ?? '{"seen":"9","read":"9","unseen":0,"unread":0}']
  }))
  await live()
  await loaded()
  await Promise.all([tidings.inbox.loadMore(), tidings.inbox.read()])
  t.equal(tidings.inbox.items.length, 4)
})

t.test('a list that is refused once (503, or a page of a proxy) is asked for again', async (t) => {
  skipLongWaits(t)
  const refusals: Array<[number, string]> = [[503, '{"code":"TIDINGS_UNAVAILABLE","message":"x"}'], [200, '<html>sign in</html>'], [200, '{}']]
  const { live, loaded } = await openPage(t, await startScript(t, { head: () => sync(1), answer: () => refusals.shift() ?? [200, list([1])] }))
  await live()
  await loaded()
  t.same(refusals, [])
})

t.test('a change that is refused, and the list too: taken back at once, and the error says what it was', async (t) => {
  skipLongWaits(t, false)
  let status = 200
  const { tidings, live, loaded } = await openPage(t, await startScript(t, {
    head: () => sync(1, { unread: 2 }),
    answer: () => status === 200 ? [200, list([2, 1])] : status === 404 ? [200, '<html>'] : [status, '{"code":"TIDINGS_TOO_MANY","message":"too many"}']
  }))
  await live()
  await loaded()
  status = 429
  const { inbox } = tidings
  for (const act of [() => inbox.read(), () => inbox.read('2'), () => inbox.dismiss('1')]) {
    await t.rejects(act(), { statusCode: 429, code: 'TIDINGS_TOO_MANY', message: 'too many' })
    t.same([inbox.unread, inbox.items.map(({ id, isRead }: { id: string, isRead: boolean }) => [id, isRead])], [2, [['2', false], ['1', false]]])
  }
  status = 404
  await t.rejects(inbox.read('1'), { statusCode: 200, message: '200' }, 'a page of a proxy is no answer')
  t.equal(inbox.unread, 2)
})

t.test('read(undefined), the id of what has none: not "all"', async (t) => {
  const script = await startScript(t, { head: () => sync(1), answer: (line) => line.startsWith('GET') ? [200, list([2, 1])] : [400, '{"code":"TIDINGS_BAD_ID","message":"no id"}'] })
  const { tidings, live, loaded } = await openPage(t, script)
  await live()
  await loaded()
  const read = tidings.inbox.read as (what: unknown) => Promise<void>
  for (const what of [undefined, { upTo: undefined }]) await t.rejects(read(what), { statusCode: 400, code: 'TIDINGS_BAD_ID', message: 'no id' })
  t.same(script.asked.filter((line) => line.startsWith('PUT /api/notifications/read')), [])
  t.equal(tidings.inbox.unread, 2)
})

t.test('after close(): no request, no listener; a handler that closes is the last one, and one that was stopped is not called', async (t) => {
  const script = await startScript(t, { head: () => sync(1), answer: () => [200, list([1])] })
  const { tidings, live, loaded } = await openPage(t, script)
  const called: string[] = []
  let stop = () => {}
  tidings.on('a', () => { stop() })
  stop = tidings.on('a', () => { called.push('stopped') })
  tidings.on('b', () => { tidings.close() })
  tidings.on('b', () => { called.push('closed') })
  await live()
  await loaded()
  const { setTimeout } = globalThis
  const due: Array<() => void> = []
  t.teardown(() => { globalThis.setTimeout = setTimeout })
  // An id makes the list due: it is asked for within a second, at no round number.
  globalThis.setTimeout = ((act: () => void, ms = 0, ...more: []) => Number.isInteger(ms) ? setTimeout(act, ms, ...more) : due.push(act)) as typeof setTimeout
  script.streams[0]!.write(event(2, {}, 'a') + event(3, {}, 'b'))
  await until(tidings.subscribe, () => tidings.state === 'closed', 'closed')
  globalThis.setTimeout = setTimeout
  tidings.inbox.subscribe(() => { called.push('inbox') })
  const asked = script.asked.length
  t.ok(due.length > 0)
  for (const act of due) act()
  await fetch(`${script.url}/after-it`)
  t.same(script.asked.slice(asked), ['GET /after-it'])
  t.same(called, [])
})

t.test('401 with a cookie: renew() is asked before the second try; one that throws is reported, and the stream goes on', async (t) => {
  let renewed = 0
  const script = await startScript(t, { head: (number) => number === 1 ? 401 : sync(number) })
  const tidings = connect({
    url: script.url,
    share: 'tab',
    renew () {
      renewed++
      throw new Error('no renewal')
    }
  })
  t.teardown(() => tidings.close())
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  t.equal(renewed, 1)
  script.streams[1]!.write(event(undefined, { at: 'soon' }, 'expiring'))
  await script.until(() => script.streams.length === 3, 'another stream')
  t.equal(renewed, 2)
  t.equal(errors.filter((text) => text.includes('no renewal')).length, 2)
})

t.test('a token() that gives the same one until it ends: renewed once, not over and over', async (t) => {
  const script = await startScript(t, { head: (number) => sync(number) + event(undefined, { at: 'soon' }, 'expiring') })
  const { tidings } = await openPage(t, script)
  const heard: string[] = []
  tidings.on('ping', () => heard.push('ping'))
  await script.until(() => script.streams.length === 2, 'the renewal')
  script.streams[1]!.write(event(undefined, {}, 'ping'))
  await until((listener) => tidings.on('ping', listener), () => heard.length > 0, 'a ping of the second')
  for (let n = 0; n < 5; n++) await fetch(`${script.url}/after-it`)
  t.equal(script.streams.length, 2)
})

t.test('a position that is not of this service, or greater than all of its own: incomplete, and then all that comes', async (t) => {
  for (const position of ['9999999999999999', 'of-another-service']) {
    const script = await startScript(t, { head: () => sync(10, { resume: 'incomplete', more: true }) + event(11, 11) + sync(12, { resume: 'incomplete' }) + event(13, 13) })
    const { heard, tidings } = await openPage(t, script, { position })
    await until((listener) => tidings.on('*', listener), () => heard.length === 2, 'both')
    t.same(heard, [11, 13])
  }
})

t.test('what is no event stream: a page of a proxy is not read; no pause is shorter than 0.1 s or longer than a timer can hold', async (t) => {
  const waits = skipPauses(t)
  const heads = ['<pre>\ndata: "forged"\n\n', 'retry: 0\n\n', 'retry: 99999999999\n\n']
  const script = await startScript(t, {
    head: () => {
      setImmediate(() => { if (script.streams.length < 4) script.streams.at(-1)!.end() })
      return heads.shift() ?? sync(1) + event(2, 'true')
    }
  })
  const { heard, tidings } = await openPage(t, script)
  await until((listener) => tidings.on('*', listener), () => heard.length > 0, 'a true one')
  t.same(heard, ['true'])
  t.equal(waits.length, 3)
  t.ok(waits.every((ms) => ms >= 100 && ms <= 30_000), waits.join())
})

t.test('where a page has a <base> elsewhere: the service is at the page\'s own origin', async (t) => {
  const script = await startScript(t, { head: () => sync(1) })
  const places = { origin: script.url, document: Object.assign(new EventTarget(), { baseURI: 'http://other.invalid/app/', hidden: false }) }
  Object.assign(globalThis, places)
  t.teardown(() => { for (const name of Object.keys(places)) delete (globalThis as Record<string, unknown>)[name] })
  const { live } = await openPage(t, script, { url: undefined })
  await live()
})

t.test('see() before the list is there, while something else changes: the list is asked for again, and what it has is seen', async (t) => {
  const script = await startScript(t, {
    head: () => sync(3, { unseen: 2, unread: 2 }),
    answer: (line) => [200, line.startsWith('GET') ? list([2, 1]) : JSON.stringify(line.startsWith('PUT') ? { seen: '2', read: '0', unseen: 0, unread: 1 } : { seen: '0', read: '0', unseen: 1, unread: 1 })]
  })
  const { tidings, live } = await openPage(t, script)
  await live()
  await Promise.all([tidings.inbox.see(), tidings.inbox.dismiss('1')])
  t.same(script.asked.filter((line) => line.startsWith('PUT')), ['PUT /api/notifications/seen'])
  t.match(tidings.inbox.state, { seen: '2', unseen: 0, isLoaded: true })
})

t.test('see() and read() without a list, while the list is refused: rejected with what the service says; read({ upTo }) needs none', async (t) => {
  const script = await startScript(t, {
    head: () => sync(2, { unseen: 2, unread: 2 }),
    answer: (line) => line.startsWith('GET') ? [503, '{"code":"TIDINGS_UNAVAILABLE","message":"away"}'] : [200, '{"seen":"2","read":"2","unseen":0,"unread":0}']
  })
  const { tidings: { inbox }, live } = await openPage(t, script)
  await live()
  for (const act of [inbox.see, () => inbox.read()]) await t.rejects(act(), { statusCode: 503, code: 'TIDINGS_UNAVAILABLE', message: 'away' })
  t.same([inbox.unseen, inbox.unread], [2, 2])
  await inbox.read({ upTo: '2' })
  t.same([inbox.unseen, inbox.unread], [0, 0])
})

t.test('see() and read(), when the badge counts what the list does not have yet: the list first, and then what it has', async (t) => {
  for (const act of ['see', 'read'] as const) {
    let answer = list([1])
    const script = await startScript(t, { head: () => sync(1), answer: (line) => [200, line.startsWith('GET') ? answer : JSON.stringify({ seen: '2', read: act === 'read' ? '2' : '1', unseen: 0, unread: act === 'read' ? 0 : 1 })] })
    const { tidings, live, loaded } = await openPage(t, script)
    await live()
    await loaded()
    const cursors = { seen: '1', read: '1', unseen: 1, unread: 1 }
    answer = list([2, 1], cursors)
    script.streams[0]!.write(event(undefined, cursors, 'read'))
    await until(tidings.inbox.subscribe, () => tidings.inbox.state.seen === '1' && tidings.inbox.unseen === 1, 'the badge')
    t.equal(tidings.inbox.items.length, 1)
    await tidings.inbox[act]()
    t.same(script.asked.slice(-2), ['GET /api/notifications?limit=50', `PUT /api/notifications/${act === 'see' ? 'seen' : 'read'}`])
    t.match(tidings.inbox.state, { seen: '2', unseen: 0, unread: act === 'read' ? 0 : 1 })
    t.equal(tidings.inbox.items.length, 2)
  }
})

t.test('loadMore() while all is marked as read: nothing in the page stays unread', async (t) => {
  let isRead = false
  const page = (ids: number[], more: object) => list(ids, { ...more, unread: 0 }).replaceAll('"isRead":false', `"isRead":${isRead}`)
  const { tidings, live, loaded } = await openPage(t, await startScript(t, {
    head: () => sync(9),
    answer (line) {
      isRead ||= line.startsWith('PUT')
      return [200, line.startsWith('PUT') ? '{"seen":"9","read":"9","unseen":0,"unread":0}' : line.includes('before') ? page([7, 6], {}) : page([9, 8], { next: '8' })]
    }
  }))
  await live()
  await loaded()
  await Promise.all([tidings.inbox.loadMore(), tidings.inbox.read()])
  t.same(tidings.inbox.items.map(({ id, isRead }: { id: string, isRead: boolean }) => [id, isRead]), [['9', true], ['8', true], ['7', true], ['6', true]])
})

t.test('a token() that rejects with nothing: the list is asked for again all the same', async (t) => {
  skipLongWaits(t)
  let calls = 0
  const script = await startScript(t, { head: () => sync(1), answer: () => [200, list([1])] })
  const { live, loaded } = await openPage(t, script, { token: async () => await (++calls === 2 ? Promise.reject() : token()) }) // eslint-disable-line prefer-promise-reject-errors
  await live()
  await loaded()
  t.ok(calls > 2)
})
