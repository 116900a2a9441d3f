// npm run bench: runs what is asked in rounds, each row in turn, and ends with tables and a JSON file.
import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { checkFigures, shownPath, writeFigures } from './figures.ts'
import { compileLoad } from './harness/crowd.ts'
import { nodeSettings } from './harness/parts.ts'
import { installPackages, installParts, missingParts } from './install.ts'
import { headText, openFileLimit, readHead } from './machine.ts'
import { type Options, readOptions, usage, UsageError } from './options.ts'
import { type AnyPlan, plans } from './plan.ts'
import { notTaken, select } from './select.ts'
import { baseOf, type Measured, type SectionResult, sectionTable } from './table.ts'

/** Open files that a process needs beside its streams. */
const SPARE_FILES = 300

function checkLimits (options: Options): void {
  const limit = openFileLimit()
  const most = options.streams ?? (options.smoke ? 0 : Math.max(...options.only.map((section) => section === 'idle' ? 15_000 : section === 'storm' ? 10_000 : 5000)))
  if (most + SPARE_FILES <= limit) return
  throw new UsageError(`${most} streams need ${most + SPARE_FILES} open files in the server's process, and a process may have ${limit} (ulimit -Hn). Ask for fewer: --streams ${limit - SPARE_FILES}`)
}

async function measure (plan: AnyPlan): Promise<SectionResult> {
  console.log(`\n${plan.title}`)
  const rows: Measured[] = plan.entries.map(({ name, title, absent }) => {
    const why = absent()
    if (why !== undefined) console.log(`  ${title}: absent, ${why}`)
    return { name, title, failures: [], rounds: [], ...(why !== undefined && { absent: why }) }
  })
  for (let round = 0; round < plan.rounds; round++) {
    for (const [at, entry] of plan.entries.entries()) {
      const row = rows[at]!
      // One that failed is not tried again: rounds must stay side by side.
      if (row.absent !== undefined || row.failures.length > 0) continue
      const startedMs = performance.now()
      try {
        const result = await entry.run()
        row.rounds.push(result)
        const [first] = plan.columns
        const said = first === undefined ? '' : `${first.head} ${first.value(result).toFixed(first.digits)}`
        const faults = plan.faults(result)
        console.log(`  ${round + 1}/${plan.rounds}  ${entry.title.padEnd(40)}  ${said}${faults.length > 0 ? `  (${faults.join(', ')})` : ''}  ${((performance.now() - startedMs) / 1000).toFixed(0)} s`)
      } catch (error) {
        row.failures.push((error as Error).message.split('\n')[0]!)
        console.log(`  ${round + 1}/${plan.rounds}  ${entry.title.padEnd(40)}  failed: ${(error as Error).message}`)
      }
    }
  }
  const base = baseOf(plan.base, rows)
  return { section: plan.section, title: plan.title, rows, ...(base !== undefined && { base }) }
}

/** Rows without a figure in some round. Whoever merely lost messages has one. */
function failuresOf ({ section, rows }: SectionResult): string[] {
  return rows.flatMap(({ title, failures }) => failures.map((failure) => `${section}, ${title}: ${failure}`))
}

/** What a smoke run fails by. What it could not run it has not shown to be right; only a peer may be absent. */
function faultsOf (plan: AnyPlan, { rows }: SectionResult): string[] {
  return rows.flatMap(({ title, absent, failures, rounds }, at) => [
    ...absent === undefined || plan.entries[at]!.isPeer ? [] : [`absent, ${absent}`],
    ...failures,
    ...rounds.flatMap((result) => plan.faults(result))
  ].map((fault) => `${plan.section}, ${title}: ${fault}`))
}

async function run (options: Options, args: readonly string[]): Promise<number> {
  checkLimits(options)
  Object.assign(nodeSettings, options.settings)
  const asked = { ...options, ...(options.profile !== undefined && { profile: resolve(options.profile) }) }
  const { plans: todo, leftOut } = select(plans(asked), options)
  const file = checkFigures(options.json ?? `${import.meta.dirname}/results/${new Date().toISOString().replaceAll(':', '')}.json`)
  for (const line of [...leftOut, ...notTaken(options, todo)]) console.log(line)
  if (options.peers.length > 0) installPackages()
  const missing = missingParts()
  if (options.install) installParts(missing)
  else if (missing.length > 0 && !options.smoke) console.log(`Some rows will be absent. To have them: apt-get install ${missing.join(' ')} (or --install)`)
  const reasons = todo.flatMap(({ entries }) => entries.map(({ title, absent }) => [title, absent()] as const))
  if (!options.smoke && reasons.every(([, why]) => why !== undefined)) {
    throw new UsageError(`nothing to measure: every row is absent\n${reasons.map(([title, why]) => `  ${title}: ${why}`).join('\n')}`)
  }
  if (options.profile !== undefined) mkdirSync(options.profile, { recursive: true })
  if (options.client === 'c' && compileLoad() === undefined) {
    console.log('No C compiler, so the load client in Node counts; what it can take is said in bench/load/load.ts')
  }
  const head = readHead(args)
  console.log(headText(head))

  const sections: SectionResult[] = []
  for (const plan of todo) {
    sections.push(await measure(plan))
    writeFigures(file, head, sections)
  }

  console.log(`\n${'='.repeat(80)}\n${headText(head)}`)
  for (const [at, plan] of todo.entries()) console.log(sectionTable(plan, sections[at]!))
  console.log(`\nfigures: ${shownPath(file)}`)

  const faults = todo.flatMap((plan, at) => faultsOf(plan, sections[at]!))
  if (options.smoke) {
    console.log(faults.length === 0 ? 'smoke: everything ran and every count was right' : `smoke: ${faults.length} faults\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
    return faults.length === 0 ? 0 : 1
  }
  const failures = sections.flatMap(failuresOf)
  if (failures.length > 0) console.log(`failed: ${failures.length} rows\n${failures.map((failure) => `  ${failure}`).join('\n')}`)
  return failures.length === 0 ? 0 : 1
}

const args = process.argv.slice(2)
try {
  const options = readOptions(args)
  if (options === 'help') console.log(usage)
  else process.exitCode = await run(options, args)
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error)
  process.exitCode = 2
}
