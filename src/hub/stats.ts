// What a hub counts. Plain numbers on the hot path; the metrics route reads them when it is asked.
import type { DropReason } from '../broker/broker.ts'
import type { EndReason } from './stream.ts'

export class Stats {
  /** Notifications that arrived and had a stream here. */
  received = 0
  /** Notifications handed to streams, one for each stream. */
  delivered = 0
  /** Notifications written from the logs. */
  replayed = 0
  /** Published through this node over HTTP, one for each address. */
  published = 0
  opened = 0
  readonly ended: Record<EndReason, number> = { client: 0, slow: 0, age: 0, expired: 0, drain: 0, replaced: 0, closed: 0, unavailable: 0 }
  readonly dropped: Record<DropReason, number> = { malformed: 0, oversized: 0, reserved: 0 }
  /** Told how long each notification took from its id (the moment of publishing) to the write. */
  onLatency: (seconds: number) => void = () => {}
  #waiting: number[] = []

  arrived (id: number): void {
    this.#waiting.push(id)
  }

  flushed (): void {
    const nowMicros = Date.now() * 1000
    for (const id of this.#waiting) this.onLatency(Math.max(0, nowMicros - id) / 1_000_000)
    this.#waiting = []
  }
}
