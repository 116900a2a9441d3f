// The check on all topologies at once: each tells as it goes, then its account, and one that fails is the answer.
import t, { type Test } from 'tap'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readOptions } from '../../chaos/options.ts'
import { runSideBySide } from '../../chaos/side-by-side.ts'
import { makeFolder } from '../fixtures/process.ts'
import { Undo } from '../fixtures/undo.ts'
import { Signal } from '../fixtures/wait.ts'

/** What stands in the place of each run: it says what it was told, and ends with a code of its own, or not at all. */
function programOf (t: Test, codes: Record<string, number>): string {
  const file = join(makeFolder(t), 'program.ts')
  writeFileSync(file, `
    import { readOptions } from ${JSON.stringify(import.meta.resolve('../../chaos/options.ts'))}
    const args = process.argv.slice(2)
    readOptions(args) // as each of them would
    const topology = args[args.indexOf('--topology') + 1]
    console.log('all live, told ' + args.join(' '))
    console.log('')
    console.log('the account of ' + topology)
    const code = ${JSON.stringify(codes)}[topology]
    if (code === undefined) setInterval(() => {}, 1000)
    else process.exitCode = code
  `)
  return file
}

const ARGS = ['--topology', 'all', '--seconds', '7', '--json=a/b.c/account.json', '--clients', '9', '--seed', '5']

t.test('chaos, on all topologies, gives each the same line and seed and a file of its own, and the worst is the answer', async (t) => {
  const all = readOptions(ARGS)
  t.same(all.map(({ topology, partitions }) => [topology, partitions]), [['single', 1], ['sentinel', 1], ['cluster', 8]])
  t.equal(new Set(all.map(({ seed }) => seed)).size, 1)
  t.equal(new Set(readOptions(['--topology', 'all']).map(({ seed }) => seed)).size, 1, 'drawn once')
  const said: string[] = []
  const code = await runSideBySide(t, { args: ARGS, all, say: (line) => { said.push(line) }, program: programOf(t, { single: 0, sentinel: 1, cluster: 0 }) })
  t.equal(code, 1)
  const toldTo = (topology: string): string => `${topology.padEnd(8)}  all live, told --seconds 7 --clients 9 --topology ${topology} --seed 5 --json a/b.c/account-${topology}.json`
  t.same(said, [
    ...['single', 'sentinel', 'cluster'].map(toldTo),
    '\n=== single\n\nthe account of single', '\n=== sentinel\n\nthe account of sentinel', 'sentinel: exit 1', '\n=== cluster\n\nthe account of cluster'
  ])
})

t.test('chaos, on all topologies, ended from outside, ends all of them', async (t) => {
  const scope = new Undo()
  const changed = new Signal()
  const said: string[] = []
  const say = (line: string): void => {
    said.push(line)
    changed.notify()
  }
  const code = runSideBySide(scope, { args: ARGS, all: readOptions(ARGS), say, program: programOf(t, {}) })
  await changed.until(() => said.length === 3 ? true : undefined, { what: 'all of them to run' })
  await scope.end()
  t.equal(await code, 2, 'without an account there was no run')
})

t.test('chaos, on all topologies, asked for what one of them cannot have, starts nothing', async (t) => {
  t.throws(() => readOptions(['--topology', 'all', '--faults', 'slot-moved']), /slot-moved cannot be made with --topology single, only with cluster/)
})
