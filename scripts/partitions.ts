// Divides partitions into more of them: npm run partitions -- --from 1 --to 16
import { explain } from '../src/broker/redis/diagnosis.ts'
import { Doubling } from '../src/broker/redis/partitions/doubling.ts'
import { Steady } from '../src/broker/redis/partitions/steady.ts'
import { prefixFault } from '../src/config.ts'
import { Links } from '../src/broker/redis/links.ts'
import { readSetting, readSettingOrFile } from '../src/environment.ts'
import { MEMORY_URL, parseRedisUrl, redisUrlFault } from '../src/redis-url.ts'
import { escapeUnsafe } from '../src/unsafe-text.ts'
import { readCommandLine, refuse } from './command-line.ts'

const usage = `Usage: REDIS_URL=… [REDIS_PREFIX=…] npm run partitions -- --from <partitions> --to <partitions> [--dry-run]

  --from, --to   1, 2, 4, 8 … 256; more than there are
  --dry-run      says what it would do, and changes nothing
  -h, --help

End all nodes first, and whatever publishes through Redis. It can be killed at any moment and called again.
Afterwards start the nodes with REDIS_PARTITIONS=<to>. There is no way back to fewer.`

const { values } = readCommandLine(usage, { from: { type: 'string' }, to: { type: 'string' }, 'dry-run': { type: 'boolean', default: false } })

function numbers (): { from: number, to: number } {
  if (values.from === undefined || values.to === undefined) refuse(`--${values.from === undefined ? 'from' : 'to'} is missing`, usage)
  const [from, to] = [Number(values.from), Number(values.to)]
  for (const [name, count] of [['from', from], ['to', to]] as const) {
    if (!Number.isInteger(Math.log2(count)) || count < 1 || count > 256) refuse(`--${name} must be 1, 2, 4, 8 … 256, not "${values[name]}"`, usage)
  }
  if (to === from) refuse('--from and --to are the same: --to must be more than there are', usage)
  if (to < from) refuse('Fewer partitions than there are is not supported', usage)
  return { from, to }
}

function place (): string {
  let url: string | undefined
  try {
    url = readSettingOrFile(process.env, 'REDIS_URL')
  } catch (error) {
    refuse((error as Error).message, usage)
  }
  if (url === undefined) refuse('REDIS_URL is not set', usage)
  if (url === MEMORY_URL) refuse(`REDIS_URL is ${MEMORY_URL}, the embedded broker, which has no partitions`, usage)
  return url
}

// Whoever reads the output may end (a pipe, a terminal). Half divided, no node would start, so this goes on.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

const given = { ...numbers(), isDryRun: values['dry-run'] }
const url = place()
const root = readSetting(process.env, 'REDIS_PREFIX') ?? 'tidings'
// As a node would refuse it: under another prefix there is nothing to divide, and all would be made anew there.
const faults = [redisUrlFault(url), prefixFault(root)]
const at = faults.findIndex((fault) => fault !== undefined)
if (at >= 0) {
  console.error(`${['REDIS_URL', 'REDIS_PREFIX'][at]} ${faults[at]}`)
  process.exit(2)
}
// A node tries again until Redis answers; this gives up (steady.ts).
let isOver = false
const warn = (text: string): void => { if (!isOver) console.error(text.replace(/; (trying|looking) again until .*$/, '; $1 again for a few seconds')) }
// A log of 64 MB takes Redis a second or more.
const links = new Links({ place: parseRedisUrl(url), nodeName: 'partitions', commandTimeoutMs: 30_000, log: { info () {}, warn } })
const ticker = setInterval(() => { links.tick() }, 1000)
const steady = new Steady(links)
try {
  links.start()
  const { isCluster } = links
  // Names of keys may steer a terminal.
  const say = (text: string): void => { console.log(escapeUnsafe(text)) }
  await new Doubling({ root, ...given, isCluster, ask: async (key, command) => await steady.ask(key, command), say }).run()
} catch (error) {
  // A transaction that was refused says why in the errors of its commands.
  const { message, previousErrors: [first] = [] } = error as Error & { previousErrors?: Error[] }
  const text = first?.message ?? message
  isOver = true // the last word
  console.error(escapeUnsafe(`Not done: ${text.includes('NOPERM') ? `${text}; docs/redis.md, Partitions, has the rights that it needs` : explain(text)}`))
  process.exitCode = 1
}
clearInterval(ticker)
links.close()
