// What `npm run chaos` can be told on its command line.
import { help, parse } from '../scripts/command-line.ts'
import type { Fault } from './fault.ts'
import { faults } from './faults.ts'
import { topologies, type Topology } from './topology.ts'

const sabotages = ['no-replay', 'no-refill', 'no-gap', 'drop-one', 'no-copies'] as const
type Sabotage = typeof sabotages[number]

export interface Options {
  readonly topology: Topology
  readonly partitions: number
  readonly seed: number
  readonly seconds: number
  readonly clients: number
  /** Names of faults; every one of them at first comes once, in a random order. */
  readonly faults: readonly string[]
  /** Faults that cannot be made here, and why. */
  readonly notTried: Readonly<Record<string, string>>
  readonly json: string | undefined
  readonly sabotage: Sabotage | undefined
}

/** Partitions of a Cluster, unless it is said. */
const CLUSTER_PARTITIONS = 8
/** Of the faults that have nothing to do with Redis, those that come among the ones of Sentinels and Clusters. */
const COMPANY = ['node-kill', 'publish-overlapping', 'phone-and-laptop']

export class UsageError extends Error {}

export const usage = `npm run chaos -- [options]

Three nodes, Redis and nginx under faults, and an account of every durable notification. Exit 0: nothing was lost in silence.

  --topology <what>    single (default), sentinel: a master, a replica and three Sentinels; cluster: three masters with a replica each;
                       or all: the three side by side, one seed for all of them, exit 1 if one fails
  --partitions <number>  1, 2, 4 … 256 (default 1; in a Cluster 8)
  --seed <number>      the same seed makes the same schedule; default: a new one, printed
  --seconds <number>   for how long faults are made (default 120); starting, healing and the account come on top
  --clients <number>   EventSource clients (default 300)
  --faults <a,b,…>     only these (default: all; with another topology those of Redis there, and a few)
  --json <file>        writes the account as JSON too; with --topology all <file>-single, -sentinel and -cluster
  --sabotage <what>    checks the check: the service is broken on purpose, so exit 1 is what must come
                         no-replay  nginx takes Last-Event-ID off every request
                         no-refill  nodes do not hear that their line to Redis broke
                         no-gap     nodes tell nobody that something is missing
                         drop-one   some notifications are taken out of one node's line
                         no-copies  what is committed in one partition is copied to no other
  --help

Faults:
${faults.map(({ name, what }) => `  ${name.padEnd(22)} ${what}`).join('\n')}
`

/** One for each run; none: help is wanted. Throws UsageError. */
export function readOptions (args: readonly string[]): Options[] {
  const text = { type: 'string' } as const
  let values
  try {
    values = parse(args, {
      topology: text,
      partitions: text,
      seed: text,
      seconds: text,
      clients: text,
      faults: text,
      json: text,
      sabotage: text,
      help
    }).values
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
  if (values.help === true) return []
  const { topology = 'single' } = values
  const seed = values.seed ?? String(Math.floor(Math.random() * 1_000_000))
  const asked = topology === 'all' ? topologies : topologies.filter((one) => one === topology)
  if (asked.length === 0) throw new UsageError(`--topology: one of ${topologies.join(', ')}, all`)
  return asked.map((topology) => optionsFor(topology, { ...values, seed }))
}

interface Values {
  readonly partitions?: string | undefined
  readonly seed: string
  readonly seconds?: string | undefined
  readonly clients?: string | undefined
  readonly faults?: string | undefined
  readonly json?: string | undefined
  readonly sabotage?: string | undefined
}

function optionsFor (topology: Topology, values: Values): Options {
  const partitions = whole('partitions', values.partitions ?? (topology === 'cluster' ? `${CLUSTER_PARTITIONS}` : '1'), 1, 256)
  if (!Number.isInteger(Math.log2(partitions))) throw new UsageError(`--partitions: 1, 2, 4 … 256, not ${partitions}`)
  const isThere = ({ topologies, needsPartitions }: Fault): boolean =>
    (topologies?.includes(topology) ?? true) && (needsPartitions !== true || partitions > 1)
  const isUsual = ({ name, topologies, needsPartitions }: Fault): boolean =>
    topology === 'single' || topologies !== undefined || needsPartitions === true || COMPANY.includes(name)
  const names = values.faults?.split(',').map((name) => name.trim()).filter((name) => name !== '') ??
    faults.filter((fault) => isThere(fault) && isUsual(fault)).map(({ name }) => name)
  const unknown = names.find((name) => !faults.some((fault) => fault.name === name))
  if (unknown !== undefined || names.length === 0) throw new UsageError(`--faults: there is no fault "${unknown ?? ''}"; --help lists them`)
  const elsewhere = faults.find((fault) => names.includes(fault.name) && !isThere(fault))
  if (elsewhere?.needsPartitions === true) throw new UsageError(`--faults: ${elsewhere.name} needs several --partitions`)
  if (elsewhere !== undefined) {
    throw new UsageError(`--faults: ${elsewhere.name} cannot be made with --topology ${topology}, only with ${elsewhere.topologies!.join(', ')}`)
  }
  const notTried = Object.fromEntries(faults.flatMap(({ name, absent }) => {
    const why = absent?.()
    return why === undefined || !names.includes(name) ? [] : [[name, why]]
  }))
  const [wanted] = Object.entries(notTried)
  if (values.faults !== undefined && wanted !== undefined) throw new UsageError(`--faults: ${wanted[0]} cannot be made here, ${wanted[1]}`)
  const sabotage = sabotages.find((one) => one === values.sabotage)
  if (values.sabotage !== undefined && sabotage === undefined) throw new UsageError(`--sabotage: one of ${sabotages.join(', ')}`)
  if (sabotage === 'drop-one' && topology !== 'single') {
    throw new UsageError('--sabotage drop-one: only with --topology single, where a line between node and Redis is ours')
  }
  if (sabotage === 'no-copies' && partitions === 1) throw new UsageError('--sabotage no-copies: needs several --partitions')
  return {
    topology,
    partitions,
    seed: whole('seed', values.seed, 0, 4_294_967_295),
    seconds: whole('seconds', values.seconds ?? '120', 1, 86_400),
    clients: whole('clients', values.clients ?? '300', 3, 5000),
    faults: names.filter((name) => notTried[name] === undefined),
    notTried,
    json: values.json,
    sabotage
  }
}

function whole (name: string, text: string, least: number, most: number): number {
  const number = Number(text)
  if (!/^\d+$/.test(text) || number < least || number > most) throw new UsageError(`--${name}: a whole number from ${least} to ${most}, not "${text}"`)
  return number
}
