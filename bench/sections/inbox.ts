// The inbox: what each of its questions, and each option of a publish, takes of Redis.
import { Undo } from '../../test/fixtures/undo.ts'
import { Functions } from '../harness/functions.ts'
import { redisAbsent } from '../harness/parts.ts'
import type { Service } from '../harness/service.ts'
import { type Question, questions } from '../rows/inbox.ts'
import type { Named } from '../rows/row.ts'
import { named } from '../rows/tidings.ts'
import type { Asked, Section } from './section.ts'

export interface InboxResult {
  readonly row: string
  readonly title: string
  /** Of Redis, for one call. */
  readonly micros: number
  readonly calls: number
  readonly wrong: number
}

interface InboxRow extends Named {
  readonly service: Service
  readonly question: Question
}

async function measure ({ name, title, service, question }: InboxRow, { isSmoke }: Asked): Promise<InboxResult> {
  const scope = new Undo()
  try {
    const functions = await Functions.open(scope, service)
    const call = await question.plan(functions, isSmoke)
    const { micros, replies } = await functions.micros(question.calls[isSmoke ? 1 : 0], call)
    return { row: name, title, micros, calls: replies.length, wrong: replies.filter((reply) => !question.isRight(reply)).length }
  } finally {
    await scope.end()
  }
}

export const inbox: Section<InboxResult, InboxRow> = {
  name: 'inbox',
  takes: { rounds: 3 },
  title: () => 'Inbox: what one call takes of Redis, by its own count',
  rows: ({ services }) => questions.flatMap((question) => services.map((service) => ({
    ...named(service, question.name, question.title), kind: 'tidings' as const, absent: redisAbsent, service, question
  }))),
  run: measure,
  columns: [
    { head: 'Redis µs', value: ({ micros }) => micros, digits: 1, isCost: true },
    { head: 'calls', value: ({ calls }) => calls, digits: 0 }
  ],
  base: 'publish-plain',
  faults: ({ wrong, calls }) => wrong > 0 ? [`${wrong} of ${calls} answers are wrong`] : []
}
