// Divides partitions into more of them: npm run partitions -- --from 1 --to 16
import { parseArgs } from 'node:util'
import { Doubling } from '../src/broker/redis/partitions/doubling.ts'
import { Steady } from '../src/broker/redis/partitions/steady.ts'
import { prefixFault } from '../src/config.ts'
import { Links } from '../src/broker/redis/links.ts'
import { readSetting, readSettingOrFile } from '../src/environment.ts'
import { parseRedisUrl, redisUrlFault } from '../src/redis-url.ts'

const usage = `Usage: REDIS_URL=… [REDIS_PREFIX=…] npm run partitions -- --from <partitions> --to <partitions> [--dry-run]

  --from, --to   1, 2, 4, 8 … 256; more than there are
  --dry-run      says what it would do, and changes nothing
  -h, --help

End all nodes first, and whatever publishes through Redis. It can be killed at any moment and called again.
Afterwards start the nodes with REDIS_PARTITIONS=<to>. There is no way back to fewer.`

function numbers (): { from: number, to: number, isDryRun: boolean } | undefined {
  try {
    const { values } = parseArgs({
      options: {
        from: { type: 'string' }, to: { type: 'string' }, 'dry-run': { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false }
      }
    })
    if (values.help) {
      console.log(usage)
      process.exit(0)
    }
    const [from, to] = [Number(values.from), Number(values.to)]
    const isCount = (count: number): boolean => Number.isInteger(Math.log2(count)) && count >= 1 && count <= 256
    if (isCount(from) && isCount(to) && to > from) return { from, to, isDryRun: values['dry-run'] }
    if (isCount(from) && to === from) console.error('--from and --to are the same: --to must be more than there are.\n')
    else if (isCount(from) && isCount(to)) console.error('Fewer partitions than there are is not supported.\n')
  } catch (error) {
    console.error(`${(error as Error).message}\n`)
  }
  return undefined
}

function place (): string | undefined {
  try {
    return readSettingOrFile(process.env, 'REDIS_URL')
  } catch (error) {
    console.error(`${(error as Error).message}\n`)
  }
  return undefined
}

const given = numbers()
const url = place()
if (given === undefined || url === undefined) {
  console.error(usage)
  process.exit(2)
}
const root = readSetting(process.env, 'REDIS_PREFIX') ?? 'tidings'
// As a node would refuse it: under another prefix there is nothing to divide, and all would be made anew there.
const faults = [redisUrlFault(url), prefixFault(root)]
const at = faults.findIndex((fault) => fault !== undefined)
if (at >= 0) {
  console.error(`${['REDIS_URL', 'REDIS_PREFIX'][at]} ${faults[at]}`)
  process.exit(2)
}
const links = new Links({ place: parseRedisUrl(url), nodeName: 'partitions', log: { info () {}, warn (text) { console.error(text) } } })
const ticker = setInterval(() => { links.tick() }, 1000)
const steady = new Steady(links)
try {
  links.start()
  const { isCluster } = links
  const say = (text: string): void => { console.log(text) }
  await new Doubling({ root, ...given, isCluster, ask: async (key, command) => await steady.ask(key, command), say }).run()
} catch (error) {
  const { message } = error as Error
  console.error(`Not done: ${message}${message.includes('NOPERM') ? '; docs/redis.md, Partitions, has the rights that it needs' : ''}`)
  process.exitCode = 1
}
clearInterval(ticker)
links.close()
