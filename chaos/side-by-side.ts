// npm run chaos -- --topology all: each topology as a process of its own, at the same time; their accounts one after
// the other.
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { spawnChild, type Spawned } from '../test/fixtures/process.ts'
import type { Scope } from '../test/fixtures/wait.ts'
import type { Options } from './options.ts'
import type { Topology } from './topology.ts'

const main = fileURLToPath(new URL('main.ts', import.meta.url))

export interface SideBySide {
  /** The command line, of which each gets all but what is its own: topology, seed and file. */
  readonly args: readonly string[]
  readonly all: ReadonlyArray<Pick<Options, 'topology' | 'seed' | 'json'>>
  readonly say: (line: string) => void
  /** What each is a process of. Default: chaos/main.ts. */
  readonly program?: string
}

const OWN = ['topology', 'seed', 'json']

/** How long one may take until all of its clients are live. */
const START_MS = 120_000

/** The exit code: that of the worst. */
export async function runSideBySide (scope: Scope, { args, all, say, program = main }: SideBySide): Promise<number> {
  const children: Spawned[] = []
  let isOver = false
  for (const { topology, seed, json } of all) {
    if (isOver) break
    // Whoever sees the account sees the way to it, too, and may read along.
    let isAccount = false
    const child = spawnChild(scope, process.execPath, [program, ...shared(args), '--topology', topology, '--seed', `${seed}`, ...json === undefined ? [] : ['--json', fileOf(json, topology)]], {
      name: topology,
      onLine: (line) => {
        isAccount ||= line === ''
        if (!isAccount) say(`${topology.padEnd(8)}  ${line}`)
      }
    })
    children.push(child)
    // Together: each takes some seconds to end what it has started.
    scope.teardown(async () => {
      isOver = true
      await Promise.all(children.map((child) => child.stop()))
    })
    // One after the other: to start nine nodes at once takes longer than a node is waited for.
    await child.waitForLine(/all live/, START_MS).catch(() => {}) // it ends, and says why
  }
  const codes = await Promise.all(children.map(async (child) => (await child.exited).code ?? 2))
  for (const [i, { lines }] of children.entries()) {
    const { topology } = all[i]!
    say(`\n=== ${topology}\n${lines.slice(lines.indexOf('')).join('\n')}`)
    if (codes[i] !== 0) say(`${topology}: exit ${codes[i]}`)
  }
  return Math.max(...codes)
}

/** account.json becomes account-cluster.json. */
function fileOf (json: string, topology: Topology): string {
  return json.replace(/(\.[^./]*)?$/, `-${topology}$1`)
}

/** A script refuses an option that stands twice. */
function shared (args: readonly string[]): string[] {
  const { tokens } = parseArgs({ args: [...args], options: Object.fromEntries(OWN.map((name) => [name, { type: 'string' as const }])), strict: false, tokens: true })
  const own = tokens.flatMap((token) => token.kind === 'option' && OWN.includes(token.name) ? token.inlineValue === true ? [token.index] : [token.index, token.index + 1] : [])
  return args.filter((_, at) => !own.includes(at))
}
