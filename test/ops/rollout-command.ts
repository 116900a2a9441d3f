// npm run rollout: a rollout of the chart as processes. By default ten nodes and 5,000 streams, about four minutes.
import { globSync } from 'node:fs'
import { basename, join } from 'node:path'
import { readCommandLine, refuse } from '../../scripts/command-line.ts'

const files = globSync('*-values.yaml', { cwd: join(import.meta.dirname, '../../ops/helm/tidings/ci') }).map((file) => basename(file, '-values.yaml')).sort()

const usage = `Usage: npm run rollout [-- <options>]

  --values <name>   the values of the chart: ${files.join(', ')} (minimal)
  --nodes <n>       how many are replaced (10)
  --streams <n>     open streams, two of each user (5000)
  --rate <n>        notifications a second to everybody (2)

Prints what happened as JSON, and then what was wrong with it. Exit code: 0, or 1 if something was wrong.`

const { values: options } = readCommandLine(usage, {
  values: { type: 'string', default: 'minimal' }, nodes: { type: 'string', default: '10' }, streams: { type: 'string', default: '5000' }, rate: { type: 'string', default: '2' }
})

function whole (name: 'nodes' | 'streams' | 'rate', most: number): number {
  const text = options[name]
  if (!/^[1-9]\d*$/.test(text) || Number(text) > most) refuse(`--${name} must be a whole number from 1 to ${most}, not "${text}"`, usage)
  return Number(text)
}

const [nodes, streams, publishesPerSecond] = [whole('nodes', 100), whole('streams', 100_000), whole('rate', 1000)]
if (!files.includes(options.values)) refuse(`--values must be one of ${files.join(', ')}, not "${options.values}"`, usage)

// Only now: it looks for Helm, and may install it.
const { complaints, playRollout } = await import('./rollout.ts')
const cleanups: Array<() => unknown> = []
const result = await playRollout({ teardown: (clean) => cleanups.unshift(clean) }, { values: options.values, nodes, streams, publishesPerSecond })
const { faults, leavings, statuses, ...figures } = result
console.log(JSON.stringify({ ...figures, streamsOfEachThatLeft: leavings.map((leaving) => leaving.streams) }, null, 2))
const wrong = complaints(result, streams)
console.log(wrong.length === 0 ? 'no dead tab, no storm, nothing lost' : wrong.join('\n'))
for (const clean of cleanups) await clean()
process.exit(wrong.length === 0 ? 0 : 1)
