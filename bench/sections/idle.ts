// Idle: what an open stream keeps resident, and what so many of them cost when nothing happens.
import { Undo } from '../../test/fixtures/undo.ts'
import { type Client, Crowd } from '../harness/crowd.ts'
import { loadMicros, Meter } from '../harness/meter.ts'
import { rssBytes } from '../harness/proc.ts'
import { pause } from '../harness/start.ts'
import type { Row, Running } from '../rows/row.ts'
import { everyRow } from '../rows/rows.ts'
import { type Asked, counted, type Section } from './section.ts'

export interface IdleResult {
  readonly row: string
  readonly title: string
  readonly streams: number
  readonly baseMB: number
  /**
   * Resident memory of the server processes a stream: as it stands, and after garbage was collected (NaN where nobody
   * can ask for it).
   */
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
export async function settle (running: Running): Promise<void> {
  for (let i = 0; running.settle !== undefined && i < 2; i++) {
    running.settle()
    await pause(700)
  }
}

/** How long the streams stand before they are weighed; long enough for a heartbeat to have gone through all of them. */
const standSeconds = ({ isSmoke }: Asked): number => isSmoke ? 0.5 : 20
/** How long they are then left alone for `idleCores`; as long as a heartbeat, so that each has one. */
const restSeconds = ({ isSmoke }: Asked): number => isSmoke ? 0.5 : 15

async function measure (row: Row, asked: Asked): Promise<IdleResult> {
  const { streams, client } = asked
  const scope = new Undo()
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
    await pause(standSeconds(asked) * 1000)
    const asItStands = rssBytes(running.servers())
    await settle(running)
    const settled = rssBytes(running.servers())
    // Only now: the garbage of opening them is gone.
    const resting = new Meter(running)
    await pause(restSeconds(asked) * 1000)
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
      idleCores: idleCpu / restSeconds(asked),
      ended: streams - live
    }
  } finally {
    await scope.end()
  }
}

/** A few streams come and go first, so that code and pools that serve all streams are not charged to the first ones. */
async function warmUp (running: Running, client: Client): Promise<void> {
  const scope = new Undo()
  const crowd = new Crowd(scope, { requests: Array.from({ length: 50 }, (_, i) => running.request(i)), liveOn: running.liveOn, client })
  await crowd.churn(50, 10)
  await scope.end()
  await pause(500)
}

export const idle: Section<IdleResult> = {
  name: 'idle',
  takes: { streams: [15_000, 300], rounds: 1, peers: true, client: true },
  title: (asked) => `Idle: ${asked.streams} open streams, after ${standSeconds(asked)} s`,
  // Behind nginx each stream would be two of its open files, and what a node keeps is the same.
  rows: (field) => everyRow(field).filter(({ name, twin = name }) => !twin.endsWith('-nginx')),
  notInSmoke: ['c-floor', 'tidings-redis-1', 'tidings-redis-3'],
  run: measure,
  columns: [
    { head: 'RSS KB/stream', value: (result) => result.rssKB, digits: 1, isCost: true },
    { head: 'after gc', value: (result) => result.settledKB, digits: 1, isCost: true },
    { head: 'base MB', value: (result) => result.baseMB, digits: 0, isCost: true },
    { head: 'CPU µs to open', value: (result) => result.openMicros, digits: 0, isCost: true },
    { head: 'load µs to open', value: (result) => result.loadMicrosToOpen, digits: 0 },
    { head: 'open all s', value: (result) => result.openSeconds, digits: 1, isCost: true },
    { head: 'idle cores', value: (result) => result.idleCores, digits: 3, isCost: true },
    { head: 'ended', value: (result) => result.ended, digits: 0 }
  ],
  base: 'tidings',
  faults: ({ ended }) => counted({ ended })
}
