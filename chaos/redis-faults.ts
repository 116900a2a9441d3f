// What befalls Redis and the lines to it: it dies, loses its data, hangs, drops connections, evicts, holds what is not
// ours.
import { setTimeout as pause } from 'node:timers/promises'
import type { Fault, Stage } from './fault.ts'
import { NODES } from './world.ts'

/** Junk for a subscriber that does not read, until Redis drops it. */
const JUNK_BYTES = 60_000
const MAX_JUNK = 3000

async function stopRedis (seconds: number, { world }: Stage): Promise<void> {
  world.store.pause()
  await pause(seconds * 1000)
  world.store.resume()
}

/** Above every id that is given for thousands of years. */
const FUTURE_ID = '9007199254740990-0'

async function usedMemory ({ world }: Stage): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(String(await world.store.cli('INFO', 'memory')))![1])
}

export const redisFaults: readonly Fault[] = [
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
      await publishers.members.whileDataIsLost(async () => {
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
      await publishers.members.whileDataIsLost(async () => { await world.failOver() })
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
      const channel = `${random.pick(world.division.prefixes)}:node:node-${index}`
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
    name: 'redis-eviction',
    what: 'maxmemory is below what is used for a moment, with a volatile policy',
    shows: 'nothing',
    make: async (stage) => {
      const { world, publishers, random } = stage
      const { store } = world
      // What is evicted may be anything that has an end: logs, memberships, the answers of earlier requests.
      await publishers.members.whileDataIsLost(async () => {
        await store.cli('CONFIG', 'SET', 'maxmemory-policy', random.pick(['volatile-lru', 'volatile-ttl', 'volatile-random']))
        await store.cli('CONFIG', 'SET', 'maxmemory', await usedMemory(stage) - random.below(500_000))
        world.dropClients(random, 30)
        await pause(random.between(500, 2000))
        await store.cli('CONFIG', 'SET', 'maxmemory', 0)
      })
      world.dropClients(random, 30)
    }
  },
  {
    name: 'redis-log-stuck',
    what: 'a log cannot be written: another type stands there, or an id of the future',
    shows: 'nothing',
    make: async ({ world, publishers, random }) => {
      const to = random.next() < 0.5 ? `group:${random.pick(world.fixedGroups)}` : `user:${random.pick(world.users)}`
      await publishers.fcall([to])
      const log = `${world.division.prefixOf(to)}:log:${to}`
      if (random.next() < 0.5) await world.store.cli('SET', log, 'not a log')
      else await world.store.cli('XSETID', log, FUTURE_ID)
      world.dropClients(random, 30)
      await Promise.all(Array.from({ length: 10 }, () => publishers.http([...new Set([to, ...publishers.overlapping(random)])], random)))
      world.dropClients(random, 30)
      await pause(random.between(200, 1000))
    }
  }
]
