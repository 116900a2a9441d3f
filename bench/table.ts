// The tables at the end, in Markdown: medians over the rounds, and multiples of a base row taken round by round.
import type { Plan } from './plan.ts'
import { median } from './harness/stats.ts'
import type { Column } from './sections/section.ts'

export interface Measured {
  readonly name: string
  readonly title: string
  /** For a row of another checkout: the name of the same row of this one. */
  readonly twin?: string
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
  /**
   * What the ratios are of: the section's base, or the first row where that one has no result; undefined where there is
   * nothing to compare.
   */
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

/** Of each round that both have: the one's figure divided by the other's. */
export function multiples (row: Measured, base: Measured | undefined, { value }: Column<unknown>): number[] {
  return row.rounds.flatMap((result, round) => {
    const of = base?.rounds[round]
    return of === undefined ? [] : [value(result) / value(of)]
  })
}

export function sectionTable ({ section: { columns, table }, rounds }: Plan, { title, rows, base: baseName }: SectionResult): string {
  const base = rows.find(({ name }) => name === baseName)
  const measured = rows.filter((row) => row.rounds.length > 0)
  return [
    `\n${title}${rounds > 1 ? `; medians of ${rounds} rounds` : ''}`,
    ...table !== undefined
      ? measured.flatMap(({ title, rounds: [result] }) => [...measured.length > 1 ? [title] : [], ...markdown(table(result))])
      : measured.length > 0 ? figures(columns, measured, base) : [],
    ...rows.flatMap(({ title, absent, failures }) => [
      ...absent === undefined ? [] : [`absent: ${title}: ${absent}`],
      ...failures.map((failure) => `failed: ${title}: ${failure}`)
    ])
  ].join('\n')
}

function figures (all: ReadonlyArray<Column<any>>, measured: readonly Measured[], base: Measured | undefined): string[] {
  // A column that says nothing of any row is left out.
  const columns = all.filter(({ value }, at) => at === 0 || measured.some(({ rounds }) => rounds.some((result) => Number.isFinite(value(result)))))
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

/** What this checkout's rows are of the other's, for each column that costs; '' where no row has a twin. */
export function againstTable ({ section: { columns } }: Plan, { rows }: SectionResult): string {
  const pairs = rows.flatMap((there) => {
    const here = rows.find(({ name }) => name === there.twin)
    return here === undefined || here.rounds.length === 0 || there.rounds.length === 0 ? [] : [{ here, there }]
  })
  const compared = columns.filter((column) => column.isCost && pairs.some(({ here, there }) => multiples(here, there, column).some(Number.isFinite)))
  if (compared.length === 0) return ''
  return ['\n\nthis checkout ÷ the other, round by round: median (least–most)', ...markdown([
    ['', ...compared.map(({ head }) => head)],
    ...pairs.map(({ here, there }) => [`${here.title} ÷ ${there.name}`, ...compared.map((column) => {
      const ratios = multiples(here, there, column).filter(Number.isFinite)
      return ratios.length === 0 ? '–' : `${figure(median(ratios), 2)} (${figure(Math.min(...ratios), 2)}–${figure(Math.max(...ratios), 2)})`
    })])
  ])].join('\n')
}

function markdown (cells: readonly string[][]): string[] {
  const widths = cells[0]!.map((_, at) => Math.max(...cells.map((row) => row[at]!.length)))
  const line = (row: readonly string[]): string => `| ${row.map((cell, at) => at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!)).join(' | ')} |`
  const rule = `| ${widths.map((width, at) => at === 0 ? '-'.repeat(width) : `${'-'.repeat(Math.max(1, width - 1))}:`).join(' | ')} |`
  return [line(cells[0]!), rule, ...cells.slice(1).map(line)]
}
