// What befalls Redis with replicas: masters are killed, stopped and replaced by hand, slots move, a node forgets the others.
import { setTimeout as pause } from 'node:timers/promises'
import type { Fault } from './fault.ts'

export const failoverFaults: readonly Fault[] = [
  {
    name: 'master-kill',
    what: 'the master is killed, a replica takes over, and it comes back as one',
    topologies: ['sentinel', 'cluster'],
    shows: 'readiness',
    seconds: 20,
    make: async ({ world: { replicated }, publishers }) => {
      await publishers.whileMastersChange(async () => {
        const master = await replicated!.master()
        await master.kill()
        await replicated!.isReplaced(master)
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
    make: async ({ world: { replicated }, publishers }) => {
      await publishers.whileMastersChange(async () => {
        const master = await replicated!.master()
        master.pause()
        await Promise.all([pause(20_000), replicated!.isReplaced(master)])
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
    make: async ({ world: { replicated }, publishers }) => {
      await publishers.whileMastersChange(async () => {
        const { cluster, sentinels, servers, slot } = replicated!
        const master = await replicated!.master()
        if (cluster === undefined) {
          while ((await replicated!.master()).port === master.port) {
            await sentinels!.sentinels[0]!.cli('SENTINEL', 'FAILOVER', 'mymaster').catch(() => {})
            await pause(500)
          }
        } else {
          const roles = await Promise.all(servers.map(async (server) => ({ server, role: String(await server.cli('INFO', 'replication')) })))
          await cluster.promote(roles.find(({ role }) => role.includes(`master_port:${master.port}\r`))!.server, slot)
        }
        await replicated!.follows(master)
      })
    }
  },
  {
    name: 'slot-moved',
    what: 'the slot with all keys moves to another master under load',
    topologies: ['cluster'],
    shows: 'readiness',
    seconds: 10,
    make: async ({ world: { replicated }, random }) => {
      const { cluster, slot } = replicated!
      const master = await replicated!.master()
      const masters = await Promise.all(cluster!.nodes.map(async (node) => ({ node, role: String(await node.cli('ROLE')) })))
      const others = masters.filter(({ node, role }) => role.startsWith('master') && node.port !== master.port)
      await cluster!.move(slot, random.pick(others).node, () => pause(random.between(0, 1500)))
    }
  },
  {
    name: 'node-list-emptied',
    what: 'a node of the Cluster is told to forget all others',
    topologies: ['cluster'],
    shows: 'nothing',
    make: async ({ world: { replicated }, random }) => {
      const { cli } = random.pick(replicated!.servers)
      for (const line of String(await cli('CLUSTER', 'NODES')).trim().split('\n')) {
        if (!line.includes('myself')) await cli('CLUSTER', 'FORGET', line.slice(0, 40)).catch(() => {}) // its own master it keeps
      }
      await pause(random.between(500, 1500))
    }
  }
]
