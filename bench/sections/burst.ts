// Burst: 1,000 messages a second to N streams for some seconds, whether or not the server keeps up.
import { Undo } from '../../test/fixtures/undo.ts'
import { Crowd } from '../harness/crowd.ts'
import { Meter } from '../harness/meter.ts'
import { payload } from '../harness/payload.ts'
import { pause } from '../harness/start.ts'
import type { Row } from '../rows/row.ts'
import { everyRow } from '../rows/rows.ts'
import { deliveryColumns, deliveryFaults, deliveryResult, type DeliveryResult, warmUpFault } from './delivery.ts'
import type { Asked, Section } from './section.ts'

const WARM_UP_SECONDS = 2
/** How long a server may take to deliver what it has when the burst is over. */
const DRAIN_MS = 20_000

export async function measureBurst (row: Row, { streams, seconds, rate, client, profileFolder }: Asked): Promise<DeliveryResult> {
  const scope = new Undo()
  try {
    const running = await row.start(scope, { streams, profileFolder })
    const crowd = new Crowd(scope, { requests: Array.from({ length: streams }, (_, i) => running.request(i)), liveOn: running.liveOn, client })
    await crowd.open(running.openAtOnce)
    let sent = 0
    const send = async (count: number): Promise<boolean> => {
      const first = sent
      const startedMs = performance.now()
      while (sent < first + count) {
        const due = first + Math.min(count, Math.floor((performance.now() - startedMs) * rate / 1000) + 1)
        while (sent < due) running.publish(payload(sent++))
        await pause(1)
      }
      return await crowd.reach(sent - 1, DRAIN_MS)
    }
    // In pieces, so that a server which cannot keep up begins the measured time with nothing left to do.
    for (const endMs = performance.now() + Math.min(WARM_UP_SECONDS, seconds / 2) * 1000; performance.now() < endMs;) {
      if (!await send(Math.ceil(rate / 20))) throw await warmUpFault(crowd, sent, DRAIN_MS)
    }
    running.check()
    await crowd.reset()
    const first = sent
    const meter = new Meter(running)
    await send(Math.ceil(seconds * rate))
    const cost = meter.read()
    running.check()
    return deliveryResult(row, { streams, sent: sent - first, cost, report: await crowd.report(first, sent - 1) })
  } finally {
    await scope.end()
  }
}

export const burst: Section<DeliveryResult> = {
  name: 'burst',
  takes: { streams: [2000, 100], seconds: [5, 0.5], rate: [1000, 1000], rounds: 3, peers: true, client: true, profile: true },
  title: ({ streams, seconds, rate }) => `Burst: ${rate} messages a second to ${streams} streams, ${seconds} s`,
  rows: everyRow,
  notInSmoke: ['tidings-redis-1', 'tidings-redis-3-nginx'],
  run: measureBurst,
  columns: deliveryColumns,
  base: 'c-floor',
  faults: deliveryFaults
}
