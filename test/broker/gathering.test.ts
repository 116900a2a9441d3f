// Many questions become few calls, whatever becomes of the calls.
import t from 'tap'
import { type Answer, Gathering } from '../../src/broker/gathering.ts'
import { turn } from '../hub/rig.ts'

interface Call {
  readonly questions: readonly number[]
  readonly answer: (answers: ReadonlyArray<Answer<string>>) => void
  readonly fail: (error: Error) => void
}

function gather (): { gathering: Gathering<number, string>, calls: Call[] } {
  const calls: Call[] = []
  const gathering = new Gathering<number, string>((questions) => new Promise((resolve, reject) => {
    calls.push({ questions, answer: resolve, fail: reject })
  }))
  return { gathering, calls }
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
const answersTo = ({ questions }: Call): string[] => questions.map((question) => `answer ${question}`)

t.test('questions of one turn are one call, each with its answer', async (t) => {
  const { gathering, calls } = gather()
  const asked = range(0, 5).map((question) => gathering.ask(question))
  t.equal(calls.length, 0)
  await turn()
  t.same(calls.map(({ questions }) => questions), [[0, 1, 2, 3, 4]])
  calls[0]!.answer(answersTo(calls[0]!))
  t.same(await Promise.all(asked), range(0, 5).map((question) => `answer ${question}`))
})

t.test('questions, more than two calls carry, wait for the next, which takes all that it can', async (t) => {
  const { gathering, calls } = gather()
  const asked = range(0, 200).map((question) => gathering.ask(question))
  for (let i = 0; i < 5; i++) await turn()
  t.same(calls.map(({ questions }) => questions), [range(0, 64), range(64, 128)])
  const late = gathering.ask(200)
  calls[1]!.answer(answersTo(calls[1]!))
  for (let i = 0; i < 5; i++) await turn()
  t.same(calls[2]!.questions, range(128, 192))
  calls[0]!.answer(answersTo(calls[0]!))
  for (let i = 0; i < 5; i++) await turn()
  t.same(calls[3]!.questions, range(192, 201))
  for (const call of calls.slice(2)) call.answer(answersTo(call))
  t.same(await Promise.all([...asked, late]), range(0, 201).map((question) => `answer ${question}`))
})

t.test('questions, left over by a call, are asked first with the next', async (t) => {
  const { gathering, calls } = gather()
  const asked = range(0, 4).map((question) => gathering.ask(question))
  await turn()
  asked.push(gathering.ask(4))
  calls[0]!.answer(['answer 0'])
  for (let i = 0; i < 5; i++) await turn()
  t.same(calls.slice(1).flatMap(({ questions }) => questions).sort(), [1, 2, 3, 4])
  for (const call of calls.slice(1)) call.answer(answersTo(call))
  t.same(await Promise.all(asked), range(0, 5).map((question) => `answer ${question}`))
})

t.test('an error as an answer is heard by the one who asked; a call that fails, by all of them, and by nobody else', async (t) => {
  const { gathering, calls } = gather()
  const first = [gathering.ask(0), gathering.ask(1)]
  await turn()
  const second = [gathering.ask(2), gathering.ask(3)]
  await turn()
  calls[0]!.answer(['answer 0', new Error('only 1')])
  calls[1]!.fail(new Error('all of them'))
  t.match(await Promise.allSettled([...first, ...second]), [
    { value: 'answer 0' }, { reason: { message: 'only 1' } }, { reason: { message: 'all of them' } }, { reason: { message: 'all of them' } }
  ])
  const next = gathering.ask(4)
  await turn()
  calls[2]!.answer(answersTo(calls[2]!))
  t.equal(await next, 'answer 4')
})
