// What a section of the bench is. All that it takes, shows and needs stands in one object; plan, usage text and
// defaults are read off it.
import type { Client } from '../harness/crowd.ts'
import type { Service } from '../harness/service.ts'
import type { Named, Row } from '../rows/row.ts'

/** What it is measured with, defaults filled in; 0 where the section does not take it. */
export interface Asked {
  readonly streams: number
  readonly seconds: number
  /** Messages a second. */
  readonly rate: number
  /** Connects and disconnects. */
  readonly churn: number
  readonly client: Client
  readonly profileFolder: string | undefined
  readonly isSmoke: boolean
}

/** By default, and in a smoke run. */
export type Size = readonly [usual: number, smoke: number]

/** Options of the command line that mean something here. What is not listed is not taken. */
export interface Takes {
  readonly streams?: Size
  readonly seconds?: Size
  /** A smoke run has one. */
  readonly rounds?: number
  readonly rate?: Size
  readonly churn?: Size
  readonly peers?: true
  readonly client?: true
  /** Not where memory is weighed: a profile would be weighed with it. */
  readonly profile?: true
}

export type Taken = keyof Takes

export interface Column<R> {
  readonly head: string
  readonly value: (result: R) => number
  readonly digits: number
  /** Compared with the other checkout's (--against): what costs, or how long it takes. */
  readonly isCost?: true
}

/** Whose rows there may be. */
export interface Field {
  /** This checkout, and the one of --against. */
  readonly services: readonly Service[]
  readonly peers: readonly Row[]
}

export interface Section<R, T extends Named = Row> {
  readonly name: string
  /** The section by whose name it is asked for; default: its own. */
  readonly partOf?: string
  /** Left out of a smoke run unless it is named. */
  readonly isLong?: true
  readonly takes: Takes
  /** What it is and how large, for people. */
  readonly title: (asked: Asked) => string
  readonly rows: (field: Field) => readonly T[]
  /** Rows that a smoke run leaves out, since another row covers them: it has a minute. */
  readonly notInSmoke?: readonly string[]
  readonly run: (row: T, asked: Asked) => Promise<R>
  /** The first is the one that rows are compared by. */
  readonly columns: ReadonlyArray<Column<R>>
  /** The row that others are a multiple of, in the first column; where it has no result, the first that has one. */
  readonly base?: string
  /** What is wrong with a result, whatever its figures; a smoke run fails by it. */
  readonly faults: (result: R, asked: Asked) => string[]
  /** Instead of the columns: a table of each result. */
  readonly table?: (result: R) => string[][]
}

/** Sections of different results in one list; each one's own functions read its own. */
export type AnySection = Section<any, any>

/** Counts that should be 0, in words. */
export const counted = (what: Record<string, number>): string[] =>
  Object.entries(what).filter(([, count]) => count !== 0).map(([name, count]) => `${count} ${name}`)

export const strangers = { head: 'strangers', value: (result: { strangerCores: number }) => result.strangerCores, digits: 2 }
/** A column that is not there as long as all is well. */
export const torn = { head: 'torn', value: (result: { torn: number }) => result.torn || NaN, digits: 0 }
