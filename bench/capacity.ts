// npm run capacity: how many nodes and what Redis so many users need, from what things were measured to cost. For
// docs/capacity.md.
import { help, parse } from '../scripts/command-line.ts'

/** What things cost, the upper end of what docs/performance.md measured. */
export const costs = {
  node: { baseMB: 160, streamKB: 13, openMicros: 460, deliveryMicros: 8.4, arrivalMicros: 5, heartbeatMicros: 8, publishMicros: 59 },
  nginx: { deliveryMicros: 14 },
  redis: { publishMicros: 22, openMicros: 50, userBytes: 344, membershipBytes: 141, logBytes: 4403, entryBytes: 262 },
  /** A message to a group: in its home, and for each other partition that has members. */
  group: { redisMicros: 15, copyRedisMicros: 24, nodeMicros: 19, copyNodeMicros: 20 }
} as const

export interface Load {
  readonly users: number
  /** Durable notifications for each user by themselves, and for all, a minute. */
  readonly ownPerMinute: number
  readonly allPerMinute: number
  readonly historyLength: number
  readonly historySeconds: number
  readonly heartbeatSeconds: number
  /** Mean life of a stream. */
  readonly streamSeconds: number
  readonly streamsPerNode: number
}

export const usual: Load = {
  users: 0, ownPerMinute: 1, allPerMinute: 0.1, historyLength: 1000, historySeconds: 86_400, heartbeatSeconds: 15, streamSeconds: 3240, streamsPerNode: 40_000
}

/** How many partitions beside a group's home have members, if its members are spread as their ids are. */
export function copiesOf (members: number, partitions: number): number {
  return (partitions - 1) * (1 - (1 - 1 / partitions) ** members)
}

const PARTITIONS = [1, 2, 4, 8, 16]
const MEMBERS = [2, 10, 100, 100_000]
const MASTERS = [1, 2, 4, 8, 16]

/** Microseconds of CPU that one user costs a second, by what for. */
export function microsPerUser ({ ownPerMinute, allPerMinute, heartbeatSeconds, streamSeconds }: Load) {
  const { node, nginx, redis } = costs
  const own = ownPerMinute / 60
  const all = allPerMinute / 60
  return {
    node: {
      'own notifications': own * (node.deliveryMicros + node.arrivalMicros),
      'notifications to all': all * node.deliveryMicros,
      heartbeats: node.heartbeatMicros / heartbeatSeconds,
      reconnects: node.openMicros / streamSeconds,
      'publishing over HTTP': own * node.publishMicros
    },
    nginx: { deliveries: (own + all + 1 / heartbeatSeconds) * nginx.deliveryMicros },
    redis: { publishing: own * redis.publishMicros, reconnects: redis.openMicros / streamSeconds }
  }
}

const sum = (parts: Readonly<Record<string, number>>): number => Object.values(parts).reduce((a, b) => a + b, 0)

export function capacity (load: Load) {
  const { node, redis } = costs
  const micros = microsPerUser(load)
  // One more than the streams need: one may die, and nobody is served alone.
  const nodes = Math.max(2, Math.ceil(load.users / load.streamsPerNode) + 1)
  // A log is trimmed to its length, and goes when nothing came for HISTORY_SECONDS.
  const entries = Math.min(load.historyLength, Math.max(1, load.ownPerMinute / 60 * load.historySeconds))
  return {
    nodes,
    nodeCores: load.users * sum(micros.node) / 1e6,
    nodeGB: (nodes * node.baseMB * 1e6 + load.users * node.streamKB * 1024) / 1e9,
    nginxCores: load.users * sum(micros.nginx) / 1e6,
    redisCores: load.users * sum(micros.redis) / 1e6,
    presenceGB: load.users * (redis.userBytes + redis.membershipBytes) / 1e9,
    logsGB: load.users * (redis.logBytes + (entries - 1) * redis.entryBytes) / 1e9
  }
}

const figure = (value: number): string => value.toLocaleString('en-US', value < 100 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: 0 })

/** Markdown. The logs once with the history that is set, once with a tenth of it. */
export function capacityTable (load: Load, users: readonly number[]): string {
  const short = Math.max(1, Math.round(load.historyLength / 10))
  const head = ['users', 'nodes', 'CPU of all nodes', 'memory of all nodes', 'CPU of nginx', 'CPU of Redis', 'Redis: users, groups', `logs of ${load.historyLength}`, `logs of ${short}`]
  const rows = users.map((count) => {
    const of = capacity({ ...load, users: count })
    const { logsGB } = capacity({ ...load, users: count, historyLength: short })
    return [
      count.toLocaleString('en-US'), String(of.nodes), `${figure(of.nodeCores)} cores`, `${figure(of.nodeGB)} GB`, `${figure(of.nginxCores)} cores`,
      `${figure(of.redisCores)} cores`, `${figure(of.presenceGB)} GB`, `${figure(of.logsGB)} GB`, `${figure(logsGB)} GB`
    ]
  })
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** Markdown: where the microseconds of a user go. */
export function microsTable (load: Load): string {
  const micros = Object.entries(microsPerUser(load))
  return ['| of | for | µs a user a second |', '| --- | --- | --- |', ...micros.flatMap(([where, parts]) => [
    ...Object.entries(parts).map(([what, value]) => `| ${where} | ${what} | ${value.toFixed(2)} |`), `| ${where} | together | ${sum(parts).toFixed(2)} |`
  ])].join('\n')
}

/**
 * Markdown: what one message to a group costs Redis and whoever publishes it, by its members and the partitions;
 * nothing of it is written to streams yet.
 */
export function groupTable (): string {
  const { redisMicros, copyRedisMicros, nodeMicros, copyNodeMicros } = costs.group
  const rows = PARTITIONS.map((partitions) => [`${partitions}`, ...MEMBERS.map((members) => {
    const copies = copiesOf(members, partitions)
    return `${figure(redisMicros + copies * copyRedisMicros)} µs, ${figure(nodeMicros + copies * copyNodeMicros)} µs`
  })])
  const head = ['partitions', ...MEMBERS.map((members) => `${members.toLocaleString('en-US')} members: Redis, node`)]
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** Markdown: what each master has to do and keep, with twice as many partitions as masters. */
export function mastersTable (load: Load, users: number): string {
  const short = Math.max(1, Math.round(load.historyLength / 10))
  const head = ['masters', 'partitions', 'CPU of each', 'users, groups of each', `logs of ${load.historyLength}`, `logs of ${short}`, 'one message to all']
  const rows = MASTERS.map((masters) => {
    const partitions = masters === 1 ? 1 : 2 * masters
    const { redisCores, presenceGB, logsGB } = capacity({ ...load, users })
    const { logsGB: shortGB } = capacity({ ...load, users, historyLength: short })
    const all = costs.group.redisMicros + (partitions - 1) * costs.group.copyRedisMicros
    const cores = redisCores + load.allPerMinute / 60 * all / 1e6
    return [`${masters}`, `${partitions}`, `${figure(cores / masters)} cores`, ...[presenceGB, logsGB, shortGB].map((gb) => `${figure(gb / masters)} GB`), `${figure(all)} µs of all masters`]
  })
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

const usage = `npm run capacity -- [options]
  --users <n,n>           connected at once (10000,100000,1000000,10000000)
  --own-per-minute <x>    durable notifications for each user (${usual.ownPerMinute})
  --all-per-minute <x>    notifications to all (${usual.allPerMinute})
  --history-length <n>    HISTORY_LENGTH (${usual.historyLength})
  --history-seconds <n>   HISTORY_SECONDS (${usual.historySeconds})
  --streams-per-node <n>  most streams on a node (${usual.streamsPerNode})
What things cost is in bench/capacity.ts, to be replaced by what npm run bench says of your machine.`

const optionNames = { 'own-per-minute': 'ownPerMinute', 'all-per-minute': 'allPerMinute', 'history-length': 'historyLength', 'history-seconds': 'historySeconds', 'streams-per-node': 'streamsPerNode' } as const

function main (args: string[]): void {
  const { values } = parse(args, {
    help, users: { type: 'string' }, ...Object.fromEntries(Object.keys(optionNames).map((name) => [name, { type: 'string' as const }]))
  })
  if (values.help === true) {
    console.log(usage)
    return
  }
  const number = (name: string, text: string): number => {
    const value = Number(text)
    const isRate = name.endsWith('minute')
    if (text.trim() === '' || !(value >= (isRate ? 0 : 1) && value <= 1e12)) throw new Error(`--${name} ${text}: not a number that makes sense here`)
    if (!isRate && !Number.isInteger(value)) throw new Error(`--${name} ${text}: must be a whole number`)
    return value
  }
  const users = (values.users as string | undefined ?? '10000,100000,1000000,10000000').split(',').map((text) => number('users', text))
  const said = Object.entries(optionNames).flatMap(([name, key]) => {
    const text = (values as Record<string, unknown>)[name]
    return typeof text === 'string' ? [[key, number(name, text)]] : []
  })
  const load: Load = { ...usual, ...Object.fromEntries(said) as Partial<Load> }
  console.log([microsTable(load), capacityTable(load, users), groupTable(), mastersTable(load, Math.max(...users))].join('\n\n'))
}

if (import.meta.main) {
  try {
    main(process.argv.slice(2))
  } catch (error) {
    console.error(`${(error as Error).message}. npm run capacity -- --help lists the options`)
    process.exitCode = 2
  }
}
