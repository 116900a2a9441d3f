// How long messages are gathered: the window, or longer where writing takes most of the time.
import t from 'tap'
import { hasId, startHub } from './rig.ts'

t.test('hub, whose write of many messages takes most of the time, rests as long before the next, 50 ms at most; of one message it does not', async (t) => {
  const rests: Array<number | undefined> = []
  const { setTimeout } = globalThis
  globalThis.setTimeout = Object.assign((...args: Parameters<typeof setTimeout>) => {
    rests.push(args[1])
    return setTimeout(...args)
  }, setTimeout)
  t.teardown(() => { globalThis.setTimeout = setTimeout })
  let nowMs = 1_000_000
  let tookMs = 43
  const { live, publish } = await startHub(t, { coalesceMs: 7, clock: { nowMs: () => nowMs, wallMs: () => Date.now() } })
  const { client, response: { socket } } = await live()
  const { _write: write } = socket!
  socket!._write = (...args) => {
    nowMs += tookMs
    write.apply(socket, args)
  }
  /** What is waited for before so many are written together. */
  const restBefore = async (count: number): Promise<Array<number | undefined>> => {
    rests.length = 0
    const ids = await Promise.all(Array.from({ length: count }, async () => await publish('all')))
    await hasId(client, ids.at(-1)![0]!)
    return rests.filter((ms) => ms === 7 || ms === 43 || ms === 50)
  }
  nowMs += 1000
  t.same(await restBefore(1), [], 'idle: at once')
  t.same(await restBefore(3), [7], 'after one message: the window')
  t.same(await restBefore(1), [43], 'after three: as long as they took')
  t.same(await restBefore(2), [7])
  tookMs = 42
  t.same(await restBefore(2), [43])
  t.same(await restBefore(2), [7], 'six windows are not long')
  tookMs = 400
  t.same(await restBefore(2), [7])
  t.same(await restBefore(1), [50])
})

for (const first of ['large', 'small']) {
  t.test(`hub, that gathers ${first === 'small' ? 'a small message and then a large one' : 'a large message'}, does not wait for the end of the window, and no timer is left`, async (t) => {
    const due = new Set<object>()
    const { setTimeout, clearTimeout } = globalThis
    globalThis.setTimeout = Object.assign((act: () => void, ms?: number, ...more: []) => {
      if (ms !== 7) return setTimeout(act, ms, ...more)
      const timer = {} as NodeJS.Timeout // never over
      due.add(timer)
      return timer
    }, setTimeout) as typeof setTimeout
    globalThis.clearTimeout = (timer) => {
      due.delete(timer as object)
      clearTimeout(timer)
    }
    t.teardown(() => { Object.assign(globalThis, { setTimeout, clearTimeout }) })
    const { live, publish } = await startHub(t, { coalesceMs: 7, clock: { nowMs: () => 1_000_000, wallMs: () => Date.now() } })
    const { client } = await live()
    await hasId(client, (await publish('all'))[0]!)
    if (first === 'small') {
      await publish('all')
      t.equal(due.size, 1)
    }
    await hasId(client, (await publish('all', 'x'.repeat(65_530)))[0]!)
    t.equal(due.size, 0)
  })
}
