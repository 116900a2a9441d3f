// A process that publishes as a node does, commits all that it was given, and is killed before the copies are made: by
// SIGKILL, by its own hand, in the moment when all of it is committed. What it had committed, and under which id,
// stands on its standard output.
//
// Arguments: REDIS_URL, REDIS_PREFIX, REDIS_PARTITIONS, how many copies leave it before it dies, and what it publishes
// as JSON: [[data, address, …], …].
import { writeSync } from 'node:fs'
import { Copies } from '../src/broker/redis/partitions/copies.ts'
import { PartitionedBroker } from '../src/broker/redis/partitions/partitions.ts'

const [, , url = '', prefix = '', partitions = '', copies = '', json = '[]'] = process.argv
const publishes = JSON.parse(json) as Array<[data: { mark: number }, ...to: string[]]>
/** Who never gets so far says nothing, and is ended by whoever waits. */
const MOST_MS = 20_000
setTimeout(() => { process.exit(1) }, MOST_MS)

const committed = new Map<number, number>()
let left = Number(copies)

function commits (mark: number, id: number): void {
  committed.set(mark, id)
  if (committed.size < publishes.length) return
  // One line, which is there before the process is gone.
  writeSync(1, `committed ${JSON.stringify([...committed])}\n`)
  process.kill(process.pid, 'SIGKILL')
}

const { copy } = Copies.prototype
Copies.prototype.copy = async function (item) {
  commits((JSON.parse(item.fields[item.fields.indexOf('d') + 1]!) as { mark: number }).mark, item.id)
  return await (left-- > 0 ? copy.call(this, item) : new Promise<never>(() => {}))
}

const broker = new PartitionedBroker({
  url, prefix, nodeName: `dying ${process.pid}`, historyLength: 1000, groupHistoryLength: 1000, historySeconds: 86_400, maxDataBytes: 16_384, partitions: Number(partitions), log: { info () {}, warn () {} }
})
broker.start({ notification () {}, control () {}, interrupted () {}, restored () {}, dropped () {} })
await broker.settled
while (!broker.state().partitions!.every(({ up }) => up)) await new Promise((resolve) => { setTimeout(resolve, 10) })
for (const [data, ...to] of publishes) {
  void broker.publish({ to, event: 'message', json: JSON.stringify(data), keep: 'inbox' }).then(({ id }) => { commits(data.mark, id!) }, () => {})
}
