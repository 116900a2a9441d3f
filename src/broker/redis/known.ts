// What a node remembers of the data under one prefix: a Redis that has lost some shows it by that.

export class Known {
  readonly #heard: { readonly newestId: number }
  /** When the history began. */
  #born = ''
  /** Which Redis process it was. */
  #runId = ''
  /** Of Redis's own answers. */
  #newestId = 0
  /** When the last of them was asked for, in milliseconds of `performance.now()`. */
  #askedAtMs = 0
  #newestBefore = 0

  /** `heard`: what notifications say that were heard on the channels. */
  constructor (heard: { readonly newestId: number }) {
    this.#heard = heard
  }

  /** The newest id of the Redis process before this one: ids go on after it. */
  get newestBefore (): number { return this.#newestBefore }

  /** It is this process that is asked now. */
  meets (runId: string): void {
    if (runId !== this.#runId && this.#runId !== '') this.#newestBefore = this.#newestGiven()
    this.#runId = runId
  }

  // What others published was only heard, and who reads and writes the channels may have put any number there: it
  // counts as far as Redis can have come since it answered.
  #newestGiven (): number {
    const newestId = this.#newestId
    return Math.max(newestId, Math.min(this.#heard.newestId, newestId + Math.ceil((performance.now() - this.#askedAtMs) * 1000)))
  }

  /** An id that Redis answered with. */
  saw (id: number): void {
    if (id > this.#newestId) this.#newestId = id
  }

  /** What Redis has answered, asked at `askedAtMs`. True: the data that was there is gone. */
  learns (id: number, born: string, askedAtMs: number): boolean {
    this.saw(id)
    this.#askedAtMs = askedAtMs
    const isEmptied = this.#born !== '' && born !== this.#born
    this.#born = born
    return isEmptied
  }
}
