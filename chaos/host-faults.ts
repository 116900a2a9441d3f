// What befalls the machines that they run on: clocks jump, the disk of the log is full, descriptors are used up.
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Fault } from './fault.ts'
import { tamperAbsent } from './tamper.ts'
import { NODES } from './world.ts'

/** Jumps of a wall clock, ahead and back, in seconds. */
const JUMPS = [-7200, -300, -5, 5, 300, 7200]
/** Descriptors that a node has left. */
const SPARE_DESCRIPTORS = 2

function limitOf (pid: number): string {
  return execFileSync('prlimit', ['--pid', `${pid}`, '--nofile', '--output', 'SOFT', '--noheadings'], { encoding: 'utf8' }).trim()
}

function limit (pid: number, descriptors: string): void {
  execFileSync('prlimit', ['--pid', `${pid}`, `--nofile=${descriptors}:`])
}

function prlimitAbsent (): string | undefined {
  try {
    limitOf(process.pid)
    return undefined
  } catch {
    return 'it needs prlimit: apt-get install util-linux'
  }
}

export const hostFaults: readonly Fault[] = [
  {
    name: 'node-clock',
    what: 'the wall clock of a node jumps, ahead or back, by up to two hours, and returns',
    shows: 'nothing',
    absent: tamperAbsent,
    make: async ({ world, random }) => {
      const tamper = world.tampers[random.below(NODES)]!
      tamper.moveClock(random.pick(JUMPS))
      world.dropClients(random, 60)
      await pause(random.between(1000, 2500))
      tamper.moveClock(0)
      world.dropClients(random, 30)
    }
  },
  {
    name: 'redis-clock',
    topologies: ['single'],
    what: 'the wall clock of Redis jumps, ahead or back, by up to two hours, and returns',
    shows: 'nothing',
    absent: tamperAbsent,
    make: async ({ world, random }) => {
      const { tamper } = world.store
      tamper.moveClock(random.pick(JUMPS))
      world.dropClients(random, 60)
      await pause(random.between(1000, 2500))
      tamper.moveClock(0)
      world.dropClients(random, 30)
    }
  },
  {
    name: 'log-disk-full',
    what: 'no space is left where a node writes its log',
    shows: 'itself',
    absent: tamperAbsent,
    make: async ({ world, random, metric, noticed }) => {
      const tamper = world.tampers[random.below(NODES)]!
      const refused = async (): Promise<number> => await metric('tidings_log_write_errors_total')
      const before = await refused()
      tamper.fillLog(true)
      const end = performance.now() + random.between(1000, 2500)
      for (let isNoticed = false; performance.now() < end; await pause(200)) {
        world.dropClients(random, 10)
        if (isNoticed || await refused() <= before) continue
        isNoticed = true
        noticed()
      }
      tamper.fillLog(false)
    }
  },
  {
    name: 'node-descriptors',
    what: 'a node has no descriptor left for another connection',
    shows: 'nothing',
    absent: prlimitAbsent,
    make: async ({ world, random }) => {
      const index = random.below(NODES)
      const { pid } = world.nodes[index]!
      // Whoever asks whether it is alive cannot connect either.
      world.excused.add(index)
      const usual = limitOf(pid)
      limit(pid, `${readdirSync(`/proc/${pid}/fd`).length + SPARE_DESCRIPTORS}`)
      world.dropClients(random, 60)
      await pause(random.between(1000, 2500))
      limit(pid, usual)
      world.excused.delete(index)
    }
  }
]
