// Tells tracing.ts what became of notifications, by objects that are used again: who looks on gives the heap nothing.
import type { Channel as ChannelName } from '../broker/broker.ts'
import type { Notification } from '../notification.ts'
import { deliveries, type DeliverTrace, type Node } from '../tracing.ts'

type Told = { -readonly [Name in keyof DeliverTrace]: DeliverTrace[Name] }

/** Stands in what is not in use, so that no message is kept. */
const NOTHING: Notification = { id: 0, event: '', json: '' }

export class Telling {
  readonly #node: Node
  readonly #nowMs: () => number
  #heardAtMs = 0.5
  /** The first `#count` are under way. */
  #told: Told[] = []
  #count = 0
  /** Those to go on with while the others are told of. */
  #spare: Told[] = []

  constructor (node: Node, nowMs: () => number) {
    this.#node = node
    this.#nowMs = nowMs
  }

  heard (): void {
    this.#heardAtMs = this.#nowMs()
  }

  /** What was heard last will be written to so many streams. */
  taken (channel: ChannelName, notification: Notification, streams: number): void {
    let told = this.#told[this.#count]
    if (told === undefined) {
      // Not 0: V8 keeps a number with a point in its place, and makes a new one for each that was an integer before.
      told = { channel, notification, node: this.#node, streams, heardAtMs: 0.5, writeAtMs: 0.5, writtenAtMs: 0.5 }
      this.#told.push(told)
    }
    this.#count++
    told.channel = channel
    told.notification = notification
    told.streams = streams
    told.heardAtMs = this.#heardAtMs
    deliveries.start.publish(told)
  }

  /** All of them are written. */
  written (writeAtMs: number, writtenAtMs: number): void {
    const all = this.#told
    const count = this.#count
    this.#told = this.#spare
    this.#spare = all
    this.#count = 0
    for (let i = 0; i < count; i++) {
      const told = all[i]!
      told.writeAtMs = writeAtMs
      told.writtenAtMs = writtenAtMs
      deliveries.asyncEnd.publish(told)
      told.notification = NOTHING
    }
  }
}
