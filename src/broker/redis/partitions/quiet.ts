// Checks that partitions may be divided: no node is running, and no partition owes another anything.
import type { Ask } from './scan.ts'

/** Nodes write something once a second, so this leaves a margin. */
const WATCH_MS = 2500

/** It would go on where it stopped, with partitions that are others by then. */
const NODE_ASLEEP = 'a node does nothing but is still connected: its process is stopped, or its machine is gone. End it, or cut it off with ' +
  'redis-cli CLIENT KILL TYPE pubsub and CLIENT KILL TYPE normal, and call again'

interface Options {
  readonly ask: Ask
  readonly isCluster: boolean
  readonly say: (text: string) => void
}

/** Throws a sentence that says what to do. */
export async function refuseNodes ({ ask, isCluster, say }: Options, prefixes: readonly string[]): Promise<void> {
  const seen = async (): Promise<string> => JSON.stringify(await Promise.all(prefixes.map(async (prefix) =>
    await ask(prefix, (redis) => redis.hget(`${prefix}:config`, 'clock_seen')))))
  const before = await seen()
  say('looking whether a node is alive')
  await new Promise((resolve) => { setTimeout(resolve, WATCH_MS) })
  if (await seen() !== before) throw new Error('a node is alive: end all nodes, and whatever publishes through Redis, and call again')
  for (const prefix of prefixes) {
    const channel = `${prefix}:all`
    const [, count] = await ask(prefix, (redis) => isCluster ? redis.pubsub('SHARDNUMSUB', channel) : redis.pubsub('NUMSUB', channel)) as [string, number]
    if (count > 0) throw new Error(NODE_ASLEEP)
  }
}

/** Throws a sentence that says what to do. */
export async function refuseDebts ({ ask, from }: { readonly ask: Ask, readonly from: number }, sources: readonly string[]): Promise<void> {
  for (const source of sources) {
    const isEmpty = await ask(source, (redis) => redis.exists(`${source}:outbox`)) === 0
    if (!isEmpty) throw new Error(`${source} owes notifications to other partitions: start one node with REDIS_PARTITIONS=${from} for some seconds, with all partitions up, end it, and call again`)
  }
}
