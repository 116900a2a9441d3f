// Churn: whether anything stays behind after many have come and gone.
import { Undo } from '../../test/fixtures/undo.ts'
import { Crowd } from '../harness/crowd.ts'
import { loadMicros, Meter } from '../harness/meter.ts'
import { rssBytes } from '../harness/proc.ts'
import { pause } from '../harness/start.ts'
import type { Row } from '../rows/row.ts'
import { embedded, onRedis, tidings } from '../rows/tidings.ts'
import { settle } from './idle.ts'
import { type Asked, counted, type Section } from './section.ts'

export interface ChurnResult {
  readonly row: string
  readonly title: string
  readonly connects: number
  readonly perSecond: number
  /** Connections that did not become live. */
  readonly failed: number
  /** CPU of the load's side for each, and what its clients spent awake, waiting, beside that. */
  readonly loadMicrosPerConnect: number
  readonly loadAwakeSeconds: number
  /** Settled resident memory, at equal steps: before the first, then after each tenth. */
  readonly residentMB: readonly number[]
  /**
   * The same of what is in use: heap and buffers after garbage was collected. What is resident follows it in steps,
   * whose size is the allocator's.
   */
  readonly keptMB: readonly number[]
  /** From the second half of the steps: what one connect and disconnect leaves behind, in use. */
  readonly bytesPerConnect: number
}

const STEPS = 10
/** Users that take turns, so that what is kept for a user (membership) stops growing early. */
const USERS = 5000

async function measure (row: Row, { churn: connects, client }: Asked): Promise<ChurnResult> {
  const scope = new Undo()
  try {
    const running = await row.start(scope, { streams: USERS })
    const users = Math.min(USERS, Math.ceil(connects / STEPS))
    const crowd = new Crowd(scope, { requests: Array.from({ length: users }, (_, i) => running.request(i)), liveOn: running.liveOn, client })
    await crowd.churn(users, 100)
    const resident: number[] = []
    const kept: number[] = []
    const weigh = async (): Promise<void> => {
      await pause(1500) // the server may still be hearing of the last ends
      await settle(running)
      resident.push(rssBytes(running.servers()))
      kept.push(running.kept?.() ?? NaN)
    }
    await weigh()
    let failed = 0
    let ms = 0
    const { awakeSeconds: awakeBefore } = await crowd.report(0, -1)
    const meter = new Meter(running)
    for (let step = 0; step < STEPS; step++) {
      const done = await crowd.churn(connects / STEPS, 100)
      failed += done.failed
      ms += done.ms
      await weigh()
    }
    const cost = meter.read()
    const loadAwakeSeconds = (await crowd.report(0, -1)).awakeSeconds - awakeBefore
    return {
      row: row.name,
      title: row.title,
      connects,
      perSecond: connects / ms * 1000,
      failed,
      loadMicrosPerConnect: loadMicros(cost, loadAwakeSeconds, connects),
      loadAwakeSeconds,
      residentMB: resident.map(tenths),
      keptMB: kept.map(tenths),
      bytesPerConnect: slope(kept.slice(STEPS / 2)) / (connects / STEPS)
    }
  } finally {
    await scope.end()
  }
}

const tenths = (bytes: number): number => Math.round(bytes / 1e5) / 10

/** Of the line through equally spaced values, by least squares. */
function slope (values: readonly number[]): number {
  const middle = (values.length - 1) / 2
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const over = values.reduce((total, value, i) => total + (i - middle) * (value - mean), 0)
  return over / values.reduce((total, _, i) => total + (i - middle) ** 2, 0)
}

/** Shown: the first, and those that tell a step from a slope. */
const SHOWN = [0, 1, 5, 10]

export const churn: Section<ChurnResult> = {
  name: 'churn',
  isLong: true,
  takes: { churn: [100_000, 1000], rounds: 1, client: true },
  title: ({ churn }) => `Churn: ${churn} connects and disconnects`,
  rows: ({ services }) => tidings(services, embedded, onRedis(1)),
  run: measure,
  columns: [
    { head: 'bytes left/connect', value: (result) => result.bytesPerConnect, digits: 1 },
    { head: 'connects/s', value: (result) => result.perSecond, digits: 0 },
    ...SHOWN.map((step) => ({ head: `kept MB, ${step}/10`, value: (result: ChurnResult) => result.keptMB[step]!, digits: 1 })),
    ...SHOWN.map((step) => ({ head: `RSS MB, ${step}/10`, value: (result: ChurnResult) => result.residentMB[step]!, digits: 1 })),
    { head: 'load µs/connect', value: (result) => result.loadMicrosPerConnect, digits: 0 },
    { head: 'failed', value: (result) => result.failed, digits: 0 }
  ],
  faults: ({ failed }) => counted({ failed })
}
