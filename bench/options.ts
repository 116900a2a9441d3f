// The command line of the bench: what may be asked, the defaults, and a sentence for everything that may not.
import { parseArgs } from 'node:util'
import type { Client } from './harness/crowd.ts'
import { ownRows, peers } from './rows/rows.ts'

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
}

/** A message for whoever typed the command. */
export class UsageError extends Error {}

export const usage = `Usage: npm run bench -- [options]

  --only <a,b>       ${SECTIONS.join(', ')} (all)
  --peers <a,b>      all, none, or of: ${peers.map(({ name }) => name).join(', ')} (all; none with --smoke)
  --rows <a,b>       of our own rows only these: ${ownRows.map(({ name }) => name).join(', ')}
  --streams <n>      open streams (fanout 5000, burst 2000, idle 15000, storm 10000, scaling 5000)
  --seconds <n>      measured time of each row (fanout 5, burst 5, latency 5, publish 5, scaling 5)
  --rounds <n>       how often each row is measured, in turn with the others (3; latency and storm 2, idle and churn 1)
  --rate <n>         messages a second of burst (1000)
  --churn <n>        connects and disconnects of churn (100000; a long run: 1000000)
  --client <c|node>  which load client (c where a compiler is there, else node)
  --smoke            everything small, under a minute; fails if anything is lost or miscounted, says nothing of speed
  --json <file>      where the figures go (bench/results/<time>.json)
  --profile <dir>    CPU profiles of the Node servers go there
  --install          installs what is missing with apt-get (nginx, Redis, Nchan, Pushpin, a C compiler)
  --help

CPU is that of the server processes; everything runs on 127.0.0.0/8 and ends with this command.`

export function readOptions (args: readonly string[]): Options | 'help' {
  const { values } = parse(args)
  if (values.help === true) return 'help'
  const smoke = values.smoke === true
  return {
    only: names('--only', values.only, SECTIONS) ?? (smoke ? SECTIONS.filter((name) => name !== 'churn' && name !== 'scaling') : SECTIONS),
    peers: values.peers === 'none' || (values.peers === undefined && smoke)
      ? []
      : names('--peers', values.peers === 'all' ? undefined : values.peers, peers.map(({ name }) => name)) ?? peers.map(({ name }) => name),
    rows: names('--rows', values.rows, ownRows.map(({ name }) => name)),
    streams: whole('--streams', values.streams, 1, 100_000),
    seconds: decimal('--seconds', values.seconds),
    rounds: whole('--rounds', values.rounds, 1, 100),
    rate: whole('--rate', values.rate, 1, 100_000) ?? 1000,
    connects: whole('--churn', values.churn, 100, 100_000_000) ?? 100_000,
    client: names('--client', values.client, ['c', 'node'] as const)?.[0] ?? 'c',
    smoke,
    install: values.install === true,
    json: values.json,
    profile: values.profile
  }
}

function parse (args: readonly string[]) {
  try {
    const text = { type: 'string' } as const
    const flag = { type: 'boolean' } as const
    return parseArgs({
      args: [...args],
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
        smoke: flag,
        install: flag,
        help: { ...flag, short: 'h' }
      }
    })
  } catch (error) {
    throw new UsageError(`${(error as Error).message.split('. ')[0]}. Try --help`)
  }
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
