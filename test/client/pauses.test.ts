// How long the browser module waits before it opens its stream again.
import t, { type Test } from 'tap'
import { connect, type Script, skipPauses, startScript, sync, until } from '../fixtures/module.ts'

/** What the service writes before the first event of a stream. */
const RETRY = 'retry: 3000\n'

function open (t: Test, script: Script) {
  const waits = skipPauses(t)
  const tidings = connect({ url: script.url, share: 'tab' })
  t.teardown(() => tidings.close())
  return { tidings, waits }
}

t.test('a stream that breaks as soon as it is live, over and over: pauses grow up to half a minute, and after a longer life are short again', async (t) => {
  const script = await startScript(t, { head: (number) => RETRY + sync(number) })
  const { tidings, waits } = open(t, script)
  let number = 0
  const breaks = async (): Promise<void> => {
    number++
    await until(tidings.subscribe, () => tidings.state === 'live' && script.streams.length === number, `stream ${number}`)
    script.streams[number - 1]!.end()
    await until(tidings.subscribe, () => waits.length === number, 'the pause')
  }
  for (const most of [1000, 3000, 6000, 12_000, 24_000, 30_000, 30_000]) {
    await breaks()
    const wait = waits.at(-1)!
    t.ok(wait >= most / 2 && wait <= most, `${wait} of ${most}`)
  }
  await until(tidings.subscribe, () => tidings.state === 'live' && script.streams.length === number + 1, 'the last')
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() + 5000 })
  await breaks()
  t.ok(waits.at(-1)! <= 1000, `${waits.at(-1)} after five seconds`)
})

t.test('a stream that the service ends with a hint: that long, and a third if it was live', async (t) => {
  const hint = 'retry: 1500\nevent: ping\ndata: {}\n\n'
  const script = await startScript(t, { head: (number) => number === 2 ? hint : RETRY + sync(number) })
  const { tidings, waits } = open(t, script)
  await until(tidings.subscribe, () => tidings.state === 'live', 'live')
  script.streams[0]!.end(hint)
  await script.until(() => script.streams.length === 2, 'the second')
  t.same(waits, [500])
  script.streams[1]!.end()
  await script.until(() => script.streams.length === 3, 'the third')
  t.same(waits, [500, 1500])
})
