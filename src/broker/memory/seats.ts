// The nodes on the bus: what each is subscribed to, and delivery to them.
import type { Channel } from '../broker.ts'
import type { BrokerListener } from '../listener.ts'

export interface Seat {
  readonly channels: Set<Channel>
  readonly listener: BrokerListener
}

export class Seats {
  readonly #seats = new Set<Seat>()
  // Messages reach listeners in order, and never within the call that published them, as over a network.
  #queue: Array<() => void> = []

  take (seat: Seat): void { this.#seats.add(seat) }
  leave (seat: Seat): void { this.#seats.delete(seat) }

  countOf (channel: Channel): number {
    let count = 0
    for (const { channels } of this.#seats) if (channels.has(channel)) count++
    return count
  }

  /** Calls `say` later for every node that is subscribed now. Returns how many these are. */
  tell (channel: Channel, say: (listener: BrokerListener) => void): number {
    const seats = [...this.#seats].filter(({ channels }) => channels.has(channel))
    if (seats.length > 0) this.#post(() => { for (const { listener } of seats) say(listener) })
    return seats.length
  }

  #post (delivery: () => void): void {
    if (this.#queue.push(delivery) > 1) return
    queueMicrotask(() => {
      const queue = this.#queue
      this.#queue = []
      for (const deliver of queue) deliver()
    })
  }
}
