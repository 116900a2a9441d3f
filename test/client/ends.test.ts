// The browser module, where a page answers an event or a state at once: with close(), or with useHere().
import t from 'tap'
import { connect, startScript, sync, until } from '../fixtures/module.ts'
import type { Scope } from '../fixtures/wait.ts'

async function openPage (t: Scope, script: { url: string }) {
  const tidings = connect({ url: script.url, token: async () => 'x', share: 'tab' })
  t.teardown(() => tidings.close())
  return { tidings, live: () => until(tidings.subscribe, () => tidings.state === 'live', 'live') }
}

t.test('close() in a listener of the state: for good, whatever the state was about to be', async (t) => {
  const { setTimeout } = globalThis
  t.teardown(() => { globalThis.setTimeout = setTimeout })
  globalThis.setTimeout = ((act: () => void, ms = 0, ...more: []) => setTimeout(act, act.name === 'open' ? 0 : ms, ...more)) as typeof setTimeout
  for (const state of ['waiting', 'connecting', 'live']) {
    const script = await startScript(t, { head: () => sync(1) })
    const { tidings, live } = await openPage(t, script)
    if (state !== 'live') await live()
    const states: string[] = []
    tidings.subscribe(() => {
      states.push(tidings.state)
      if (tidings.state === state) tidings.close()
    })
    script.streams[0]?.end()
    await until(tidings.subscribe, () => tidings.state === 'closed', `closed as soon as ${state}`)
    const { length } = script.streams
    for (let n = 0; n < 5; n++) await fetch(`${script.url}/after-it`)
    t.equal(script.streams.length, length, `${state}: no stream after it`)
    t.equal(states.at(-1), 'closed')
  }
})

t.test('close() in a handler of the last event: closed, and not replaced', async (t) => {
  const script = await startScript(t, { head: () => sync(1) })
  const { tidings, live } = await openPage(t, script)
  await live()
  tidings.on('replaced', () => { tidings.close() })
  script.streams[0]!.write('id: !replaced\nevent: replaced\ndata: {}\n\n')
  await until(tidings.subscribe, () => tidings.state === 'closed', 'closed')
  for (let n = 0; n < 2; n++) await fetch(`${script.url}/after-it`)
  t.equal(tidings.state, 'closed')
})

t.test('useHere() in a listener, as soon as the state is final: a stream, also where each tab has its own', async (t) => {
  const script = await startScript(t, { head: (number) => number === 1 ? 403 : sync(1) })
  const { tidings, live } = await openPage(t, script)
  tidings.subscribe(() => { if (tidings.state === 'denied') tidings.useHere() })
  await live()
  t.equal(script.streams.length, 2)
})

t.test('401, then live, then 401 again, when that token has ended: asked for another one, each time', async (t) => {
  const script = await startScript(t, { head: (number) => number % 2 === 1 ? 401 : sync(number) })
  const { tidings, live } = await openPage(t, script)
  await live()
  script.streams[1]!.end()
  await until(tidings.subscribe, () => tidings.state !== 'live', 'the end of the stream')
  await live()
  t.equal(script.streams.length, 4)
})

t.test('once, twice with one id in the same tab: one acts, and the other does not wait for ever', async (t) => {
  const { tidings, live } = await openPage(t, await startScript(t, { head: () => sync(1) }))
  await live()
  t.same(await Promise.all([tidings.once('7', () => {}), tidings.once('7', () => {})]), [true, false])
})
