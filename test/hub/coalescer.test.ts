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
