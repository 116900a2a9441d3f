// What connect() is given by code without types, and by functions that do not answer.
import t from 'tap'
import { connect, event, list, startScript, sync, until } from '../fixtures/module.ts'

t.test('options of code without types: numbers, and null for what is not given', async (t) => {
  for (const [more, path] of [
    [{ position: 1763794000999000 }, '?lastEventId=1763794000999000'],
    [{ position: null, user: null, schemas: null }, ''],
    [{ user: 0 }, '/0']
  ] as const) {
    const script = await startScript(t, { head: () => sync(1763794000999999) + event(1763794001222333, { n: 1 }) })
    const tidings = connect({ url: script.url, share: 'tab', ...more })
    t.teardown(() => tidings.close())
    const heard: unknown[] = []
    await until((listener) => tidings.on('*', (data: unknown) => { heard.push(data); listener() }), () => heard.length > 0, 'the notification')
    t.same(heard, [{ n: 1 }])
    t.equal(script.asked[0], `GET /api/notifications/subscribe${path}`)
  }
})

t.test('a token() that never answers: the action is refused with an error that says so', async (t) => {
  const { setTimeout } = globalThis
  // As if ten seconds were over.
  t.teardown(() => { globalThis.setTimeout = setTimeout })
  globalThis.setTimeout = ((act: () => void, ms?: number, ...more: []) => setTimeout(act, ms === 10_000 ? 0 : ms, ...more)) as typeof setTimeout
  const script = await startScript(t, {})
  const tidings = connect({ url: script.url, share: 'tab', token: () => new Promise(() => {}) })
  t.teardown(() => tidings.close())
  await t.rejects(tidings.inbox.read('7'), new Error('no credentials'))
})

t.test('a user whose id no header can hold: encoded, in the path and in the header', async (t) => {
  const users: unknown[] = []
  const { fetch } = globalThis
  t.intercept(globalThis, 'fetch', {
    value: async (...args: Parameters<typeof fetch>) => {
      users.push(new Headers(args[1]?.headers).get('tidings-user'))
      return await fetch(...args)
    }
  })
  const script = await startScript(t, { head: () => sync(9), answer: () => [200, list([9])] })
  const tidings = connect({ url: script.url, share: 'tab', user: 'Zoë ✓' })
  t.teardown(() => tidings.close())
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  await until(tidings.inbox.subscribe, () => tidings.inbox.state.isLoaded, 'the list')
  t.same(users, [null, 'Zo%C3%AB%20%E2%9C%93'])
  t.equal(script.asked[0], 'GET /api/notifications/subscribe/Zo%C3%AB%20%E2%9C%93')
})
