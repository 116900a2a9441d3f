// Front: what stands before the nodes, side by side: what a delivery costs there and at the nodes, memory, burst, and a
// lost node.
import { Undo } from '../../test/fixtures/undo.ts'
import { Crowd } from '../harness/crowd.ts'
import { rssBytes } from '../harness/proc.ts'
import { pause } from '../harness/start.ts'
import { type FrontRow, frontRows } from '../rows/front.ts'
import { measureBurst } from './burst.ts'
import { deliveryFaults, type DeliveryResult } from './delivery.ts'
import { measureFanout } from './fanout.ts'
import { type Asked, counted, type Section, strangers } from './section.ts'

export interface FrontResult {
  readonly fanout: DeliveryResult
  readonly burst: DeliveryResult
  /** Resident memory of the front, and of the nodes, a stream, as it stands. */
  readonly frontKB: number
  readonly nodesKB: number
  /** Half of the streams lose their node; from the first end that one noticed until the last had its sync. */
  readonly allLiveSeconds: number
  readonly incomplete: number
  readonly strangerCores: number
}

async function weighAndKill (row: FrontRow, { streams, client }: Asked): Promise<Pick<FrontResult, 'frontKB' | 'nodesKB' | 'allLiveSeconds' | 'incomplete'>> {
  const scope = new Undo()
  try {
    const running = await row.startFront(scope)
    const { nodes, others } = running
    const warm = new Undo()
    await new Crowd(warm, { requests: Array.from({ length: 100 }, (_, i) => running.request(i)), liveOn: 'sync', client }).churn(300, 50)
    await warm.end()
    const rss = (pids: number[]): number => rssBytes(pids)
    const front = others['front']!
    const before = { front: rss(front()), nodes: rss(running.servers()) }
    const requests = Array.from({ length: streams }, (_, i) => running.request(i))
    const crowd = new Crowd(scope, { requests, liveOn: 'sync', client })
    await crowd.open()
    await pause(1500)
    const after = { front: rss(front()), nodes: rss(running.servers()) }
    crowd.follow([requests[0]!.port])
    await nodes[0]!.kill()
    // Those of the lost node; with whom the kernel had dealt, nobody knows how many they are.
    for (let ended = 0, was = -1; ended === 0 || ended !== was; await pause(300)) [was, ended] = [ended, (await crowd.report(0, -1)).ended]
    const again = await crowd.again()
    const { incomplete } = await crowd.report(0, -1)
    return {
      frontKB: (after.front - before.front) / streams / 1000,
      nodesKB: (after.nodes - before.nodes) / streams / 1000,
      allLiveSeconds: again.ms / 1000,
      incomplete
    }
  } finally {
    await scope.end()
  }
}

async function measure (row: FrontRow, asked: Asked): Promise<FrontResult> {
  const fanout = await measureFanout(row, asked)
  const burst = await measureBurst(row, asked)
  return { fanout, burst, ...await weighAndKill(row, asked), strangerCores: fanout.strangerCores }
}

const frontMicros = ({ others }: DeliveryResult): number => others['front'] ?? 0

export const front: Section<FrontResult, FrontRow> = {
  name: 'front',
  isLong: true,
  takes: { streams: [2000, 100], seconds: [4, 0.3], rate: [1000, 1000], rounds: 2, client: true },
  title: ({ streams, seconds, rate }) => `Front: two nodes and what stands before them; ${streams} streams, fan-out and ${rate} messages a second, ${seconds} s each`,
  rows: ({ services }) => frontRows(services),
  run: measure,
  base: 'front-none',
  columns: [
    { head: 'CPU µs/delivery', value: ({ fanout }) => fanout.microsPerDelivery + frontMicros(fanout), digits: 2, isCost: true },
    { head: 'nodes', value: ({ fanout }) => fanout.microsPerDelivery, digits: 2, isCost: true },
    { head: 'front', value: ({ fanout }) => frontMicros(fanout), digits: 2, isCost: true },
    { head: 'p99 ms', value: ({ fanout }) => fanout.p99Ms, digits: 1, isCost: true },
    { head: 'burst µs', value: ({ burst }) => burst.microsPerDelivery + frontMicros(burst), digits: 2, isCost: true },
    { head: 'burst p99 ms', value: ({ burst }) => burst.p99Ms, digits: 1, isCost: true },
    { head: 'front KB', value: ({ frontKB }) => frontKB, digits: 1, isCost: true },
    { head: 'nodes KB', value: ({ nodesKB }) => nodesKB, digits: 1, isCost: true },
    { head: 'storm s', value: ({ allLiveSeconds }) => allLiveSeconds, digits: 2, isCost: true },
    { head: 'load µs', value: ({ fanout }) => fanout.loadMicrosPerDelivery, digits: 2 },
    strangers
  ],
  faults: ({ fanout, burst, incomplete }) => [...deliveryFaults(fanout), ...deliveryFaults(burst), ...counted({ incomplete })]
}
