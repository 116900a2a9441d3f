// The states of a stream: every way from one to another is walked on a real connection, and every other is refused.
import t, { type Test } from 'tap'
import { comeBackFrame } from '../../src/hub/frame.ts'
import { type State, step, transitions } from '../../src/hub/state.ts'
import { open, type Opened } from './open-stream.ts'

const states = Object.keys(transitions) as State[]

/** What brings a stream to a state, from one from which there is a way. */
const moves: Record<Exclude<State, 'opening'>, (opened: Opened) => Promise<void> | void> = {
  live: ({ stream }) => { stream.release(1) },
  filling: ({ stream }) => { stream.fill(1) },
  waiting: ({ stream }) => { stream.wait() },
  ending: ({ stream }) => { stream.end('age', comeBackFrame(1)) },
  ended: async ({ client, ended }) => {
    client.close({ reset: true })
    await ended
  }
}

/** The way from `opening` to each state. */
const ways: Record<State, ReadonlyArray<keyof typeof moves>> = {
  opening: [], live: ['live'], filling: ['live', 'filling'], waiting: ['live', 'waiting'], ending: ['ending'], ended: ['ended']
}

async function bring (t: Test, to: State): Promise<Opened> {
  const opened = await open(t)
  for (const state of ways[to]) await moves[state](opened)
  return opened
}

for (const from of states) {
  for (const to of states) {
    const isLegal = (transitions[from] as readonly State[]).includes(to)
    t.test(`stream, ${from}, ${isLegal ? 'becomes' : 'never becomes'} ${to}`, async (t) => {
      if (!isLegal) {
        t.throws(() => step(from, to), { message: `a stream cannot become ${to} when it is ${from}` })
        return
      }
      t.equal(step(from, to), to)
      const opened = await bring(t, from)
      t.equal(opened.stream.state, from)
      await moves[to as keyof typeof moves](opened)
      t.equal(opened.stream.state, to)
      t.equal(opened.stream.isHeld && to === 'live', false, 'what comes to a live stream is written')
    })
  }
}

t.test('stream, held for one more reason, stays what it is and asks for another round', async (t) => {
  for (const state of ['opening', 'filling'] as const) {
    const { stream } = await bring(t, state)
    stream.asks()
    t.equal(stream.fill(7), false, 'whoever fills it goes on')
    t.equal(stream.state, state)
    t.same([stream.isSatisfiedWith(6), stream.isSatisfiedWith(7)], [false, true])
  }
})

t.test('stream, that has ended, is asked for what it cannot do: told so, and stays as it is', async (t) => {
  const { stream } = await bring(t, 'ended')
  t.throws(() => { stream.release(1) })
  t.throws(() => { stream.wait() })
  stream.end('drain', comeBackFrame(1))
  stream.cut('slow')
  stream.abandon()
  t.equal(stream.state, 'ended')
})
