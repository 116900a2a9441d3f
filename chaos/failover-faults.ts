// What befalls Redis with replicas: masters are killed, stopped and replaced by hand, slots move, a node forgets the
// others.
import { setTimeout as pause } from 'node:timers/promises'
import { keySlot } from '../src/broker/redis/slot.ts'
import type { Fault } from './fault.ts'
import { NODES } from './world.ts'

export const failoverFaults: readonly Fault[] = [
  {
    name: 'master-kill',
    what: 'the master is killed, a replica takes over, and it comes back as one',
    topologies: ['sentinel', 'cluster'],
    shows: 'readiness',
    seconds: 20,
    make: async ({ world, publishers, random }) => {
      const { replicated } = world
      const key = random.pick(world.division.prefixes)
      await publishers.members.whileMastersChange(async () => {
        const master = await replicated!.master(key)
        await master.kill()
        await replicated!.isReplaced(master, key)
        await master.start()
        await replicated!.follows(master)
      })
    }
  },
  {
    name: 'master-stop-20',
    what: 'SIGSTOP to the master for 20 seconds; meanwhile a replica takes over',
    topologies: ['sentinel', 'cluster'],
    shows: 'readiness',
    seconds: 35,
    make: async ({ world, publishers, random }) => {
      const { replicated } = world
      const key = random.pick(world.division.prefixes)
      await publishers.members.whileMastersChange(async () => {
        const master = await replicated!.master(key)
        master.pause()
        await Promise.all([pause(20_000), replicated!.isReplaced(master, key)])
        master.resume()
        await replicated!.follows(master)
      })
    }
  },
  {
    name: 'replica-promoted',
    what: 'a replica is made master by hand, while the old one is alive',
    topologies: ['sentinel', 'cluster'],
    shows: 'readiness',
    seconds: 15,
    make: async ({ world, publishers, random }) => {
      const { replicated } = world
      const key = random.pick(world.division.prefixes)
      await publishers.members.whileMastersChange(async () => {
        const { cluster, sentinels, servers } = replicated!
        const master = await replicated!.master(key)
        if (cluster === undefined) {
          let nextMs = 0
          while ((await replicated!.master(key)).port === master.port) {
            // A second one would bring the old master back, unless the first has failed.
            if (performance.now() >= nextMs) {
              await sentinels!.sentinels[0]!.cli('SENTINEL', 'FAILOVER', 'mymaster').then(() => { nextMs = performance.now() + 15_000 }, () => {})
            }
            await pause(100)
          }
        } else {
          const roles = await Promise.all(servers.map(async (server) => ({ server, role: String(await server.cli('INFO', 'replication')) })))
          await cluster.promote(roles.find(({ role }) => role.includes(`master_port:${master.port}\r`))!.server, keySlot(key))
        }
        await replicated!.follows(master)
      })
    }
  },
  {
    name: 'master-half-open',
    what: 'the connections of one node to one master swallow everything, and nobody is told',
    topologies: ['sentinel', 'cluster'],
    shows: 'readiness',
    seconds: 10,
    make: async ({ world, random }) => {
      const { port } = await world.replicated!.master(random.pick(world.division.prefixes))
      const line = world.lineTo(random.below(NODES), port)
      line.loseAll()
      await pause(random.between(4500, 6000))
      line.tidy()
    }
  },
  {
    name: 'slot-moved',
    what: 'the slot of a partition moves to another master under load',
    topologies: ['cluster'],
    shows: 'readiness',
    seconds: 10,
    make: async ({ world: { replicated, division }, random }) => {
      const { cluster } = replicated!
      const key = random.pick(division.prefixes)
      const master = await replicated!.master(key)
      const masters = await Promise.all(cluster!.nodes.map(async (node) => ({ node, role: String(await node.cli('ROLE')) })))
      const others = masters.filter(({ node, role }) => role.startsWith('master') && node.port !== master.port)
      await cluster!.move(keySlot(key), random.pick(others).node, () => pause(random.between(0, 1500)))
    }
  },
  {
    name: 'node-list-emptied',
    what: 'a node of the Cluster is told to forget all others',
    topologies: ['cluster'],
    shows: 'nothing',
    make: async ({ world: { replicated }, random }) => {
      const { servers } = replicated!
      const { cli } = random.pick(servers)
      for (const line of String(await cli('CLUSTER', 'NODES')).trim().split('\n')) {
        if (!line.includes('myself')) await cli('CLUSTER', 'FORGET', line.slice(0, 40)).catch(() => {}) // its own master it keeps
      }
      await pause(random.between(500, 1500))
      // For a minute it learns of them by nobody's gossip: a replica whose master died then, the only one that it
      // knows, would never be elected.
      for (const { port } of servers) await cli('CLUSTER', 'MEET', '127.0.0.1', port)
      const known = async (): Promise<number> => String(await cli('CLUSTER', 'NODES')).trim().split('\n').filter((line) => !/handshake|noaddr/.test(line)).length
      while (await known() < servers.length) await pause(100)
    }
  }
]
