// npm run bench: runs what is asked in rounds, each row in turn, and ends with tables and a JSON file.
import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { readOptions, usage } from './command.ts'
import { checkFigures, shownPath, writeFigures } from './figures.ts'
import { compileLoad } from './harness/crowd.ts'
import { otherCheckout, thisCheckout } from './harness/service.ts'
import { installPackages, installParts, missingParts } from './install.ts'
import { headText, openFileLimit, readHead } from './machine.ts'
import { type Options, UsageError } from './options.ts'
import { peers } from './peers/peers.ts'
import { type Plan, plans } from './plan.ts'
import { notTaken, select } from './select.ts'
import { againstTable, baseOf, type Measured, type SectionResult, sectionTable } from './table.ts'

/** Open files that a process needs beside its streams. */
const SPARE_FILES = 300

function checkLimits (plans: readonly Plan[]): void {
  const limit = openFileLimit()
  const most = Math.max(...plans.map(({ asked: { streams } }) => streams))
  if (most + SPARE_FILES <= limit) return
  throw new UsageError(`${most} streams need ${most + SPARE_FILES} open files in the server's process, and a process may have ${limit} (ulimit -Hn). Ask for fewer: --streams ${limit - SPARE_FILES}`)
}

/** For the table: what happened, and of what a process said last the line that looks like the reason. */
function inOneLine ({ message }: Error): string {
  const [first = '', ...rest] = message.split('\n')
  const reason = rest.findLast((line) => /error|fail|cannot/i.test(line) && !/^\s+at /.test(line))
  return reason === undefined ? first : `${first}: ${reason.trim().slice(0, 300)}`
}

async function measure ({ section, asked, rounds, rows }: Plan): Promise<SectionResult> {
  const title = section.title(asked)
  console.log(`\n${title}`)
  const results: Measured[] = rows.map(({ name, title, twin, absent }) => {
    const why = absent()
    if (why !== undefined) console.log(`  ${title}: absent, ${why}`)
    return { name, title, failures: [], rounds: [], ...(twin !== undefined && { twin }), ...(why !== undefined && { absent: why }) }
  })
  const [first] = section.columns
  const inTurn = [...rows.entries()]
  for (let round = 0; round < rounds; round++) {
    // There and back again: whatever the machine does slowly meanwhile, nobody is always before or behind somebody
    // else.
    for (const [at, row] of round % 2 === 0 ? inTurn : inTurn.toReversed()) {
      const { absent, failures, rounds: done } = results[at]!
      // One that failed is not tried again: rounds must stay side by side.
      if (absent !== undefined || failures.length > 0) continue
      const startedMs = performance.now()
      const line = `  ${round + 1}/${rounds}  ${row.title.padEnd(40)}  `
      try {
        const result = await section.run(row, asked)
        done.push(result)
        const said = first === undefined ? '' : `${first.head} ${first.value(result).toFixed(first.digits)}`
        const faults = section.faults(result, asked)
        console.log(`${line}${said}${faults.length > 0 ? `  (${faults.join(', ')})` : ''}  ${((performance.now() - startedMs) / 1000).toFixed(0)} s`)
      } catch (error) {
        failures.push(inOneLine(error as Error))
        console.log(`${line}failed: ${(error as Error).message}`)
      }
    }
  }
  const base = baseOf(section.base, results)
  return { section: section.name, title, rows: results, ...(base !== undefined && { base }) }
}

/** Rows without a figure in some round. Whoever merely lost messages has one. */
function failuresOf ({ section, rows }: SectionResult): string[] {
  return rows.flatMap(({ title, failures }) => failures.map((failure) => `${section}, ${title}: ${failure}`))
}

/** What a smoke run fails by. What it could not run it has not shown to be right; only a peer may be absent. */
function faultsOf ({ section, asked, rows: wanted }: Plan, { rows }: SectionResult): string[] {
  return rows.flatMap(({ title, absent, failures, rounds }, at) => [
    ...absent === undefined || wanted[at]!.kind === 'peer' ? [] : [`absent, ${absent}`],
    ...failures,
    ...rounds.flatMap((result) => section.faults(result, asked))
  ].map((fault) => `${section.name}, ${title}: ${fault}`))
}

async function run (options: Options, args: readonly string[]): Promise<number> {
  const other = options.against === undefined ? undefined : otherCheckout(options.against, options.settings)
  const field = {
    services: [thisCheckout(options.settings), ...other === undefined ? [] : [other]],
    peers: peers.filter(({ name }) => options.peers.includes(name))
  }
  const asked = { ...options, ...(options.profile !== undefined && { profile: resolve(options.profile) }) }
  const { plans: todo, leftOut } = select(plans(asked, field), options)
  checkLimits(todo)
  const file = checkFigures(options.json ?? `${import.meta.dirname}/results/${new Date().toISOString().replaceAll(':', '')}.json`)
  for (const line of [...leftOut, ...notTaken(options, todo)]) console.log(line)
  if (options.peers.length > 0) installPackages()
  const missing = missingParts()
  if (options.install) installParts(missing)
  else if (missing.length > 0 && !options.smoke) console.log(`Some rows will be absent. To have them: apt-get install ${missing.join(' ')} (or --install)`)
  const reasons = todo.flatMap(({ rows }) => rows.map(({ title, absent }) => [title, absent()] as const))
  if (!options.smoke && reasons.every(([, why]) => why !== undefined)) {
    throw new UsageError(`nothing to measure: every row is absent\n${reasons.map(([title, why]) => `  ${title}: ${why}`).join('\n')}`)
  }
  if (options.profile !== undefined) mkdirSync(options.profile, { recursive: true })
  if (options.client === 'c' && compileLoad() === undefined) {
    console.log('No C compiler, so the load client in Node counts; what it can take is said in bench/load/load.ts')
  }
  const head = readHead(args, other)
  console.log(headText(head))

  const sections: SectionResult[] = []
  for (const plan of todo) {
    sections.push(await measure(plan))
    writeFigures(file, head, sections)
  }

  console.log(`\n${'='.repeat(80)}\n${headText(head)}`)
  for (const [at, plan] of todo.entries()) console.log(`${sectionTable(plan, sections[at]!)}${againstTable(plan, sections[at]!)}`)
  console.log(`\nfigures: ${shownPath(file)}`)

  if (options.smoke) {
    const faults = todo.flatMap((plan, at) => faultsOf(plan, sections[at]!))
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
