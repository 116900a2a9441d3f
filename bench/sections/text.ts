// The text of a notification: what it costs to pass it through as it came, and what it would cost to parse it and write
// it anew.
import { textCases, type TextCase } from '../rows/text.ts'
import type { Named } from '../rows/row.ts'
import type { Section } from './section.ts'

export interface TextResult {
  /** CPU of the process for one message. */
  readonly micros: number
  readonly bytes: number
  /** Not the text that is right: as it came, or as JSON.stringify writes it. */
  readonly wrong: number
}

interface TextRow extends Named { readonly textCase: TextCase }

/** Messages of one measurement: usual, smoke. */
const CALLS = [20_000, 500] as const

function measure ({ data, act, expected }: TextCase, calls: number): TextResult {
  // Compiled before it counts.
  for (let i = 0; i < calls / 5; i++) act(i)
  let wrong = 0
  const before = process.cpuUsage()
  for (let i = 0; i < calls; i++) if (act(i).length !== expected.length) wrong++
  const { user, system } = process.cpuUsage(before)
  return { micros: (user + system) / calls, bytes: data.length, wrong: wrong + (act(0) === expected ? 0 : 1) }
}

export const text: Section<TextResult, TextRow> = {
  name: 'text',
  takes: { rounds: 5 },
  title: () => 'JSON text: passed through as it came, or parsed and written anew; the CPU of one message on one node',
  rows: () => textCases().map((textCase) => ({ name: textCase.name, title: textCase.title, kind: 'tidings', absent: () => undefined, textCase })),
  run: async ({ textCase }, { isSmoke }) => measure(textCase, CALLS[isSmoke ? 1 : 0]),
  columns: [
    { head: 'CPU µs/message', value: ({ micros }) => micros, digits: 2, isCost: true },
    { head: 'bytes', value: ({ bytes }) => bytes, digits: 0 }
  ],
  faults: ({ wrong }) => wrong > 0 ? [`${wrong} texts are wrong`] : []
}
