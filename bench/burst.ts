// Burst: 1,000 messages a second to N streams for some seconds, whether or not the server keeps up.
import { pause } from './harness/child.ts'
import { Crowd } from './harness/crowd.ts'
import { Meter } from './harness/meter.ts'
import { payload } from './harness/payload.ts'
import { Scope } from './harness/scope.ts'
import type { Row } from './rows/row.ts'
import { deliveryResult, type DeliveryOptions, type DeliveryResult } from './delivery.ts'

const WARM_UP_SECONDS = 2
/** How long a server may take to deliver what it has when the burst is over. */
const DRAIN_MS = 20_000

export async function burst (row: Row, { streams, seconds, rate, client, profileFolder }: DeliveryOptions & { rate: number }): Promise<DeliveryResult> {
  const scope = new Scope()
  try {
    const running = await row.start(scope, { streams, profileFolder })
    const crowd = new Crowd(scope, { requests: Array.from({ length: streams }, (_, i) => running.request(i)), liveOn: running.liveOn, client })
    await crowd.open(running.openAtOnce)
    const send = async (count: number): Promise<void> => {
      const startedMs = performance.now()
      for (let sent = 0; sent < count;) {
        const due = Math.min(count, Math.floor((performance.now() - startedMs) * rate / 1000) + 1)
        while (sent < due) running.publish(payload(sent++))
        await pause(1)
      }
    }
    const warmUp = Math.ceil(Math.min(WARM_UP_SECONDS, seconds / 2) * rate)
    await send(warmUp)
    await crowd.reach(warmUp - 1, DRAIN_MS)
    running.check()
    await crowd.reset()
    const meter = new Meter(running)
    const count = Math.ceil(seconds * rate)
    await send(count)
    await crowd.reach(count - 1, DRAIN_MS)
    const cost = meter.read()
    running.check()
    return deliveryResult(row, { streams, sent: count, cost, report: await crowd.report(0, count - 1) })
  } finally {
    await scope.end()
  }
}
