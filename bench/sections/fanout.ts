// Fan-out: one message to N streams, the next when all have it. What a delivery costs the server.
import { Undo } from '../../test/fixtures/undo.ts'
import { Crowd } from '../harness/crowd.ts'
import { Meter } from '../harness/meter.ts'
import { payload } from '../harness/payload.ts'
import type { Row } from '../rows/row.ts'
import { everyRow } from '../rows/rows.ts'
import { deliveryColumns, deliveryFaults, deliveryResult, type DeliveryResult, warmUpFault } from './delivery.ts'
import type { Asked, Section } from './section.ts'

const WARM_UP = 30
/** How long a message may take until all have it. */
const PATIENCE_MS = 20_000

export async function measureFanout (row: Row, { streams, seconds, client, profileFolder }: Asked): Promise<DeliveryResult> {
  const scope = new Undo()
  try {
    const running = await row.start(scope, { streams, profileFolder })
    const crowd = new Crowd(scope, { requests: Array.from({ length: streams }, (_, i) => running.request(i)), liveOn: running.liveOn, client })
    await crowd.open(running.openAtOnce)
    const tell = async (n: number): Promise<boolean> => {
      running.publish(payload(n))
      const reached = await crowd.reach(n, PATIENCE_MS)
      running.check()
      return reached
    }
    for (let n = 0; n < WARM_UP; n++) {
      if (!await tell(n)) throw await warmUpFault(crowd, n + 1, PATIENCE_MS)
    }
    await crowd.reset()
    await running.allocated?.() // from here on
    const meter = new Meter(running)
    let sent = 0
    for (const endMs = performance.now() + seconds * 1000; performance.now() < endMs;) {
      if (!await tell(sent++)) break // lost: the report says how many
    }
    const cost = meter.read()
    return deliveryResult(row, { streams, sent, cost, allocated: await running.allocated?.(), report: await crowd.report(0, sent - 1) })
  } finally {
    await scope.end()
  }
}

export const fanout: Section<DeliveryResult> = {
  name: 'fanout',
  takes: { streams: [5000, 200], seconds: [5, 0.3], rounds: 3, peers: true, client: true, profile: true },
  title: ({ streams, seconds }) => `Fan-out: one message to ${streams} streams, again and again, ${seconds} s`,
  rows: everyRow,
  notInSmoke: ['tidings-redis-1'],
  run: measureFanout,
  columns: deliveryColumns,
  base: 'c-floor',
  faults: deliveryFaults
}
