// What the kernel says of processes: CPU time, resident memory, and how busy everything else on the machine was.
import { readdirSync, readFileSync } from 'node:fs'

/** USER_HZ, fixed at 100 for programs on Linux whatever the kernel's own tick. */
const TICKS_PER_SECOND = 100

/** A process and all that it started. */
export function tree (pid: number): number[] {
  const found = [pid]
  for (let i = 0; i < found.length; i++) {
    try {
      for (const task of readdirSync(`/proc/${found[i]}/task`)) {
        found.push(...readFileSync(`/proc/${found[i]}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number))
      }
    } catch {} // gone meanwhile
  }
  return found
}

/** User and system time of all threads, also those that ended, in seconds, 10 ms fine. */
export function cpuSeconds (pids: readonly number[]): number {
  let ticks = 0
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the name, in parentheses, and may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks / TICKS_PER_SECOND
}

/** Resident memory. Memory that the processes of one server share (nginx's zones) counts once. */
export function rssBytes (pids: readonly number[]): number {
  let own = 0
  let shared = 0
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8')
    const bytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024
    own += bytes('VmRSS') - bytes('RssShmem')
    shared = Math.max(shared, bytes('RssShmem'))
  }
  return own + shared
}

export interface MachineTime {
  readonly busySeconds: number
  /** Taken by the hypervisor for other machines. */
  readonly stolenSeconds: number
  readonly atMs: number
}

export function machineTime (): MachineTime {
  const [user, nice, system, , , irq, softirq, steal] = /^cpu +(.*)$/m.exec(readFileSync('/proc/stat', 'utf8'))![1]!.split(' ').map(Number)
  return {
    busySeconds: (user! + nice! + system! + irq! + softirq!) / TICKS_PER_SECOND,
    stolenSeconds: steal! / TICKS_PER_SECOND,
    atMs: performance.now()
  }
}
