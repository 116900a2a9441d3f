// The command line of the bench: its text, its defaults and what it refuses, read off the sections.
import { help, parse as parseLine } from '../scripts/command-line.ts'
import { configSchema } from '../src/config.ts'
import { thisCheckout } from './harness/service.ts'
import { type Options, UsageError } from './options.ts'
import { peers } from './peers/peers.ts'
import type { AnySection, Size, Taken } from './sections/section.ts'
import { sectionNames, sections } from './sections/sections.ts'

const rowNames = (section: AnySection): string[] =>
  section.rows({ services: [thisCheckout({})], peers: [] }).map(({ name }: { name: string }) => name)

/** "fanout 5000, burst 2000": what it is by default, where it is taken. */
function defaults (option: 'streams' | 'seconds' | 'rate' | 'churn' | 'rounds'): string {
  return sections.flatMap(({ name, takes: { [option]: size } }) => size === undefined ? [] : [`${name} ${typeof size === 'number' ? size : (size as Size)[0]}`]).join(', ')
}

const named = (fits: (section: AnySection) => boolean): string => sections.filter(fits).map(({ name }) => name).join(', ')
const takers = (option: Taken): string => named(({ takes }) => takes[option] !== undefined)

/** `fanout, burst: c-floor, …`, a line for sections that have the same rows. */
function rowLines (): string[] {
  const groups = Map.groupBy(sections, (section) => rowNames(section).join(', '))
  return [...groups].map(([rows, same]) => `${same.map(({ name }) => name).join(', ')}: ${rows}`)
}

const WIDTH = 118
const INDENT = 21

/** An option and what it does, in lines of at most WIDTH. */
function entry (option: string, ...paragraphs: readonly string[]): string {
  const lines = paragraphs.flatMap((paragraph) => {
    const wrapped: string[] = ['']
    for (const word of paragraph.split(' ')) {
      if (wrapped.at(-1)!.length + word.length + 1 > WIDTH - INDENT) wrapped.push('')
      wrapped.push(`${wrapped.pop()!} ${word}`.trimStart())
    }
    return wrapped
  })
  return lines.map((line, at) => `${(at === 0 ? `  ${option}` : '').padEnd(INDENT)}${line}`).join('\n')
}

export const usage = `Usage: npm run bench -- [options]

${[
  entry('--only <a,b>', `${sectionNames.join(', ')} (all)`),
  entry('--peers <a,b>', `all, none, or of: ${peers.map(({ name }) => name).join(', ')} (all; none with --smoke or --against); measured in ${takers('peers')}`),
  entry('--rows <a,b>', 'of our own rows only these:', ...rowLines()),
  entry('--against <dir>', 'the folder of another checkout (packages installed): each row of Tidings is measured in both in turn, and the ratios stand in a table of their own; ' +
    'only these rows, unless --rows says otherwise'),
  entry('--streams <n>', `open streams (${defaults('streams')})`),
  entry('--seconds <n>', `measured time of each row (${defaults('seconds')})`),
  entry('--rounds <n>', `how often each row is measured, in turn with the others (${defaults('rounds')})`),
  entry('--rate <n>', `messages a second (${defaults('rate')})`),
  entry('--churn <n>', `connects and disconnects (${defaults('churn')}; a long run: 1000000)`),
  entry('--client <c|node>', `which load client (c where a compiler is there, else node); in ${takers('client')}`),
  entry('--smoke', `everything small, under a minute (without ${named(({ isLong, partOf }) => isLong === true && partOf === undefined)} unless they are named); says nothing of speed; ` +
    'fails if anything is lost, miscounted or torn, and if a row of our own is absent'),
  entry('--json <file>', 'where the figures go, after each section (bench/results/<time>.json)'),
  entry('--profile <dir>', `CPU profiles of the Node servers go there; in ${takers('profile')}`),
  entry('--set <NAME=value>', 'settings for the nodes of Tidings, for example COALESCE_MS=10; several with commas'),
  entry('--install', 'installs what is missing with apt-get (nginx, Redis, Nchan, Pushpin, a C compiler)'),
  entry('--help', 'this')
].join('\n')}

${named(({ partOf }) => partOf === 'scaling').replace(', ', ' and ')} come with scaling. CPU is that of the server processes, load that of the clients and the bench itself;
everything runs on 127.0.0.0/8 and ends with this command. Exit code: 0, 1 if a row failed (or a smoke run found a fault), 2 if it could not begin.`

export function readOptions (args: readonly string[]): Options | 'help' {
  const { values } = parse(args)
  if (values.help === true) return 'help'
  const smoke = values.smoke === true
  const peerNames = peers.map(({ name }) => name)
  const wantsPeers = values.peers === 'all' || (values.peers === undefined && !smoke && values.against === undefined)
  return {
    only: names('--only', values.only, sectionNames) ?? sections.filter(({ partOf, isLong }) => partOf === undefined && !(smoke && isLong)).map(({ name }) => name),
    peers: wantsPeers ? peerNames : values.peers === 'none' ? [] : names('--peers', values.peers, peerNames) ?? [],
    rows: names('--rows', values.rows, [...new Set(sections.flatMap(rowNames))]),
    against: values.against,
    streams: whole('--streams', values.streams, 1, 100_000),
    seconds: decimal('--seconds', values.seconds),
    rounds: whole('--rounds', values.rounds, 1, 100),
    rate: whole('--rate', values.rate, 1, 100_000),
    churn: whole('--churn', values.churn, 100, 100_000_000),
    client: one('--client', values.client, ['c', 'node'] as const) ?? 'c',
    smoke,
    install: values.install === true,
    json: values.json,
    profile: values.profile,
    settings: settings(values.set),
    given: Object.keys(values)
  }
}

function parse (args: readonly string[]) {
  try {
    const text = { type: 'string' } as const
    const flag = { type: 'boolean' } as const
    return parseLine(args, {
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
      against: text,
      smoke: flag,
      install: flag,
      help
    })
  } catch (error) {
    throw new UsageError(`${(error as Error).message}. Try --help`)
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
