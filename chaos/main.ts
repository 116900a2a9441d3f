// npm run chaos: the service under faults, and an account of every notification. Exit 0: nothing lost in silence; 1:
// something; 2: no run.
import { writeFileSync } from 'node:fs'
import { Undo } from '../test/fixtures/undo.ts'
import { readOptions, usage, UsageError } from './options.ts'
import { failures, json, table } from './report.ts'
import { run } from './run.ts'
import { runSideBySide } from './side-by-side.ts'

const scope = new Undo()

async function end (code: number): Promise<never> {
  await scope.end()
  process.exit(code)
}

async function main (): Promise<number> {
  const args = process.argv.slice(2)
  const all = readOptions(args)
  const [options] = all
  if (options === undefined) {
    console.log(usage)
    return 0
  }
  const say = (line: string): void => { console.log(line) }
  if (all.length > 1) return await runSideBySide(scope, { args, all, say })
  const outcome = await run(scope, options, say)
  console.log(`\n${table(outcome)}\n`)
  if (options.json !== undefined) writeFileSync(options.json, json(outcome))
  const failed = failures(outcome)
  console.log(failed.length === 0 ? 'Nothing was lost in silence.' : `FAILED: ${failed.join('; ')}`)
  return failed.length === 0 ? 0 : 1
}

// What it started goes with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { void end(130) })

try {
  await end(await main())
} catch (error) {
  // Last, where it is seen: the usage has sixty lines.
  console.error(error instanceof UsageError ? `${usage}\n${error.message}` : error)
  await end(2)
}
