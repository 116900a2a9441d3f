// What a node remembers of the data of one prefix, by which it notices that Redis lost some.

/** `line`: the newest id that the present connection heard; another connection has an object of its own. */
export interface Ears { readonly line: { readonly newestId: number } }

export class Known {
  readonly #ears: Ears
  /** The line at the last answer, which came from the process that sent what the line heard. */
  #line = { newestId: 0 }
  /** The line when the present question was asked. */
  #askedLine = this.#line
  /** The `born` mark of the data. */
  #born = ''
  /** The run id of the Redis process. */
  #runId = ''
  /** The newest id in Redis's own answers. */
  #newestId = 0
  /** When the last answer was asked for, in monotonic milliseconds. */
  #askedAtMs = 0
  #newestBefore = 0
  #looked = 0
  /** Names what the process that is asked has written as a master: see `meets`. */
  #replicationId = ''
  /** The process that answered last, and what was known of it when another one was asked. */
  #left = { replicationId: '', newestId: 0, newestBefore: 0, looked: 0 }
  /** Commands may go to a process that was not asked yet. */
  #hasLeft = false

  constructor (ears: Ears) {
    this.#ears = ears
  }

  /** The newest id of the previous Redis process. New ids must be greater. */
  get newestBefore (): number { return this.#newestBefore }

  /** The id that this Redis process answered at the last look; 0 if there was none. Its data must know of it. */
  get looked (): number { return this.#looked }

  /** Another master has the prefix. Calls that are repeated there may be answered before the process is asked. */
  leaves (): void {
    this.#hasLeft = true
  }

  /** Called with the process that is asked now. `replicationId`: another one after each time that it was a replica. */
  meets (runId: string, replicationId: string): void {
    if (runId !== this.#runId) this.#changesTo(replicationId)
    this.#runId = runId
    this.#replicationId = replicationId
    this.#hasLeft = false
    this.#askedLine = this.#ears.line
  }

  #changesTo (replicationId: string): void {
    const newestId = this.#newestId
    if (this.#looked > 0) this.#left = { replicationId: this.#replicationId, newestId, newestBefore: this.#newestBefore, looked: this.#looked }
    // Back at the process that answered last, with its data. The one between (a master that took no writes, say) gave
    // no id that this data could lack.
    const isBack = replicationId !== '' && replicationId === this.#left.replicationId && newestId === this.#left.newestId
    if (isBack) this.#newestBefore = this.#left.newestBefore
    else if (this.#runId !== '') this.#newestBefore = this.#newestGiven()
    this.#looked = isBack ? this.#left.looked : 0
  }

  // Ids of others were only heard, and whoever can publish may send any number. So they count only as far as Redis's
  // clock can have advanced since its last answer. What a newer line heard does not count: the next process may be
  // heard before it is asked, and its ids would be taken for lost ones.
  #newestGiven (): number {
    const newestId = this.#newestId
    return Math.max(newestId, Math.min(this.#line.newestId, newestId + Math.ceil((performance.now() - this.#askedAtMs) * 1000)))
  }

  /** Remembers an id that Redis answered. */
  saw (id: number): void {
    if (id > this.#newestId && !this.#hasLeft) this.#newestId = id
  }

  /** Remembers an answer of Redis that was asked for at `askedAtMs`. True: the data that was there is gone. */
  learns (id: number, born: string, askedAtMs: number): boolean {
    this.saw(id)
    this.#looked = id
    this.#line = this.#askedLine
    this.#askedAtMs = askedAtMs
    const isEmptied = this.#born !== '' && born !== this.#born
    this.#born = born
    return isEmptied
  }
}
