// Everything that is done to the service, each fault from its beginning to its cure.
import { setTimeout as pause } from 'node:timers/promises'
import type { Publishers } from './publishers.ts'
import type { Random } from './random.ts'
import { NODES, type World } from './world.ts'

export interface Stage {
  readonly world: World
  readonly publishers: Publishers
  readonly random: Random
  /** The sum of a counter over the nodes. */
  readonly metric: (name: string, label?: string) => Promise<number>
  /** To be called by a fault that sees itself that it was noticed. */
  readonly noticed: () => void
}

export interface Fault {
  readonly name: string
  /** One line for --help. */
  readonly what: string
  /** By what the service shows that it has noticed: a node that is not ready, or streams that end. */
  readonly shows: 'readiness' | 'streams' | 'itself' | 'nothing'
  /** Seconds that must be left for it. */
  readonly seconds?: number
  /** May come on top of another one. */
  readonly isMild?: boolean
  /** Resolves at the cure. */
  readonly make: (stage: Stage) => Promise<void>
}

/** What a burst has: notifications to users, to groups, and to all. */
const BURST = 2000
/** Most that a stalled client is sent until it is cut, in notifications of 15 KB. */
const FLOOD = 900
const FLOOD_BYTES = 15_000
/** Junk for a subscriber that does not read, until Redis drops it. */
const JUNK_BYTES = 60_000
const MAX_JUNK = 3000

async function stopRedis (seconds: number, { world }: Stage): Promise<void> {
  world.store.pause()
  await pause(seconds * 1000)
  world.store.resume()
}

async function stopNode (seconds: number, { world, random }: Stage): Promise<void> {
  const index = random.below(NODES)
  world.excused.add(index)
  world.nodes[index]!.signal('SIGSTOP')
  await pause(seconds * 1000)
  world.nodes[index]!.signal('SIGCONT')
  world.excused.delete(index)
}

export const faults: readonly Fault[] = [
  {
    name: 'redis-restart',
    what: 'Redis is killed and started again with its data',
    shows: 'readiness',
    make: async ({ world, random }) => {
      await world.store.kill()
      await pause(random.between(100, 2000))
      await world.store.start()
    }
  },
  {
    name: 'redis-restart-empty',
    what: 'Redis is killed and started again without its data',
    shows: 'readiness',
    make: async ({ world, publishers, random }) => {
      await publishers.whileDataIsLost(async () => {
        await world.store.kill()
        await pause(random.between(100, 2000))
        await world.store.start({ isEmpty: true })
      })
    }
  },
  {
    name: 'redis-failover-empty',
    what: 'another Redis, empty, takes over; the first one is killed',
    shows: 'readiness',
    make: async ({ world, publishers }) => {
      await publishers.whileDataIsLost(async () => { await world.failOver() })
    }
  },
  {
    name: 'line-half-open',
    what: 'the connections of one node to Redis swallow everything, and nobody is told',
    shows: 'readiness',
    make: async ({ world, random }) => {
      const line = world.lines[random.below(NODES)]!
      line.loseAll()
      await pause(random.between(4500, 6000))
      line.tidy()
    }
  },
  {
    name: 'line-stalled',
    what: 'nothing moves between one node and Redis for 1 to 6 seconds',
    shows: 'readiness',
    make: async ({ world, random }) => {
      const line = world.lines[random.below(NODES)]!
      line.stall()
      await pause(random.between(1000, 6000))
      line.flow()
    }
  },
  {
    name: 'line-reset',
    what: 'the connections of one node to Redis are reset',
    shows: 'readiness',
    make: async ({ world, random }) => { world.lines[random.below(NODES)]!.cut() }
  },
  {
    name: 'redis-kill-pubsub',
    what: 'CLIENT KILL TYPE pubsub',
    shows: 'readiness',
    make: async ({ world }) => { await world.store.cli('CLIENT', 'KILL', 'TYPE', 'pubsub') }
  },
  {
    name: 'redis-kill-normal',
    what: 'CLIENT KILL TYPE normal',
    shows: 'readiness',
    make: async ({ world }) => { await world.store.cli('CLIENT', 'KILL', 'TYPE', 'normal') }
  },
  {
    name: 'redis-overflow',
    what: 'a small client-output-buffer-limit pubsub, and a node that does not keep up',
    shows: 'readiness',
    make: async ({ world, random }) => {
      const index = random.below(NODES)
      await world.store.cli('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 65536 65536 0')
      world.lines[index]!.stall()
      // Into the one channel that only this node hears.
      const channel = `${world.prefix}:node:node-${index}`
      const junk = 'x'.repeat(JUNK_BYTES)
      let sent = 0
      while (sent < MAX_JUNK && Number(await world.store.cli('PUBLISH', channel, junk)) > 0) sent++
      if (sent === MAX_JUNK) throw new Error(`Redis dropped no subscriber after ${MAX_JUNK * JUNK_BYTES / 1e6} MB`)
      await pause(random.between(200, 1500))
      world.lines[index]!.flow()
      await world.store.cli('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 33554432 8388608 60')
    }
  },
  {
    name: 'redis-stop',
    what: 'SIGSTOP to Redis for 1 to 5 seconds',
    shows: 'readiness',
    make: async (stage) => { await stopRedis(stage.random.between(1, 5), stage) }
  },
  {
    name: 'redis-stop-20',
    what: 'SIGSTOP to Redis for 20 seconds',
    shows: 'readiness',
    seconds: 30,
    make: async (stage) => { await stopRedis(20, stage) }
  },
  {
    name: 'redis-pause',
    what: 'CLIENT PAUSE for 1 to 5 seconds',
    shows: 'readiness',
    make: async ({ world, random }) => {
      const ms = Math.round(random.between(1000, 5000))
      await world.store.cli('CLIENT', 'PAUSE', ms, 'ALL')
      await pause(ms)
    }
  },
  {
    name: 'node-kill',
    what: 'kill -9 of a node, started again after a moment',
    shows: 'streams',
    make: async ({ world, random }) => {
      const index = random.below(NODES)
      await world.killNode(index)
      await pause(random.between(100, 2000))
      await world.startNode(index)
    }
  },
  {
    name: 'node-stop',
    what: 'SIGSTOP to a node for 1 to 5 seconds',
    shows: 'readiness',
    make: async (stage) => { await stopNode(stage.random.between(1, 5), stage) }
  },
  {
    name: 'rolling-restart',
    what: 'SIGTERM to one node after the other, each started again before the next',
    shows: 'streams',
    seconds: 15,
    make: async ({ world }) => {
      for (let index = 0; index < NODES; index++) {
        await world.stopNode(index)
        await world.startNode(index)
      }
    }
  },
  {
    name: 'nginx-reload',
    what: 'nginx -s reload',
    shows: 'nothing',
    isMild: true,
    make: async ({ world }) => { await world.nginx.reload() }
  },
  {
    name: 'nginx-kill',
    what: 'kill -9 of nginx and its workers, started again after a moment',
    shows: 'streams',
    make: async ({ world, random }) => {
      await world.nginx.kill()
      await pause(random.between(100, 2000))
      await world.startNginx()
    }
  },
  {
    name: 'clients-stall',
    what: 'three clients stop reading until STREAM_BUFFER_BYTES are unsent, then go on',
    shows: 'itself',
    make: async ({ world, publishers, random, metric, noticed }) => {
      const stalled = random.shuffled(world.listeners).slice(0, 3)
      const cut = async (): Promise<number> => await metric('tidings_streams_ended_total', 'reason="slow"')
      const before = await cut()
      for (const listener of stalled) listener.stall()
      const filling = 'x'.repeat(FLOOD_BYTES)
      for (let sent = 0, isCut = false; sent < FLOOD && !isCut; sent += 10) {
        await Promise.all(stalled.flatMap(({ options: { userId } }) => Array.from({ length: 10 }, () => publishers.fcall([`user:${userId}`], { filling }))))
        isCut = await cut() >= before + stalled.length
        if (isCut) noticed()
      }
      for (const listener of stalled) listener.resume()
    }
  },
  {
    name: 'publish-burst',
    what: `${BURST} durable notifications at once`,
    shows: 'nothing',
    isMild: true,
    make: async ({ world, publishers, random }) => {
      await Promise.all(Array.from({ length: BURST }, () => {
        const dice = random.next()
        const to = dice < 0.02 ? 'all' : dice < 0.2 ? `group:${random.pick(world.fixedGroups)}` : `user:${random.pick(world.users)}`
        return publishers.fcall([to])
      }))
    }
  }
]
