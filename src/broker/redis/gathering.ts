// Many questions, one call: thousands of clients that come back in the same second must not cost a call each.

/** The answer to one question; an Error rejects that one alone. */
export type Answer<A> = A | Error

export interface GatheringOptions<Question> {
  /** How heavy a question is. Default: nothing. */
  readonly weigh?: (question: Question) => number
  /** How many questions one call carries, at most: it keeps everybody else from Redis while it runs. Default 64. */
  readonly maxQuestions?: number
  /** How heavy they are together, at most, if there is more than one; in bytes, more or less. Default 1 MiB. */
  readonly maxWeight?: number
  /**
   * How many calls are under way at once: the last of many would wait longer than a command may take, and publishers
   * with them. Default 4.
   */
  readonly maxCalls?: number
}

/**
 * Gathers what is asked in one turn of the event loop, or while a call is under way, and asks it with one call. Those
 * that fill a call need not wait for another.
 */
export class Gathering<Question, A> {
  readonly #call: (questions: readonly Question[]) => Promise<ReadonlyArray<Answer<A>>>
  readonly #options: Required<GatheringOptions<Question>>
  #waiting: Array<{ readonly question: Question, readonly resolve: (answer: A) => void, readonly reject: (error: Error) => void }> = []
  #calls = 0
  #isScheduled = false

  /**
   * `call` answers the questions in their order, and at least the first: those that it leaves over are asked again with
   * the next call. If it throws, all of them hear the error.
   */
  constructor (call: (questions: readonly Question[]) => Promise<ReadonlyArray<Answer<A>>>, options: GatheringOptions<Question> = {}) {
    this.#call = call
    this.#options = { weigh: () => 0, maxQuestions: 64, maxWeight: 1_048_576, maxCalls: 4, ...options }
  }

  /** Questions that are not asked yet. */
  get waiting (): number { return this.#waiting.length }

  ask (question: Question): Promise<A> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ question, resolve, reject })
      this.#schedule()
    })
  }

  #schedule (): void {
    const { maxCalls, maxQuestions } = this.#options
    const mayAsk = this.#calls === 0 ? this.#waiting.length > 0 : this.#calls < maxCalls && this.#waiting.length >= maxQuestions
    if (this.#isScheduled || !mayAsk) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      void this.#next()
    })
  }

  #fitting (): number {
    const { weigh, maxQuestions, maxWeight } = this.#options
    let weight = 0
    for (const [count, { question }] of this.#waiting.slice(0, maxQuestions).entries()) {
      weight += weigh(question)
      if (weight > maxWeight && count > 0) return count
    }
    return maxQuestions
  }

  async #next (): Promise<void> {
    const asked = this.#waiting.splice(0, this.#fitting())
    this.#calls++
    this.#schedule() // what is over goes with another call
    try {
      const answers = await this.#call(asked.map(({ question }) => question))
      for (const [i, answer] of answers.entries()) {
        if (answer instanceof Error) asked[i]!.reject(answer)
        else asked[i]!.resolve(answer)
      }
      this.#waiting.unshift(...asked.slice(answers.length))
    } catch (error) {
      for (const { reject } of asked) reject(error as Error)
    }
    this.#calls--
    this.#schedule()
  }
}
