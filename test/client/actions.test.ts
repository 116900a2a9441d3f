// The browser module, when the page gives its token slowly: the user's actions keep their order, and a stream is opened.
import t from 'tap'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, list, startScript, sync, until } from '../fixtures/module.ts'

const COUNTS = '{"seen":"0","read":"0","unseen":0,"unread":0}'

t.test('two actions on one notification, the first of which waits for its token: the service gets them in the order of the clicks', async (t) => {
  const script = await startScript(t, {
    head: () => sync(9),
    answer: (line) => line.startsWith('GET') ? [200, list([3, 2, 1])] : line.endsWith('/3/read') ? [503, '{"code":"TIDINGS_UNAVAILABLE","message":"away"}'] : [200, COUNTS]
  })
  let isSlow = false
  let give: () => void
  const token = async () => {
    if (isSlow) await new Promise<void>((resolve) => { give = resolve; isSlow = false })
    return 'token'
  }
  const tidings = connect({ url: script.url, token })
  t.teardown(() => tidings.close())
  const { inbox } = tidings
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  await until(inbox.subscribe, () => inbox.state.isLoaded, 'the list')
  const acts = () => script.asked.filter((line) => !line.startsWith('GET')).map((line) => line.replace('/api/notifications/', ''))

  for (const [first, then, lines] of [
    [() => inbox.read('2'), () => inbox.markUnread('2'), ['PUT 2/read', 'DELETE 2/read']],
    [() => inbox.markUnread('2'), () => inbox.dismiss('2'), ['DELETE 2/read', 'DELETE 2']],
    [() => inbox.read({ upTo: '1' }), () => inbox.see(), ['PUT read', 'PUT seen']],
    [() => inbox.read('3'), () => inbox.markUnread('3'), ['PUT 3/read', 'DELETE 3/read']]
  ] as const) {
    script.asked.length = 0
    isSlow = true
    const done = Promise.allSettled([first(), then()])
    // Another notification does not wait.
    await inbox.read('1')
    t.same(acts(), ['PUT 1/read'])
    give!()
    await done
    t.same(acts(), ['PUT 1/read', ...lines])
  }
})

t.test('a token and then a network that take six seconds each: within the limit, so the attempt is not given up', async (t) => {
  const { fetch } = globalThis
  const now = Date.now.bind(Date)
  let later = 0
  let tokens = 0
  t.intercept(Date, 'now', { value: () => now() + later })
  t.intercept(globalThis, 'fetch', {
    value: async (...args: Parameters<typeof fetch>) => {
      later += 6000
      // Longer than the module's own check, once a second.
      await delay(1500)
      return await fetch(...args)
    }
  })
  const { url } = await startScript(t, { head: () => sync(9) })
  const tidings = connect({
    url,
    token: async () => {
      tokens++
      later += 6000
      return 'token'
    }
  })
  t.teardown(() => tidings.close())
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  t.equal(tokens, 1)
})

t.test('a stream that dies while it is being renewed: noticed after two heartbeats, not later', async (t) => {
  const now = Date.now.bind(Date)
  let later = 0
  t.intercept(Date, 'now', { value: () => now() + later })
  let tokens = 0
  const script = await startScript(t, { head: (number) => number === 2 ? '' : sync(number) })
  const tidings = connect({
    url: script.url,
    share: 'tab',
    token: async () => {
      // Of the 30 seconds, the page takes 29 for a new token.
      if (++tokens === 2) later += 29_000
      return 'token'
    }
  })
  t.teardown(() => tidings.close())
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  script.streams[0]!.write('event: expiring\ndata: {"in":1}\n\n')
  await script.until(() => script.streams.length === 2, 'the renewal')
  later += 2000
  await script.until(() => script.streams.length === 3, 'a new stream')
  await until(tidings.subscribe, () => tidings.state === 'live', 'live again')
})
