// Many questions become few calls, whatever becomes of the calls.
import t from 'tap'
import { type Answer, Gathering } from '../../src/broker/redis/gathering.ts'
import { turn } from '../hub/rig.ts'

interface Call {
  readonly questions: readonly number[]
  /** Default: each with its own. */
  readonly answer: (answers?: ReadonlyArray<Answer<string>>) => void
  readonly fail: (error: Error) => void
}

function gather (weigh?: (question: number) => number): { gathering: Gathering<number, string>, calls: Call[] } {
  const calls: Call[] = []
  const gathering = new Gathering<number, string>((questions) => new Promise((resolve, reject) => {
    calls.push({ questions, answer: (answers = answersTo(questions)) => { resolve(answers) }, fail: reject })
  }), weigh === undefined ? {} : { weigh })
  return { gathering, calls }
}

const turns = async (): Promise<void> => { for (let i = 0; i < 8; i++) await turn() }
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
const answersTo = (questions: readonly number[]): string[] => questions.map((question) => `answer ${question}`)

t.test('questions of one turn are one call, each with its answer', async (t) => {
  const { gathering, calls } = gather()
  const asked = range(0, 5).map((question) => gathering.ask(question))
  t.equal(calls.length, 0)
  await turn()
  t.same(calls.map(({ questions }) => questions), [[0, 1, 2, 3, 4]])
  calls[0]!.answer()
  t.same(await Promise.all(asked), answersTo(range(0, 5)))
})

t.test('questions, while a call is under way, wait for it to be answered, and are one call then', async (t) => {
  const { gathering, calls } = gather()
  const asked = [gathering.ask(0)]
  await turns()
  asked.push(gathering.ask(1))
  await turns()
  asked.push(gathering.ask(2))
  await turns()
  t.equal(calls.length, 1)
  calls[0]!.answer()
  await turns()
  t.same(calls[1]!.questions, [1, 2])
  calls[1]!.answer()
  t.same(await Promise.all(asked), answersTo(range(0, 3)))
})

t.test('questions, enough to fill calls, do not wait, but no more than four calls are under way', async (t) => {
  const { gathering, calls } = gather()
  const asked = range(0, 350).map((question) => gathering.ask(question))
  await turns()
  t.same(calls.map(({ questions }) => questions), [range(0, 64), range(64, 128), range(128, 192), range(192, 256)])
  calls[2]!.answer()
  await turns()
  t.same(calls[4]!.questions, range(256, 320))
  for (const call of calls) call.answer()
  await turns()
  t.same(calls[5]!.questions, range(320, 350))
  calls[5]!.answer()
  t.same(await Promise.all(asked), answersTo(range(0, 350)))
})

t.test('questions, left over by a call, are asked first with the next', async (t) => {
  const { gathering, calls } = gather()
  const asked = range(0, 4).map((question) => gathering.ask(question))
  await turns()
  asked.push(gathering.ask(4))
  calls[0]!.answer(['answer 0'])
  await turns()
  t.same(calls[1]!.questions, [1, 2, 3, 4])
  calls[1]!.answer()
  t.same(await Promise.all(asked), answersTo(range(0, 5)))
})

t.test('an error as an answer is heard by the one who asked; a call that fails, by all of them, and by nobody else', async (t) => {
  const { gathering, calls } = gather()
  const asked = [gathering.ask(0), gathering.ask(1)]
  await turns()
  calls[0]!.answer(['answer 0', new Error('only 1')])
  t.match(await Promise.allSettled(asked), [{ value: 'answer 0' }, { reason: { message: 'only 1' } }])
  const failing = [gathering.ask(2), gathering.ask(3)]
  await turns()
  calls[1]!.fail(new Error('all of them'))
  t.match(await Promise.allSettled(failing), [{ reason: { message: 'all of them' } }, { reason: { message: 'all of them' } }])
  const next = gathering.ask(4)
  await turns()
  calls[2]!.answer()
  t.equal(await next, 'answer 4')
})

t.test('questions, too heavy for one call, are asked with several; who was not asked does not hear that a call failed', async (t) => {
  const { gathering, calls } = gather((question) => question * 100_000)
  const asked = [1, 2, 4, 20, 3, 7].map((question) => gathering.ask(question))
  await turns()
  t.same(calls.map(({ questions }) => questions), [[1, 2, 4]])
  calls[0]!.fail(new Error('no answer'))
  t.match(await Promise.allSettled(asked.slice(0, 3)), Array(3).fill({ reason: { message: 'no answer' } }))
  await turns()
  t.same(calls[1]!.questions, [20], 'one that is too heavy goes alone')
  calls[1]!.answer()
  await turns()
  t.same(calls[2]!.questions, [3, 7])
  calls[2]!.answer()
  t.same(await Promise.all(asked.slice(3)), ['answer 20', 'answer 3', 'answer 7'])
})
