// npm run chaos -- --topology all: each topology as a process of its own, at the same time; their accounts one after
// the other.
import { fileURLToPath } from 'node:url'
import { spawnChild } from '../test/fixtures/process.ts'
import type { Scope } from '../test/fixtures/wait.ts'
import type { Options } from './options.ts'
import type { Topology } from './topology.ts'

const main = fileURLToPath(new URL('main.ts', import.meta.url))

export interface SideBySide {
  /** The command line, of which each gets all but the topology. */
  readonly args: readonly string[]
  readonly all: ReadonlyArray<Pick<Options, 'topology' | 'seed' | 'json'>>
  readonly say: (line: string) => void
  /** What each is a process of. Default: chaos/main.ts. */
  readonly program?: string
}

/** The exit code: that of the worst. */
export async function runSideBySide (scope: Scope, { args, all, say, program = main }: SideBySide): Promise<number> {
  const runs = all.map(({ topology, seed, json }) => {
    // Whoever sees the account sees the way to it, too, and may read along.
    let isAccount = false
    const child = spawnChild(scope, process.execPath, [program, ...args, '--topology', topology, '--seed', `${seed}`, ...json === undefined ? [] : ['--json', fileOf(json, topology)]], {
      name: topology,
      onLine: (line) => {
        isAccount ||= line === ''
        if (!isAccount) say(`${topology.padEnd(8)}  ${line}`)
      }
    })
    return { topology, child }
  })
  // Together: each takes some seconds to end what it has started.
  scope.teardown(async () => { await Promise.all(runs.map(({ child }) => child.stop())) })
  const codes = await Promise.all(runs.map(async ({ child }) => (await child.exited).code ?? 2))
  for (const [i, { topology, child: { lines } }] of runs.entries()) {
    say(`\n=== ${topology}\n${lines.slice(lines.indexOf('')).join('\n')}`)
    if (codes[i] !== 0) say(`${topology}: exit ${codes[i]}`)
  }
  return Math.max(...codes)
}

/** account.json becomes account-cluster.json. */
function fileOf (json: string, topology: Topology): string {
  return json.replace(/(\.[^./]*)?$/, `-${topology}$1`)
}
