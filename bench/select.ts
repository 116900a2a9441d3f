// Which rows run: what --rows and --against leave of each section, and which other options mean nothing in what was
// asked for.
import { type Options, UsageError } from './options.ts'
import type { Plan } from './plan.ts'
import type { Named } from './rows/row.ts'
import type { Taken } from './sections/section.ts'

const SIZES: readonly Taken[] = ['streams', 'seconds', 'rounds', 'rate', 'churn', 'peers', 'client', 'profile']

/** A line for each option that was given and does nothing in some of these sections. */
export function notTaken ({ given, peers }: Options, plans: readonly Plan[]): string[] {
  return SIZES.filter((option) => given.includes(option)).flatMap((option) => {
    // Nobody was asked for, so nobody is missing.
    if (option === 'peers' && peers.length === 0) return []
    const where = plans.filter(({ section }) => section.takes[option] === undefined).map(({ section }) => section.name)
    return where.length === 0 ? [] : [`--${option}: not taken in ${where.join(', ')}`]
  })
}

const groupOf = ({ section: { name, partOf = name } }: Plan): string => partOf
/** Of a twin the row that it is compared with, by which both are asked for. */
const nameOf = ({ name, twin = name }: Named): string => twin
const rowsOf = (plans: readonly Plan[]): string[] => [...new Set(plans.flatMap(({ rows }) => rows.filter(({ kind }) => kind !== 'peer').map(nameOf)))]

/** What runs, and a line for each section that has nothing of what was chosen. */
export function select (all: readonly Plan[], { rows, against, given, smoke }: Options): { plans: Plan[], leftOut: string[] } {
  if (rows === undefined && against === undefined) return { plans: [...all], leftOut: [] }
  const wanted = rows ?? all.flatMap((plan) => plan.rows.flatMap(({ twin }) => twin ?? []))
  const inSmoke = smoke ? ' in a smoke run' : ''
  const groups = Map.groupBy(all, groupOf)
  const has = (group: string): string => `${group}${inSmoke} has ${rowsOf(groups.get(group)!).join(', ')}`
  const strange = wanted.filter((name) => !rowsOf(all).includes(name))
  if (strange.length > 0) throw new UsageError(`--rows: nothing that was asked for has a row ${strange.join(', ')}; ${[...groups.keys()].map(has).join('; ')}`)
  const leftOut: string[] = []
  const plans = [...groups].flatMap(([group, mine]) => {
    const left = mine
      .map((plan) => ({ ...plan, rows: plan.rows.filter((row) => row.kind === 'peer' || wanted.includes(nameOf(row))) }))
      .filter(({ rows }) => rows.length > 0)
    if (left.length > 0) return left
    // Of a section that nobody named nobody misses the rows.
    if (given.includes('only')) throw new UsageError(`--rows ${wanted.join(',')} leaves nothing to measure; ${has(group)}`)
    leftOut.push(`${group}: left out, it has none of the rows ${wanted.join(', ')}`)
    return []
  })
  return { plans, leftOut }
}
