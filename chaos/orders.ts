// What goes to one address comes in the order of its home everywhere, if all shared addresses of a publish have one
// home: held against what one client was told.
import type { Division } from './division.ts'
import { isUnsettled, type Sent } from './ledger.ts'

export class Orders {
  readonly #division: Division
  readonly #tell: (text: string) => void
  readonly #last = new Map<string, Sent>()

  /** `tell`: of each that comes too late. */
  constructor (division: Division, tell: (text: string) => void) {
    this.#division = division
    this.#tell = tell
  }

  /** The next that the client was told of, by this id. */
  follow (sent: Sent, seen: number): void {
    const id = sent.ids[0]
    // Repeated over a loss of data: the client may have been told of the first one, which has another id.
    const isRepeated = sent.lossesBefore !== sent.lossesAfter
    if (id === undefined || this.#division.homeOfAll(sent.to) === undefined || isUnsettled(sent) || isRepeated) return
    for (const address of sent.to) {
      if (address.startsWith('user:')) continue
      const last = this.#last.get(address)
      if (last !== undefined && id < last.ids[0]! && last.lossesBefore === sent.lossesAfter) {
        this.#tell(`${id} (${seen} there, mark ${sent.mark}) to ${address} after ${last.ids[0]}, which its home has behind it`)
      }
      this.#last.set(address, sent)
    }
  }
}
