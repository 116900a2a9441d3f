// npm run bench: runs what is asked in rounds, each row in turn, and ends with tables and a JSON file.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { compileLoad } from './harness/crowd.ts'
import { installPackages, installParts, missingParts } from './install.ts'
import { headText, openFileLimit, readHead } from './machine.ts'
import { type Options, readOptions, usage, UsageError } from './options.ts'
import { type AnyPlan, plans } from './plan.ts'
import { type Measured, type SectionResult, sectionTable } from './table.ts'

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
  return { section: plan.section, title: plan.title, rows, ...(plan.base !== undefined && { base: plan.base }) }
}

/** What a smoke run fails by; absent rows are no fault. */
function faultsOf (plan: AnyPlan, { rows }: SectionResult): string[] {
  return rows.flatMap(({ title, failures, rounds }) => [
    ...failures,
    ...rounds.flatMap((result) => plan.faults(result))
  ].map((fault) => `${plan.section}, ${title}: ${fault}`))
}

async function run (options: Options, args: readonly string[]): Promise<number> {
  checkLimits(options)
  if (options.peers.length > 0) installPackages()
  const missing = missingParts()
  if (options.install) installParts(missing)
  else if (missing.length > 0 && !options.smoke) console.log(`Some rows will be absent. To have them: apt-get install ${missing.join(' ')} (or --install)`)
  if (options.profile !== undefined) mkdirSync(options.profile, { recursive: true })
  const asked = { ...options, ...(options.profile !== undefined && { profile: resolve(options.profile) }) }
  if (options.client === 'c' && compileLoad() === undefined) {
    console.log('No C compiler, so the load client in Node counts; what it can take is said in bench/load/load.ts')
  }
  const head = readHead(args)
  console.log(headText(head))

  const todo = plans(asked)
  const sections: SectionResult[] = []
  for (const plan of todo) sections.push(await measure(plan))

  console.log(`\n${'='.repeat(80)}\n${headText(head)}`)
  for (const [at, plan] of todo.entries()) console.log(sectionTable(plan, sections[at]!))
  const file = resolve(options.json ?? `${import.meta.dirname}/results/${head.date.replaceAll(':', '')}.json`)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify({ head, sections }, null, 1)}\n`)
  console.log(`\nfigures: ${relative(process.cwd(), file)}`)

  const faults = todo.flatMap((plan, at) => faultsOf(plan, sections[at]!))
  if (options.smoke) {
    console.log(faults.length === 0 ? 'smoke: everything ran and every count was right' : `smoke: ${faults.length} faults\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
    return faults.length === 0 ? 0 : 1
  }
  return 0
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
