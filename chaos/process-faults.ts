// What befalls the processes: nodes and nginx are killed, stopped, restarted.
import { setTimeout as pause } from 'node:timers/promises'
import type { Fault, Stage } from './fault.ts'
import { NODES } from './world.ts'

async function stopNode (seconds: number, { world, random }: Stage): Promise<void> {
  const index = random.below(NODES)
  world.excused.add(index)
  world.nodes[index]!.signal('SIGSTOP')
  await pause(seconds * 1000)
  world.nodes[index]!.signal('SIGCONT')
  world.excused.delete(index)
}

export const processFaults: readonly Fault[] = [
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
  }
]
