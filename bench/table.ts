// The tables at the end, in Markdown: medians over the rounds, and multiples of a base row taken round by round.
import type { AnyPlan, Column } from './plan.ts'
import { median } from './harness/stats.ts'
import type { FootprintResult } from './footprint.ts'

export interface Measured {
  readonly name: string
  readonly title: string
  /** Why there is nothing. */
  readonly absent?: string
  /** What went wrong in a round that has no result. */
  readonly failures: string[]
  /** Of whatever section it is. */
  readonly rounds: any[]
}

export interface SectionResult {
  readonly section: string
  readonly title: string
  /** What the ratios are of: the plan's base, or the first row where that one has no result; undefined where there is nothing to compare. */
  readonly base?: string
  readonly rows: Measured[]
}

function figure (value: number, digits: number): string {
  if (!Number.isFinite(value)) return '–'
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** The row that others are a multiple of; none in a table of one. */
export function baseOf (wanted: string | undefined, rows: readonly Measured[]): string | undefined {
  const measured = rows.filter(({ rounds }) => rounds.length > 0)
  if (wanted === undefined || measured.length < 2) return undefined
  return (measured.find(({ name }) => name === wanted) ?? measured[0]!).name
}

/** Median of the multiples of each round, and the least and the most. */
export function multiples (row: Measured, base: Measured | undefined, column: Column<unknown>): number[] {
  return row.rounds.flatMap((result, round) => {
    const of = base?.rounds[round]
    return of === undefined ? [] : [column.value(result) / column.value(of)]
  })
}

export function sectionTable (plan: AnyPlan, { title, rows, base: baseName }: SectionResult): string {
  const lines = [`\n${title}${plan.rounds > 1 ? `; medians of ${plan.rounds} rounds` : ''}`]
  if (plan.section === 'footprint') return [...lines, ...footprintTable(rows)].join('\n')
  const base = rows.find(({ name }) => name === baseName)
  const measured = rows.filter(({ rounds }) => rounds.length > 0)
  if (measured.length > 0) lines.push(...figures(plan, measured, base))
  for (const { title: row, absent, failures } of rows) {
    if (absent !== undefined) lines.push(`absent: ${row}: ${absent}`)
    for (const failure of failures) lines.push(`failed: ${row}: ${failure}`)
  }
  return lines.join('\n')
}

function figures (plan: AnyPlan, measured: readonly Measured[], base: Measured | undefined): string[] {
  // A column that says nothing of any row is left out.
  const columns = plan.columns.filter((column, at) => at === 0 || measured.some(({ rounds }) => rounds.some((result) => Number.isFinite(column.value(result)))))
  const hasBase = base !== undefined
  return markdown([
    ['', columns[0]!.head, ...hasBase ? [`× ${base.title}`, 'least–most'] : [], ...columns.slice(1).map(({ head }) => head)],
    ...measured.map((row) => {
      const values = columns.map(({ value, digits }) => figure(median(row.rounds.map((result) => value(result)).filter(Number.isFinite)), digits))
      const ratios = multiples(row, base, columns[0]!)
      return [row.title, values[0]!, ...hasBase ? [figure(median(ratios), 2), `${figure(Math.min(...ratios), 2)}–${figure(Math.max(...ratios), 2)}`] : [], ...values.slice(1)]
    })
  ])
}

function footprintTable (rows: readonly Measured[]): string[] {
  return rows.flatMap(({ rounds, absent, failures, title }) => [
    ...absent === undefined ? [] : [`absent: ${title}: ${absent}`],
    ...failures.map((failure) => `failed: ${title}: ${failure}`),
    ...rounds.flatMap(({ costs }: FootprintResult) => markdown([
      ['', 'bytes on Redis', 'bytes on the node'],
      ...costs.map(({ thing, redisBytes, nodeBytes }) => [thing, figure(redisBytes, 0), figure(nodeBytes, 0)])
    ]))
  ])
}

function markdown (cells: readonly string[][]): string[] {
  const widths = cells[0]!.map((_, at) => Math.max(...cells.map((row) => row[at]!.length)))
  const line = (row: readonly string[]): string => `| ${row.map((cell, at) => at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!)).join(' | ')} |`
  const rule = `| ${widths.map((width, at) => at === 0 ? '-'.repeat(width) : `${'-'.repeat(Math.max(1, width - 1))}:`).join(' | ')} |`
  return [line(cells[0]!), rule, ...cells.slice(1).map(line)]
}
