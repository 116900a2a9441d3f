// What a span of time cost: CPU of the servers, of what stands beside them, of the load clients, and of strangers on
// the machine.
import { cpuSeconds, machineTime, tree } from './proc.ts'
import type { Running } from '../rows/row.ts'

export interface Cost {
  readonly wallSeconds: number
  readonly serverSeconds: number
  /** redis, nginx: CPU seconds each. */
  readonly others: Readonly<Record<string, number>>
  /** Load clients and the bench itself. */
  readonly loadSeconds: number
  /** The bench's own process, of that. */
  readonly benchSeconds: number
  /** Busy time of the machine that is none of ours: how noisy it was. */
  readonly strangerSeconds: number
  readonly stolenSeconds: number
}

/**
 * What the load's side took for each of so many, without what its clients spent awake so that nobody had to wake them
 * (load/wait.c).
 */
export function loadMicros ({ loadSeconds }: Cost, awakeSeconds: number, count: number): number {
  // Two clocks, of which one has ticks of 10 ms.
  return Math.max(0, loadSeconds - awakeSeconds) * 1e6 / count
}

export class Meter {
  readonly #running: Pick<Running, 'servers' | 'others'>
  readonly #before

  constructor (running: Pick<Running, 'servers' | 'others'>) {
    this.#running = running
    this.#before = this.#read()
  }

  #read () {
    const machine = machineTime()
    const servers = cpuSeconds(this.#running.servers())
    const others = Object.fromEntries(Object.entries(this.#running.others).map(([name, pids]) => [name, cpuSeconds(pids())]))
    const ours = new Map(tree(process.pid).flatMap((pid) => {
      try {
        return [[pid, cpuSeconds([pid])] as const]
      } catch {
        return [] // has just ended
      }
    }))
    const { user, system } = process.cpuUsage()
    return { machine, servers, others, ours, bench: (user + system) / 1e6 }
  }

  /** Since it was made. */
  read (): Cost {
    const { machine, servers, others, ours: before, bench } = this.#before
    const now = this.#read()
    const serverSeconds = now.servers - servers
    const beside = Object.fromEntries(Object.entries(now.others).map(([name, seconds]) => [name, seconds - others[name]!]))
    let ours = 0
    for (const [pid, seconds] of now.ours) ours += seconds - (before.get(pid) ?? 0)
    return {
      wallSeconds: (now.machine.atMs - machine.atMs) / 1000,
      serverSeconds,
      others: beside,
      loadSeconds: ours - serverSeconds - Object.values(beside).reduce((a, b) => a + b, 0),
      benchSeconds: now.bench - bench,
      strangerSeconds: Math.max(0, now.machine.busySeconds - machine.busySeconds - ours),
      stolenSeconds: now.machine.stolenSeconds - machine.stolenSeconds
    }
  }
}
