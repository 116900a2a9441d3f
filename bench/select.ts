// Which rows run: what --rows leaves of each section, and which other options mean nothing in what was asked for.
import { type Options, type Section, UsageError } from './options.ts'
import type { AnyPlan } from './plan.ts'

const NOT_TAKEN: Readonly<Record<string, readonly string[]>> = {
  streams: ['churn', 'latency', 'publish'],
  seconds: ['idle', 'churn', 'storm', 'footprint'],
  rate: ['fanout', 'idle', 'churn', 'latency', 'storm', 'publish', 'scaling', 'footprint'],
  churn: ['fanout', 'burst', 'idle', 'latency', 'storm', 'publish', 'scaling', 'footprint'],
  rounds: ['footprint'],
  peers: ['churn', 'storm', 'publish', 'scaling', 'scaling-burst', 'footprint'],
  client: ['publish'],
  // Where memory is weighed a profile would be weighed with it.
  profile: ['idle', 'churn', 'footprint']
}

/** A line for each option that was given and does nothing in some of these sections. */
export function notTaken ({ given, smoke, peers }: Options, plans: readonly AnyPlan[]): string[] {
  return given.flatMap((option) => {
    // Nobody was asked for, so nobody is missing.
    if (option === 'peers' && peers.length === 0) return []
    const where = plans.map(({ section }) => section).filter((section) => NOT_TAKEN[option]?.includes(section) ?? false)
    if (smoke && option === 'churn') where.push('a smoke run')
    return where.length === 0 ? [] : [`--${option}: not taken in ${where.join(', ')}`]
  })
}

const rowsOf = (plans: readonly AnyPlan[]): string[] => [...new Set(plans.flatMap(({ entries }) => entries.filter(({ isPeer }) => !isPeer).map(({ name }) => name)))]

/** What runs, and a line for each section that has nothing of what was chosen. */
export function select (asked: ReadonlyArray<{ section: Section, plans: readonly AnyPlan[] }>, { rows, given, smoke }: Options): { plans: AnyPlan[], leftOut: string[] } {
  const all = asked.flatMap(({ plans }) => plans)
  if (rows === undefined) return { plans: all, leftOut: [] }
  const inSmoke = smoke ? ' in a smoke run' : ''
  const has = asked.map(({ section, plans }) => `${section}${inSmoke} has ${rowsOf(plans).join(', ')}`)
  const strange = rows.filter((name) => !rowsOf(all).includes(name))
  if (strange.length > 0) throw new UsageError(`--rows: nothing that was asked for has a row ${strange.join(', ')}; ${has.join('; ')}`)
  const leftOut: string[] = []
  const plans = asked.flatMap((group, at) => {
    const left = group.plans
      .map((plan) => ({ ...plan, entries: plan.entries.filter(({ name, isPeer }) => isPeer || rows.includes(name)) }))
      .filter(({ entries }) => entries.length > 0)
    if (left.length > 0) return left
    // Of a section that nobody named nobody misses the rows.
    if (given.includes('only')) throw new UsageError(`--rows ${rows.join(',')} leaves nothing to measure; ${has[at]}`)
    leftOut.push(`${group.section}: left out, it has none of the rows ${rows.join(', ')}`)
    return []
  })
  return { plans, leftOut }
}
