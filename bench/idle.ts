// Idle: what an open stream keeps resident, and whether anything stays behind after many have come and gone.
import { pause } from './harness/child.ts'
import { type Client, Crowd } from './harness/crowd.ts'
import { loadMicros, Meter } from './harness/meter.ts'
import { rssBytes } from './harness/proc.ts'
import { Scope } from './harness/scope.ts'
import type { Row, Running } from './rows/row.ts'

export interface IdleOptions {
  readonly streams: number
  /** How long the streams stand before they are weighed; long enough for a heartbeat to have gone through all of them. */
  readonly standSeconds: number
  /** How long they are then left alone for `idleCores`; as long as a heartbeat, so that each has one. */
  readonly restSeconds: number
  readonly client: Client
}

export interface IdleResult {
  readonly row: string
  readonly title: string
  readonly streams: number
  readonly baseMB: number
  /** Resident memory of the server processes a stream: as it stands, and after garbage was collected (NaN where nobody can ask for it). */
  readonly rssKB: number
  readonly settledKB: number
  /** CPU of opening one: request, authentication, history, sync. */
  readonly openMicros: number
  readonly openSeconds: number
  /** The load's side of opening one, and what its clients spent awake, waiting, beside that. */
  readonly loadMicrosToOpen: number
  readonly loadAwakeSeconds: number
  /** CPU that N idle streams cost. */
  readonly idleCores: number
  /** Streams that were no longer there when they were weighed. */
  readonly ended: number
}

/** Collects garbage where that is possible and waits until the kernel has its pages back. */
async function settle (running: Running): Promise<void> {
  for (let i = 0; running.settle !== undefined && i < 2; i++) {
    running.settle()
    await pause(700)
  }
}

export async function idle (row: Row, { streams, standSeconds, restSeconds, client }: IdleOptions): Promise<IdleResult> {
  const scope = new Scope()
  try {
    const running = await row.start(scope, { streams })
    await warmUp(running, client)
    await settle(running)
    const base = rssBytes(running.servers())
    const crowd = new Crowd(scope, { requests: Array.from({ length: streams }, (_, i) => running.request(i)), liveOn: running.liveOn, client })
    const opening = new Meter(running)
    const openMs = await crowd.open(running.openAtOnce)
    const opened = opening.read()
    const { awakeSeconds } = await crowd.report(0, -1)
    await pause(standSeconds * 1000)
    const asItStands = rssBytes(running.servers())
    await settle(running)
    const settled = rssBytes(running.servers())
    // Only now: the garbage of opening them is gone.
    const resting = new Meter(running)
    await pause(restSeconds * 1000)
    const { serverSeconds: idleCpu } = resting.read()
    const { live } = await crowd.report(0, -1)
    return {
      row: row.name,
      title: row.title,
      streams,
      baseMB: base / 1e6,
      rssKB: (asItStands - base) / streams / 1024,
      settledKB: running.settle === undefined ? NaN : (settled - base) / streams / 1024,
      openMicros: opened.serverSeconds * 1e6 / streams,
      loadMicrosToOpen: loadMicros(opened, awakeSeconds, streams),
      loadAwakeSeconds: awakeSeconds,
      openSeconds: openMs / 1000,
      idleCores: idleCpu / restSeconds,
      ended: streams - live
    }
  } finally {
    await scope.end()
  }
}

/** A few streams come and go first, so that code and pools that serve all streams are not charged to the first ones. */
async function warmUp (running: Running, client: Client): Promise<void> {
  const scope = new Scope()
  const crowd = new Crowd(scope, { requests: Array.from({ length: 50 }, (_, i) => running.request(i)), liveOn: running.liveOn, client })
  await crowd.churn(50, 10)
  await scope.end()
  await pause(500)
}

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
  /** The same of what is in use: heap and buffers after garbage was collected. What is resident follows it in steps, whose size is the allocator's. */
  readonly keptMB: readonly number[]
  /** From the second half of the steps: what one connect and disconnect leaves behind, in use. */
  readonly bytesPerConnect: number
}

const STEPS = 10
/** Users that take turns, so that what is kept for a user (membership) stops growing early. */
const USERS = 5000

export async function churn (row: Row, { connects, client }: { connects: number, client: Client }): Promise<ChurnResult> {
  const scope = new Scope()
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
