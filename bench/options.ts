// The command line of the bench: what may be asked, the defaults, and a sentence for everything that may not.
import { parseArgs } from 'node:util'
import { configSchema } from '../src/config.ts'
import type { Client } from './harness/crowd.ts'
import { publishRows } from './publish.ts'
import { latencyRows, ownRows, peers, scalingRows } from './rows/rows.ts'

export const SECTIONS = ['fanout', 'burst', 'idle', 'churn', 'latency', 'storm', 'publish', 'scaling'] as const
export type Section = typeof SECTIONS[number]

export interface Options {
  readonly only: readonly Section[]
  readonly peers: readonly string[]
  /** Names of our own rows; undefined: all. */
  readonly rows: readonly string[] | undefined
  readonly streams: number | undefined
  readonly seconds: number | undefined
  readonly rounds: number | undefined
  readonly rate: number
  readonly connects: number
  readonly client: Client
  readonly smoke: boolean
  readonly install: boolean
  readonly json: string | undefined
  readonly profile: string | undefined
  /** Settings of the service that its nodes get, by name. */
  readonly settings: Readonly<Record<string, string>>
  /** The options that were typed, without dashes. */
  readonly given: readonly string[]
}

/** A message for whoever typed the command. */
export class UsageError extends Error {}

const named = (rows: ReadonlyArray<{ readonly name: string }>): string => rows.map(({ name }) => name).join(', ')
const beyond = (rows: ReadonlyArray<{ readonly name: string }>) => rows.filter(({ name }) => !ownRows.some((own) => own.name === name))

export const usage = `Usage: npm run bench -- [options]

  --only <a,b>       ${SECTIONS.join(', ')} (all)
  --peers <a,b>      all, none, or of: ${named(peers)} (all; none with --smoke);
                     measured in fanout, burst, idle and latency
  --rows <a,b>       of our own rows only these: ${named(ownRows)};
                     latency has ${named(latencyRows)} too; scaling: ${named(beyond(scalingRows))};
                     publish: ${named(publishRows)}
  --streams <n>      open streams (fanout 5000, burst 2000, idle 15000, storm 10000, scaling 5000);
                     not in churn, latency and publish
  --seconds <n>      measured time of each row (fanout 5, burst 5, latency 5, publish 5, scaling 5);
                     not in idle, churn, storm and footprint
  --rounds <n>       how often each row is measured, in turn with the others (3; latency and storm 2, idle and churn 1)
  --rate <n>         messages a second of burst (1000)
  --churn <n>        connects and disconnects of churn (100000; a long run: 1000000)
  --client <c|node>  which load client (c where a compiler is there, else node); publish has none
  --smoke            everything small, under a minute; says nothing of speed; fails if anything is lost,
                     miscounted or torn, and if a row of our own is absent
  --json <file>      where the figures go, after each section (bench/results/<time>.json)
  --profile <dir>    CPU profiles of the Node servers go there; not of idle, churn and footprint, where memory is weighed
  --set <NAME=value> settings for the nodes of Tidings, for example COALESCE_MS=10; several with commas
  --install          installs what is missing with apt-get (nginx, Redis, Nchan, Pushpin, a C compiler)
  --help

scaling-burst and footprint belong to scaling. CPU is that of the server processes, load that of the clients and the bench itself; everything runs on
127.0.0.0/8 and ends with this command. Exit code: 0, 1 if a row failed (or a smoke run found a fault), 2 if it could not begin.`

export function readOptions (args: readonly string[]): Options | 'help' {
  const { values } = parse(args)
  if (values.help === true) return 'help'
  const smoke = values.smoke === true
  return {
    only: names('--only', values.only, SECTIONS) ?? (smoke ? SECTIONS.filter((name) => name !== 'churn' && name !== 'scaling') : SECTIONS),
    peers: values.peers === 'none' || (values.peers === undefined && smoke)
      ? []
      : names('--peers', values.peers === 'all' ? undefined : values.peers, peers.map(({ name }) => name)) ?? peers.map(({ name }) => name),
    rows: names('--rows', values.rows, [...new Set([...ownRows, ...latencyRows, ...scalingRows, ...publishRows].map(({ name }) => name))]),
    streams: whole('--streams', values.streams, 1, 100_000),
    seconds: decimal('--seconds', values.seconds),
    rounds: whole('--rounds', values.rounds, 1, 100),
    rate: whole('--rate', values.rate, 1, 100_000) ?? 1000,
    connects: whole('--churn', values.churn, 100, 100_000_000) ?? 100_000,
    client: one('--client', values.client, ['c', 'node'] as const) ?? 'c',
    smoke,
    install: values.install === true,
    json: values.json,
    profile: values.profile,
    settings: settings(values.set),
    given: Object.keys(values)
  }
}

/** A number below 0 is a value, which parseArgs takes for an option of its own; then the option itself can say what it wants. */
function withNegatives (args: readonly string[]): string[] {
  const joined: string[] = []
  for (const arg of args) {
    if (/^-\.?\d/.test(arg) && /^--[a-z]+$/.test(joined.at(-1) ?? '')) joined.push(`${joined.pop()}=${arg}`)
    else joined.push(arg)
  }
  return joined
}

function parse (args: readonly string[]) {
  try {
    const text = { type: 'string' } as const
    const flag = { type: 'boolean' } as const
    return parseArgs({
      args: withNegatives(args),
      options: {
        only: text,
        peers: text,
        rows: text,
        streams: text,
        seconds: text,
        rounds: text,
        rate: text,
        churn: text,
        client: text,
        json: text,
        profile: text,
        set: text,
        smoke: flag,
        install: flag,
        help: { ...flag, short: 'h' }
      }
    })
  } catch (error) {
    const { message } = error as Error
    const wanting = /^Option '(?:-\w, )?(--\w+) ?[^']*' argument (?:is ambiguous|missing)/.exec(message)?.[1]
    throw new UsageError(`${wanting === undefined ? message.split(/\.\s/)[0] : `${wanting} wants a value`}. Try --help`)
  }
}

/** Where a node listens, and to whom it belongs, is the bench's own business. */
const NOT_SET = ['HOST', 'PORT', 'REDIS_URL', 'REDIS_PREFIX', 'JWT_SECRET']

function settings (given: string | undefined): Record<string, string> {
  return Object.fromEntries((given?.split(',') ?? []).map((text) => {
    const [, name, value] = /^\s*([A-Z_]+)=(.*)$/.exec(text) ?? []
    if (name === undefined) throw new UsageError(`--set ${text}: give NAME=value, as in COALESCE_MS=10`)
    if (!(name in configSchema.properties) || NOT_SET.includes(name)) {
      throw new UsageError(`--set ${text}: ${name} is ${NOT_SET.includes(name) ? 'what the bench sets itself' : 'no setting; README lists them'}`)
    }
    return [name, value!]
  }))
}

function names<T extends string> (option: string, given: string | undefined, known: readonly T[]): readonly T[] | undefined {
  if (given === undefined) return undefined
  const asked = given.split(',').map((name) => name.trim()).filter((name) => name !== '')
  const strange = asked.filter((name) => !known.includes(name as T))
  if (strange.length > 0 || asked.length === 0) {
    throw new UsageError(`${option} ${given}: ${strange.length > 0 ? `"${strange.join('", "')}" is not one` : 'nothing is named'} of ${known.join(', ')}`)
  }
  return known.filter((name) => asked.includes(name))
}

function one<T extends string> (option: string, given: string | undefined, known: readonly T[]): T | undefined {
  if (given === undefined || known.includes(given as T)) return given as T | undefined
  throw new UsageError(`${option} ${given}: give one of ${known.join(', ')}`)
}

function whole (option: string, given: string | undefined, least: number, most: number): number | undefined {
  if (given === undefined) return undefined
  const value = Number(given)
  if (!/^\d+$/.test(given) || value < least || value > most) throw new UsageError(`${option} ${given}: give a whole number from ${least} to ${most}`)
  return value
}

function decimal (option: string, given: string | undefined): number | undefined {
  if (given === undefined) return undefined
  const value = Number(given)
  if (!(value > 0 && value <= 3600)) throw new UsageError(`${option} ${given}: give a number of seconds above 0, at most 3600`)
  return value
}
