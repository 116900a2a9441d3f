// Publishes deliveries on the diagnostics channel of tracing.ts. Its objects are reused, so tracing does not load the
// heap.
import type { Channel as ChannelName } from '../broker/broker.ts'
import type { Notification } from '../notification.ts'
import { deliveries, type DeliverTrace, type Node } from '../tracing.ts'

type Report = { -readonly [Name in keyof DeliverTrace]: DeliverTrace[Name] }

/** Put into unused reports, so that they keep no message in memory. */
const NOTHING: Notification = { id: 0, event: '', json: '' }

export class Telling {
  readonly #node: Node
  readonly #nowMs: () => number
  #heardAtMs = 0.5
  /** Reports. The first `#count` of them are in use. */
  #reports: Report[] = []
  #count = 0
  /** A second set, used for new messages while the first is published. */
  #spare: Report[] = []

  constructor (node: Node, nowMs: () => number) {
    this.#node = node
    this.#nowMs = nowMs
  }

  heard (): void {
    this.#heardAtMs = this.#nowMs()
  }

  /** The message heard last will be written to this many streams. */
  taken (channel: ChannelName, notification: Notification, streams: number): void {
    let report = this.#reports[this.#count]
    if (report === undefined) {
      // Not 0: V8 stores a double in place, but allocates a new one for a field that first held an integer.
      report = { channel, notification, node: this.#node, streams, heardAtMs: 0.5, writeAtMs: 0.5, writtenAtMs: 0.5 }
      this.#reports.push(report)
    }
    this.#count++
    report.channel = channel
    report.notification = notification
    report.streams = streams
    report.heardAtMs = this.#heardAtMs
    deliveries.start.publish(report)
  }

  /** All reports in use were written. */
  written (writeAtMs: number, writtenAtMs: number): void {
    const all = this.#reports
    const count = this.#count
    this.#reports = this.#spare
    this.#spare = all
    this.#count = 0
    for (let i = 0; i < count; i++) {
      const report = all[i]!
      report.writeAtMs = writeAtMs
      report.writtenAtMs = writtenAtMs
      deliveries.asyncEnd.publish(report)
      report.notification = NOTHING
    }
  }
}
